//! The list of leads: filters, search, live updates.

use super::words;

words! { Queue
    filter_label:
        "סינון לפי מצב",
        "Filter by state";
    filter_all:
        "הכול",
        "All";
    filter_processed:
        "מוכנים",
        "Ready";
    filter_running:
        "בעיבוד",
        "In progress";
    filter_no_message:
        "ללא הודעה",
        "No message";
    filter_failed:
        "נכשלו",
        "Failed";
    search:
        "חיפוש",
        "Search";
    search_hint:
        "חיפוש בשם, במספר, בתמלול ובסיכום",
        "Search name, number, transcript and summary";
    older:
        "לידים ישנים יותר",
        "Older leads";
    empty:
        "אין לידים ממתינים. שיחה חדשה תופיע כאן מיד.",
        "No leads waiting. A new call appears here at once.";
    empty_search:
        "לא נמצאו לידים מתאימים.",
        "No leads match.";
    choose:
        "בחירת ליד מהרשימה תציג אותו כאן.",
        "Choose a lead from the list to see it here.";
    new_leads:
        "{} חדשים",
        "{} new";
}
