//! Moments and lengths.

use super::words;

words! { Time
    today:
        "היום",
        "Today";
    yesterday:
        "אתמול",
        "Yesterday";
    now:
        "עכשיו",
        "Now";
    minutes_ago:
        "לפני {} דק׳",
        "{} min ago";
    seconds:
        "{} שנ׳",
        "{} sec";
    minutes:
        "{} דק׳",
        "{} min";
}
