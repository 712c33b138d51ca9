//! Every word a person reads, one catalogue a language. A second language is a second [`Words`].

/// A catalogue. `{}` in a text is the place of a value; [`fill`] puts it there.
pub(crate) struct Words {
    /// BCP 47, for `lang`.
    pub(crate) language: &'static str,
    /// `rtl` or `ltr`, for `dir`.
    pub(crate) direction: &'static str,

    // Places
    pub(crate) leads: &'static str,
    pub(crate) skip_to_content: &'static str,
    pub(crate) back_to_list: &'static str,
    pub(crate) sign_out: &'static str,

    // States
    pub(crate) state_new: &'static str,
    pub(crate) state_ended: &'static str,
    pub(crate) state_recording: &'static str,
    pub(crate) state_recorded: &'static str,
    pub(crate) state_downloaded: &'static str,
    pub(crate) state_transcribed: &'static str,
    pub(crate) state_processed: &'static str,
    pub(crate) state_hung_up: &'static str,
    pub(crate) state_silent: &'static str,
    pub(crate) state_missing: &'static str,
    pub(crate) state_not_recorded: &'static str,
    pub(crate) state_failed: &'static str,

    // Filters and search
    pub(crate) filter_label: &'static str,
    pub(crate) filter_all: &'static str,
    pub(crate) filter_processed: &'static str,
    pub(crate) filter_running: &'static str,
    pub(crate) filter_no_message: &'static str,
    pub(crate) filter_failed: &'static str,
    pub(crate) search: &'static str,
    pub(crate) search_hint: &'static str,
    pub(crate) older: &'static str,
    pub(crate) newest: &'static str,
    pub(crate) empty: &'static str,
    pub(crate) empty_search: &'static str,
    pub(crate) choose: &'static str,
    pub(crate) bad_query: &'static str,

    // Card
    pub(crate) call_back: &'static str,
    pub(crate) whatsapp: &'static str,
    pub(crate) withheld: &'static str,
    pub(crate) recording: &'static str,
    pub(crate) recording_of: &'static str,
    pub(crate) transcript: &'static str,
    pub(crate) speaker: &'static str,
    pub(crate) details: &'static str,
    pub(crate) stages: &'static str,
    pub(crate) stages_of: &'static str,
    pub(crate) rerun: &'static str,
    pub(crate) caller_name: &'static str,
    pub(crate) caller_number: &'static str,
    pub(crate) caller_place: &'static str,
    pub(crate) forwarded_from: &'static str,
    pub(crate) our_number: &'static str,
    pub(crate) received: &'static str,
    pub(crate) call_length: &'static str,
    pub(crate) message_length: &'static str,
    pub(crate) recognised_by: &'static str,
    pub(crate) call_id: &'static str,
    pub(crate) offline_summary: &'static str,
    pub(crate) said_name: &'static str,
    pub(crate) callback_number: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) urgency: &'static str,
    pub(crate) urgency_low: &'static str,
    pub(crate) urgency_normal: &'static str,
    pub(crate) urgency_high: &'static str,
    pub(crate) speaker_caller: &'static str,
    pub(crate) speaker_callee: &'static str,

    // Stages
    pub(crate) stage_download: &'static str,
    pub(crate) stage_transcribe: &'static str,
    pub(crate) stage_summarize: &'static str,
    pub(crate) stage_waiting: &'static str,
    pub(crate) stage_retrying: &'static str,
    pub(crate) stage_done: &'static str,
    pub(crate) stage_failed: &'static str,
    pub(crate) stage_skipped: &'static str,
    pub(crate) attempt: &'static str,
    pub(crate) attempts_made: &'static str,
    pub(crate) next_at: &'static str,
    pub(crate) since: &'static str,

    // Engines that gave no answer, and why
    pub(crate) no_answer: &'static str,
    pub(crate) class_not_yet: &'static str,
    pub(crate) class_network: &'static str,
    pub(crate) class_timeout: &'static str,
    pub(crate) class_rate_limited: &'static str,
    pub(crate) class_unavailable: &'static str,
    pub(crate) class_credentials: &'static str,
    pub(crate) class_not_found: &'static str,
    pub(crate) class_refused: &'static str,
    pub(crate) class_not_allowed: &'static str,
    pub(crate) class_invalid: &'static str,
    pub(crate) class_storage: &'static str,
    pub(crate) class_worker_lost: &'static str,
    pub(crate) class_internal: &'static str,
    pub(crate) class_resting: &'static str,
    pub(crate) class_overtaken: &'static str,

    // Time
    pub(crate) today: &'static str,
    pub(crate) yesterday: &'static str,
    pub(crate) now: &'static str,
    pub(crate) minutes_ago: &'static str,
    pub(crate) seconds: &'static str,
    pub(crate) minutes: &'static str,

    // Live
    pub(crate) new_leads: &'static str,
    pub(crate) offline: &'static str,

    // Warnings
    pub(crate) demonstration_model: &'static str,
    pub(crate) demonstration_how: &'static str,
    pub(crate) demonstration_answer: &'static str,
    pub(crate) unsigned_webhooks: &'static str,
    pub(crate) unsigned_how: &'static str,
    pub(crate) unsigned_answer: &'static str,

    // Sign-in
    pub(crate) sign_in: &'static str,
    pub(crate) sign_in_needed: &'static str,
    pub(crate) sign_in_how: &'static str,
    pub(crate) sign_in_ready: &'static str,
    pub(crate) sign_in_once: &'static str,
    pub(crate) sign_in_spent: &'static str,

    // What went wrong
    pub(crate) not_found: &'static str,
    pub(crate) not_found_text: &'static str,
    pub(crate) unavailable: &'static str,
    pub(crate) unavailable_text: &'static str,
    pub(crate) mistake: &'static str,
    pub(crate) mistake_text: &'static str,
    pub(crate) refused: &'static str,
    pub(crate) refused_text: &'static str,
}

