//! Who may come in.

use super::words;

words! { People
    sign_in:
        "כניסה",
        "Sign in";
    sign_out:
        "יציאה",
        "Sign out";
    sign_in_needed:
        "כדי לראות את הלידים צריך להיכנס.",
        "To see the leads you need to sign in.";
    sign_in_how:
        "אפשר גם באמצעות קישור חד־פעמי. מי שמנהל את המערכת מקבל אותו בפקודה callfold\u{a0}user\u{a0}link, ובהפעלה הראשונה הפקודה callfold\u{a0}up מדפיסה אחד. הקישור תקף 15 דקות.",
        "A one-time link lets you in as well. Whoever looks after the system gets one with the command callfold\u{a0}user\u{a0}link, and at the first start the command callfold\u{a0}up prints one. A link is good for 15 minutes.";
    sign_in_ready:
        "לחיצה על הכפתור פותחת את רשימת הלידים בדפדפן הזה.",
        "The button opens the list of leads in this browser.";
    sign_in_once:
        "הקישור תקף לכניסה אחת.",
        "The link is good for one sign-in.";
    sign_in_spent:
        "הקישור כבר נוצל או שפג תוקפו.",
        "The link was used already, or its time is over.";
    name:
        "שם",
        "Name";
    password:
        "סיסמה",
        "Password";
    wrong_password:
        "השם או הסיסמה אינם נכונים.",
        "The name or the password is wrong.";
    wait_seconds:
        "יותר מדי ניסיונות. אפשר לנסות שוב בעוד {} שניות.",
        "Too many tries. Try again in {} seconds.";
    wait_minutes:
        "יותר מדי ניסיונות. אפשר לנסות שוב בעוד {} דקות.",
        "Too many tries. Try again in {} minutes.";
    form_token_text:
        "הדף ישן או שייך לכניסה אחרת. כדאי לטעון אותו מחדש ולנסות שוב.",
        "The page is too old, or belongs to another sign-in. Load it again and try once more.";
    forbidden_text:
        "לפעולה הזאת נדרשת הרשאה אחרת. מי שמנהל את המערכת יכול לתת אותה.",
        "This needs another role. An owner can give it to you.";
    people:
        "אנשים",
        "People";
    settings:
        "ההגדרות שלי",
        "My settings";
    role:
        "הרשאה",
        "Role";
    role_viewer:
        "צפייה בלבד",
        "Viewer: reads only";
    role_agent:
        "טיפול בלידים",
        "Agent: works on leads";
    role_owner:
        "ניהול",
        "Owner: manages everything";
    me:
        "זה אני",
        "This is me";
    no_password:
        "ללא סיסמה: כניסה בקישור בלבד",
        "No password: signs in by link";
    save:
        "שמירה",
        "Save";
    add:
        "הוספה",
        "Add";
    add_person:
        "הוספת אדם",
        "Add a person";
    add_how:
        "אפשר להשאיר את הסיסמה ריקה ולשלוח קישור כניסה במקומה.",
        "Leave the password empty to send a sign-in link instead.";
    password_rule:
        "לפחות 12 תווים",
        "At least 12 characters";
    nobody_yet:
        "עדיין לא נוספו אנשים. כדאי להוסיף קודם את עצמך, בהרשאת ניהול.",
        "Nobody has been added yet. Add yourself first, as owner.";
    sign_in_link:
        "קישור כניסה",
        "Sign-in link";
    sign_in_link_for:
        "קישור כניסה עבור {}",
        "Sign-in link for {}";
    sign_in_link_text:
        "הקישור תקף 15 דקות לכניסה אחת. הוא מוצג רק עכשיו; כדאי לשלוח אותו בערוץ פרטי.",
        "The link is good for one sign-in within 15 minutes. It is shown only now; send it in private.";
    new_password:
        "סיסמה חדשה",
        "New password";
    current_password:
        "הסיסמה הנוכחית",
        "Current password";
    change_password:
        "שינוי סיסמה",
        "Change password";
    change_password_text:
        "שינוי הסיסמה מסיים את כל הכניסות האחרות.",
        "A new password ends all other sign-ins.";
    sessions:
        "כניסות פתוחות",
        "Open sign-ins";
    this_session:
        "הכניסה הזאת",
        "This one";
    via_link:
        "בקישור",
        "By link";
    via_password:
        "בסיסמה",
        "By password";
    end_session:
        "סיום",
        "End";
    no_sessions:
        "אין כניסות פתוחות.",
        "No open sign-ins.";
    nameless:
        "כניסה בקישור של ההתקנה",
        "Signed in by the link of the installation";
    nameless_text:
        "הכניסה הזאת אינה על שם אדם. אחרי הוספת אנשים כל אחד נכנס בשמו, והפעולות נרשמות על שמו.",
        "This sign-in is in nobody's name. Once people are added, each signs in by name, and what they do carries it.";
    remove:
        "הסרה",
        "Remove";
    remove_text:
        "ההסרה מסיימת את כל הכניסות. מה שנעשה עד עכשיו נשאר רשום על השם.",
        "Ends all sign-ins. What was done so far keeps the name.";
    manage:
        "עוד פעולות",
        "More";
    notifications:
        "הודעות על ליד חדש",
        "Being told of a new lead";
    email:
        "דואר אלקטרוני",
        "E-mail";
    notify_email:
        "לשלוח הודעה בדואר אלקטרוני",
        "Send an e-mail";
    no_mail:
        "שליחת דואר עדיין לא הוגדרה במערכת הזאת.",
        "Sending mail has not been set up in this installation yet.";
    notify_push:
        "להציג התראה בדפדפנים שאושרו",
        "Show a notification in the browsers allowed below";
    notify_text:
        "ההודעה כוללת את הכותרת וקישור לכרטיס בלבד, בלי מספר ובלי תמלול.",
        "It holds the headline and a link to the card: no number and no transcript.";
    push_here:
        "התראות בדפדפן הזה",
        "Notifications in this browser";
    push_denied:
        "הדפדפן חוסם התראות מהאתר הזה. אפשר לשנות זאת בהגדרות הדפדפן.",
        "The browser blocks notifications of this site. Its settings can change that.";
    push_failed:
        "ההרשמה להתראות לא הצליחה. כדאי לנסות שוב.",
        "Signing up for notifications failed. Try again.";
    push_browsers:
        "דפדפנים שמקבלים התראות",
        "Browsers that are told";
    push_since:
        "מאז {}",
        "Since {}";
    done_added:
        "האדם נוסף.",
        "The person was added.";
    done_saved:
        "נשמר.",
        "Saved.";
    done_removed:
        "ההסרה בוצעה.",
        "Removed.";
    done_ended:
        "הכניסה הסתיימה.",
        "The sign-in was ended.";
    refused_name:
        "שם הוא באורך 1 עד 60 תווים.",
        "A name has 1 to 60 characters.";
    refused_name_taken:
        "כבר יש אדם בשם הזה.",
        "There is somebody of that name already.";
    refused_nobody:
        "אין אדם בשם הזה.",
        "There is nobody of that name.";
    refused_first_is_owner:
        "הראשון שמוסיפים צריך להיות בהרשאת ניהול.",
        "The first person has to be an owner.";
    refused_last_owner:
        "זו הרשאת הניהול האחרונה. קודם צריך לתת אותה לאדם נוסף.",
        "This is the last owner. Make somebody else one first.";
    refused_too_many:
        "אי אפשר להוסיף עוד אנשים: יש כבר 500.",
        "No more people can be added: there are 500 already.";
    refused_password_short:
        "סיסמה היא באורך 12 תווים לפחות.",
        "A password has 12 characters or more.";
    refused_password_long:
        "הסיסמה ארוכה מדי.",
        "The password is too long.";
    refused_password_common:
        "קל לנחש את הסיסמה הזאת. כדאי לבחור אחרת, למשל כמה מילים ברצף.",
        "This password is easy to guess. Take another one, for example some words in a row.";
    refused_email:
        "זו אינה כתובת דואר אלקטרוני.",
        "This is no e-mail address.";
    refused_subscription:
        "הדפדפן שלח פרטי התראות שאינם תקינים.",
        "What the browser sent for notifications is not valid.";
    refused_token:
        "אי אפשר ליצור אסימון כזה.",
        "Such a token cannot be made.";
    refused_current_password:
        "הסיסמה הנוכחית אינה נכונה.",
        "The current password is wrong.";
}
