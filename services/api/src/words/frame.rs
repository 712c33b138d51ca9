//! What stands around every page, and what is said when there is none.

use super::words;

words! { Frame
    leads:
        "לידים",
        "Leads";
    skip_to_content:
        "דילוג לתוכן",
        "Skip to content";
    back_to_list:
        "חזרה לרשימה",
        "Back to the list";
    newest:
        "לרשימה מההתחלה",
        "To the start of the list";
    offline:
        "אין חיבור. מציג את מה שהתקבל עד {}.",
        "Offline. Showing what arrived by {}.";
    not_found:
        "הליד לא נמצא",
        "No such lead";
    not_found_text:
        "אין שיחה כזאת, או שהיא נמחקה.",
        "There is no such call, or it was erased.";
    bad_query:
        "הקישור לרשימה אינו תקין. כדאי לחזור לרשימה מההתחלה.",
        "The address of this list is not valid. Go back to the start of the list.";
    unavailable:
        "לא זמין כרגע",
        "Not available now";
    unavailable_text:
        "הנתונים אינם זמינים כרגע. השיחות ממשיכות להתקבל; כדאי לנסות שוב בעוד רגע.",
        "The data cannot be read at the moment. Calls are still being taken; try again in a moment.";
    mistake:
        "משהו השתבש",
        "Something went wrong";
    mistake_text:
        "התקלה נרשמה ביומן המערכת. כדאי לנסות שוב.",
        "The fault was written to the system log. Try again.";
    refused:
        "הבקשה נדחתה",
        "The request was refused";
    refused_text:
        "הבקשה הגיעה מאתר אחר ולכן לא בוצעה.",
        "The request came from another site and was not carried out.";
    menu:
        "תפריט",
        "Menu";
    language:
        "שפה",
        "Language";
}
