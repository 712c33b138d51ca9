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
    title:
        "תפעול",
        "Operation";
    warning_full:
        "המקום לאירועים עומד להיגמר. כשייגמר לא יתקבלו שיחות חדשות.",
        "The room for events is running out. When it has, no new call is taken.";
    warning_no_worker:
        "יש שלב שבו עבודה ממתינה ואין מי שיבצע אותה.",
        "Work waits at a stage, and no process is there to do it.";
    warning_unreadable:
        "יש אירועים שאי אפשר לקרוא; הם מפורטים למטה.",
        "There are events that cannot be read; they stand below.";
    waiting:
        "מה ממתין",
        "What is waiting";
    stage:
        "שלב",
        "Stage";
    new_calls:
        "שיחות חדשות",
        "New calls";
    reruns:
        "עיבוד מחדש",
        "Run again";
    oldest:
        "הממתינה הוותיקה",
        "Oldest waiting";
    in_hand:
        "בעבודה",
        "in work";
    no_worker:
        "אין מי שיבצע",
        "nobody at work";
    failures:
        "מה נכשל ב־30 הימים האחרונים",
        "What failed in the last 30 days";
    no_failures:
        "שום דבר לא נכשל.",
        "Nothing failed.";
    run_again:
        "לעבד שוב",
        "Run again";
    asked:
        "עיבוד מחדש התבקש עבור {} שיחות.",
        "{} calls are to be run again.";
    show_failed:
        "לרשימת השיחות שנכשלו",
        "Show the calls that failed";
    unreadable:
        "אירועים שאי אפשר לקרוא",
        "Events that cannot be read";
    unreadable_text:
        "הם נשמרים ומדולגים; שאר האירועים אינם נפגעים.",
        "They are kept and skipped; the others are not affected.";
    position:
        "מקום",
        "Position";
    when:
        "מתי",
        "When";
    reason:
        "סיבה",
        "Reason";
    calls_by_day:
        "שיחות לפי יום",
        "Calls by day";
    calls_by_hour:
        "שיחות לפי שעה",
        "Calls by hour";
    times_by_day:
        "מסיום השיחה עד הכרטיס",
        "From hang-up to the card";
    day:
        "יום",
        "Day";
    hour:
        "שעה",
        "Hour";
    calls:
        "שיחות",
        "Calls";
    half:
        "חציון",
        "Half took at most";
    most:
        "95 מתוך 100",
        "95 of 100 took at most";
    measured:
        "נמדדו",
        "Measured";
    table_below:
        "תרשים; אותם נתונים בטבלה שאחריו",
        "Chart; the table behind it says the same";
    as_table:
        "כטבלה",
        "As a table";
    engines:
        "מנועים",
        "Engines";
    sample:
        "מתוך {} השיחות האחרונות בתקופה.",
        "Of the newest {} calls of the period.";
    engine:
        "מנוע",
        "Engine";
    answers:
        "תשובות",
        "Answers";
    no_answers:
        "ללא תשובה",
        "No answer";
    stream:
        "מקום לאירועים",
        "Room for events";
    events:
        "אירועים",
        "Events";
    behind:
        "טרם נקראו",
        "Not yet read";
}
