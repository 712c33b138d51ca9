//! The list of leads: filters, search, live updates.

use super::words;

words! { Queue
    filter_label:
        "סינון לפי מצב",
        "Filter by state";
    filter_all:
        "הכול",
        "All";
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
        "שם, מספר או מילים",
        "Number or words";
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
    tab_new:
        "חדשים",
        "New";
    tab_mine:
        "שלי",
        "Mine";
    tab_called_back:
        "חזרתי",
        "Called back";
    tab_done:
        "טופלו",
        "Done";
    tab_spam:
        "ספאם",
        "Spam";
    called_back:
        "חזרתי",
        "Called back";
    done:
        "טופל",
        "Done";
    spam:
        "ספאם",
        "Spam";
    unread:
        "לא נקרא",
        "Not read yet";
    unread_count:
        "{} שלא נקראו",
        "{} not read yet";
    earlier_one:
        "שיחה קודמת אחת",
        "1 earlier call";
    earlier_calls:
        "{} שיחות קודמות",
        "{} earlier calls";
    assigned_to:
        "אצל {}",
        "With {}";
    dates:
        "תאריכים",
        "Dates";
    date_from:
        "מתאריך",
        "From";
    date_to:
        "עד תאריך",
        "To";
    show:
        "הצגה",
        "Show";
    clear:
        "ניקוי",
        "Clear";
    empty_mine:
        "אין לידים פתוחים שמשויכים אליך.",
        "No open leads are assigned to you.";
    empty_tab:
        "אין כאן לידים.",
        "No leads here.";
    empty_search_how:
        "אפשר לחפש תחילת מילה, שם או מספר, או להרחיב את התאריכים.",
        "Try the beginning of a word, a name or a number, or wider dates.";
    export:
        "ייצוא לגיליון אלקטרוני",
        "Export to a spreadsheet";
    sound:
        "צליל לליד חדש",
        "Sound for a new lead";
    keys:
        "קיצורי מקשים",
        "Keyboard shortcuts";
    key_move:
        "מעבר בין לידים",
        "Move between leads";
    key_open:
        "פתיחת ליד",
        "Open a lead";
    key_search:
        "חיפוש",
        "Search";
    key_help:
        "הקיצורים האלה",
        "These shortcuts";
    close:
        "סגירה",
        "Close";
    loading:
        "טוען…",
        "Loading…";
    load_failed:
        "הרשימה לא נטענה. מנסה שוב.",
        "The list could not be loaded. Trying again.";
    column_state:
        "מצב",
        "State";
    column_handling:
        "טיפול",
        "Handling";
    column_assignee:
        "אצל",
        "With";
    column_tags:
        "תגיות",
        "Tags";
    column_headline:
        "כותרת",
        "Headline";
    column_points:
        "עיקרי הדברים",
        "Points";
    column_note:
        "הערה",
        "Note";
    column_international:
        "מספר בינלאומי",
        "International number";
    handling_open:
        "פתוח",
        "Open";
}