/// Puts `value` in the place of `{}`.
pub(crate) fn fill(text: &str, value: impl std::fmt::Display) -> String {
    text.replacen("{}", &value.to_string(), 1)
}

/// Hebrew: plain, short, without gender where it can be avoided.
pub(crate) static HEBREW: Words = Words {
    language: "he",
    direction: "rtl",

    leads: "לידים",
    skip_to_content: "דילוג לתוכן",
    back_to_list: "חזרה לרשימה",
    sign_out: "יציאה",

    state_new: "בשיחה עכשיו",
    state_ended: "השיחה הסתיימה, ממתין להקלטה",
    state_recording: "מקליט הודעה",
    state_recorded: "ההקלטה בדרך",
    state_downloaded: "מתמלל…",
    state_transcribed: "מסכם…",
    state_processed: "מוכן",
    state_hung_up: "ניתק לפני הצפצוף",
    state_silent: "הודעה ללא דיבור",
    state_missing: "לא התקבלה הקלטה",
    state_not_recorded: "המספר אינו מקבל הודעות",
    state_failed: "העיבוד נכשל",

    filter_label: "סינון לפי מצב",
    filter_all: "הכול",
    filter_processed: "מוכנים",
    filter_running: "בעיבוד",
    filter_no_message: "ללא הודעה",
    filter_failed: "נכשלו",
    search: "חיפוש",
    search_hint: "חיפוש בשם, במספר, בתמלול ובסיכום",
    older: "לידים ישנים יותר",
    newest: "לרשימה מההתחלה",
    empty: "אין לידים ממתינים. שיחה חדשה תופיע כאן מיד.",
    empty_search: "לא נמצאו לידים מתאימים.",
    choose: "בחירת ליד מהרשימה תציג אותו כאן.",
    bad_query: "הקישור לרשימה אינו תקין. כדאי לחזור לרשימה מההתחלה.",

    call_back: "חיוג חזרה",
    whatsapp: "וואטסאפ",
    withheld: "מספר חסוי",
    recording: "הקלטה",
    recording_of: "הקלטה {}",
    transcript: "תמלול",
    speaker: "דובר {}",
    details: "פרטים",
    stages: "שלבי העיבוד",
    stages_of: "שלבי העיבוד · {}",
    rerun: "עיבוד מחדש",
    caller_name: "שם",
    caller_number: "מספר",
    caller_place: "מקום",
    forwarded_from: "הופנה מ־",
    our_number: "התקשרו אל",
    received: "התקבל",
    call_length: "אורך השיחה",
    message_length: "אורך ההודעה",
    recognised_by: "תומלל באמצעות",
    call_id: "מזהה שיחה",
    offline_summary: "סיכום אוטומטי ללא מודל שפה",
    said_name: "שם שנאמר בהודעה",
    callback_number: "מספר לחזרה",
    topic: "נושא",
    urgency: "דחיפות",
    urgency_low: "יכול לחכות",
    urgency_normal: "רגילה",
    urgency_high: "דחוף",
    speaker_caller: "המתקשר",
    speaker_callee: "העסק",

    stage_download: "הורדה",
    stage_transcribe: "תמלול",
    stage_summarize: "סיכום",
    stage_waiting: "ממתין",
    stage_retrying: "מנסה שוב",
    stage_done: "בוצע",
    stage_failed: "נכשל",
    stage_skipped: "דולג",
    attempt: "ניסיון {} מתוך {}",
    attempts_made: "אחרי {} ניסיונות",
    next_at: "הבא ב־{}",
    since: "מ־{}",

    no_answer: "לא נתן תשובה",
    class_not_yet: "עדיין לא היה זמין",
    class_network: "החיבור נכשל",
    class_timeout: "לא ענה בזמן",
    class_rate_limited: "ביקש להאט את קצב הפניות",
    class_unavailable: "השירות לא היה זמין",
    class_credentials: "פרטי הגישה חסרים או נדחו",
    class_not_found: "לא נמצא",
    class_refused: "הבקשה נדחתה",
    class_not_allowed: "לא מותר לפי ההגדרות",
    class_invalid: "התשובה לא הייתה תקינה",
    class_storage: "אין גישה לאחסון",
    class_worker_lost: "העבודה נקטעה",
    class_internal: "תקלה פנימית",
    class_resting: "נח אחרי כישלונות חוזרים ולא נשאל",
    class_overtaken: "מנוע אחר ענה לפניו",

    today: "היום",
    yesterday: "אתמול",
    now: "עכשיו",
    minutes_ago: "לפני {} דק׳",
    seconds: "{} שנ׳",
    minutes: "{} דק׳",

    new_leads: "{} חדשים",
    offline: "אין חיבור. מציג את מה שהתקבל עד {}.",

    demonstration_model: "מודל הדגמה: מכיר כמאה מילים בלבד.",
    demonstration_how: "איך מחליפים?",
    demonstration_answer: "מריצים במסוף: callfold model fetch ivrit-turbo ואחריו callfold model use ivrit-turbo. המערכת עוברת למודל בעצמה, בלי הפעלה מחדש.",
    unsigned_webhooks: "החתימות של Twilio אינן נבדקות.",
    unsigned_how: "איך מתקנים?",
    unsigned_answer: "מגדירים את TWILIO_AUTH_TOKEN ומפעילים מחדש. עד אז אפשר להתחבר מהמחשב הזה בלבד.",

    sign_in: "כניסה",
    sign_in_needed: "כדי לראות את הלידים צריך להיכנס.",
    sign_in_how: "נכנסים באמצעות קישור חד־פעמי: הפקודה callfold\u{a0}up מדפיסה אותו כשהמערכת עולה. הקישור תקף 15 דקות; הפעלה מחדש מדפיסה קישור חדש.",
    sign_in_ready: "לחיצה על הכפתור פותחת את רשימת הלידים בדפדפן הזה.",
    sign_in_once: "הקישור תקף לכניסה אחת.",
    sign_in_spent: "הקישור כבר נוצל או שפג תוקפו.",

    not_found: "הליד לא נמצא",
    not_found_text: "אין שיחה כזאת, או שהיא נמחקה.",
    unavailable: "לא זמין כרגע",
    unavailable_text: "הנתונים אינם זמינים כרגע. השיחות ממשיכות להתקבל; כדאי לנסות שוב בעוד רגע.",
    mistake: "משהו השתבש",
    mistake_text: "התקלה נרשמה ביומן המערכת. כדאי לנסות שוב.",
    refused: "הבקשה נדחתה",
    refused_text: "הבקשה הגיעה מאתר אחר ולכן לא בוצעה.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_their_places_in_order() {
        assert_eq!(fill(&fill(HEBREW.attempt, 3), 8), "ניסיון 3 מתוך 8");
        assert_eq!(fill(HEBREW.minutes_ago, 5), "לפני 5 דק׳");
        assert_eq!(fill("no place", 5), "no place");
    }
}
