//! How the installation stands.

use super::words;

words! { Operation
    demonstration_model:
        "מודל הדגמה: מכיר כמאה מילים בלבד.",
        "Demonstration model: knows about a hundred words.";
    demonstration_how:
        "איך מחליפים?",
        "How to replace it";
    demonstration_answer:
        "מריצים במסוף: callfold model fetch ivrit-turbo ואחריו callfold model use ivrit-turbo. המערכת עוברת למודל בעצמה, בלי הפעלה מחדש.",
        "Run in a terminal: callfold model fetch ivrit-turbo and then callfold model use ivrit-turbo. The system changes over by itself, without a restart.";
    unsigned_webhooks:
        "החתימות של Twilio אינן נבדקות.",
        "Twilio's signatures are not checked.";
    unsigned_how:
        "איך מתקנים?",
        "How to mend it";
    unsigned_answer:
        "מגדירים את TWILIO_AUTH_TOKEN ומפעילים מחדש. עד אז אפשר להתחבר מהמחשב הזה בלבד.",
        "Set TWILIO_AUTH_TOKEN and start again. Until then the system can be reached from this machine only.";
}
