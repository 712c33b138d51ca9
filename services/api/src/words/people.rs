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
        "נכנסים באמצעות קישור חד־פעמי: הפקודה callfold\u{a0}up מדפיסה אותו כשהמערכת עולה. הקישור תקף 15 דקות; הפעלה מחדש מדפיסה קישור חדש.",
        "A one-time link lets you in: the command callfold\u{a0}up prints it when the system starts. The link is good for 15 minutes; a restart prints a new one.";
    sign_in_ready:
        "לחיצה על הכפתור פותחת את רשימת הלידים בדפדפן הזה.",
        "The button opens the list of leads in this browser.";
    sign_in_once:
        "הקישור תקף לכניסה אחת.",
        "The link is good for one sign-in.";
    sign_in_spent:
        "הקישור כבר נוצל או שפג תוקפו.",
        "The link was used already, or its time is over.";
}
