//! What happened to a lead, and its runs.

use super::words;

words! { Story
    stages:
        "שלבי העיבוד",
        "Stages";
    stages_of:
        "שלבי העיבוד · {}",
        "Stages · {}";
    rerun:
        "עיבוד מחדש",
        "Run again";
    rerun_running:
        "עיבוד מחדש, בעבודה",
        "Running again";
    rerun_failed:
        "העיבוד מחדש נכשל; מה שהוצג נשאר",
        "The new run failed; what was shown stays";
    rerun_held:
        "עיבוד מחדש מוכן, ממתין להשוואה",
        "A new run is ready and waits to be compared";
    rerun_asked:
        "העיבוד מחדש התבקש",
        "Running again was asked for";
    rerun_stage:
        "מאיזה שלב",
        "From which stage";
    rerun_engine:
        "באיזה מנוע",
        "With which engine";
    engine_by_settings:
        "לפי ההגדרות",
        "As the settings say";
    engines_speech:
        "תמלול",
        "Transcript";
    engines_summary:
        "סיכום",
        "Summary";
    engine_offline:
        "ללא מודל שפה",
        "without a language model";
    rerun_wait:
        "להשאיר להשוואה לפני שמציגים",
        "Keep for comparison before it is shown";
    rerun_start:
        "הפעלה מחדש",
        "Run again now";
    compare:
        "השוואת תוצאות",
        "Compare results";
    story:
        "סיפור השיחה",
        "Story of the call";
    card_now:
        "לכרטיס של עכשיו",
        "To the card as it is now";
    as_it_was:
        "כך היה הכרטיס ב־{}",
        "The card as it was at {}";
    moment:
        "רגע בסיפור",
        "Moment in the story";
    show_moment:
        "הצגה",
        "Show";
    step_of:
        "{} מתוך {}",
        "{} of {}";
    later_events:
        "לאירועים הבאים",
        "To the next events";
    first_events:
        "לתחילת הסיפור",
        "To the start of the story";
    somebody:
        "מישהו מהצוות",
        "Someone on the team";
    program:
        "תוכנה",
        "A program";
    deleted:
        "אירוע שנמחק",
        "An event that was deleted";
    unreadable:
        "אירוע שאי אפשר לקרוא",
        "An event that cannot be read";
    reconciled:
        "התגלה בבדיקה מול Twilio",
        "found in a check with Twilio";
    in_rerun:
        "בעיבוד מחדש",
        "in a new run";
    call_started:
        "נכנסה שיחה",
        "A call came in";
    call_withheld:
        "נכנסה שיחה ממספר חסוי",
        "A call came in from a withheld number";
    call_ended:
        "השיחה הסתיימה",
        "The call ended";
    call_ended_after:
        "השיחה הסתיימה אחרי {}",
        "The call ended after {}";
    recording_started:
        "ההקלטה התחילה",
        "The recording began";
    recording_ready:
        "ההקלטה מוכנה להורדה",
        "The recording can be fetched";
    recording_ready_of:
        "ההקלטה מוכנה להורדה, אורכה {}",
        "The recording can be fetched, {} long";
    missing_absent:
        "לפי Twilio אין הקלטה",
        "Twilio says there is no recording";
    missing_failed:
        "לפי Twilio ההקלטה נכשלה",
        "Twilio says that the recording failed";
    missing_hung_up:
        "השיחה נותקה לפני הצפצוף",
        "The caller hung up before the beep";
    missing_deadline:
        "לא נמסר דבר על הקלטה בזמן",
        "Nothing was heard of a recording in time";
    downloaded:
        "ההקלטה נשמרה, אורכה {}",
        "The recording was stored, {} long";
    silent:
        "אין דיבור בהקלטה",
        "Nobody speaks in the recording";
    transcribed:
        "תומלל באמצעות {} בתוך {}",
        "Transcribed by {} within {}";
    summarized:
        "סוכם באמצעות {} בתוך {}",
        "Summarised by {} within {}";
    stage_waits:
        "ממתין",
        "waits";
    attempt_failed:
        "ניסיון {} מתוך {} נכשל",
        "attempt {} of {} failed";
    gave_up:
        "נעצר אחרי {} ניסיונות",
        "stopped after {} attempts";
    rerun_from:
        "התבקש עיבוד מחדש מהשלב: {}",
        "Running again was asked for, from: {}";
    rerun_with:
        "באמצעות {}",
        "with {}";
    rerun_hold:
        "נשאר להשוואה",
        "kept for comparison";
    seen:
        "סומן כנקרא",
        "Marked as read";
    unseen:
        "סומן כלא נקרא",
        "Marked as unread";
    marked:
        "סומן: {}",
        "Marked: {}";
    reopened:
        "הוחזר לטיפול",
        "Back to do";
    note_written:
        "ההערה נשמרה",
        "The note was saved";
    note_removed:
        "ההערה הוסרה",
        "The note was removed";
    assigned:
        "שויך אל {}",
        "Assigned to {}";
    unassigned:
        "השיוך הוסר",
        "Assigned to nobody";
    tagged:
        "התגיות עודכנו",
        "The tags were changed";
    corrected:
        "התמלול תוקן",
        "The transcript was corrected";
    correction_removed:
        "התיקון בוטל",
        "The correction was taken back";
    name_corrected:
        "שם המתקשר תוקן",
        "The name of the caller was corrected";
    number_corrected:
        "המספר לחזרה תוקן",
        "The number to call back was corrected";
    adopted:
        "נבחרה תוצאה להצגה",
        "A result was chosen to be shown";
    adopted_by_rule:
        "מוצגת שוב התוצאה האחרונה",
        "The newest result is shown again";
    erased:
        "השיחה נמחקה",
        "The call was erased";
    erase_done:
        "המחיקה הושלמה",
        "The erasure is complete";
    run_first:
        "העיבוד הראשון",
        "The first run";
    run_of:
        "עיבוד מחדש {} · {}",
        "New run {} · {}";
    run_shown:
        "מוצג עכשיו",
        "Shown now";
    run_adopt:
        "להציג את זה",
        "Show this one";
    run_by_rule:
        "חזרה לתוצאה האחרונה",
        "Back to the newest result";
    runs_same:
        "אין הבדל בין שתי התוצאות.",
        "The two results are the same.";
    word_errors:
        "{} מילים שגויות מתוך {} לפי התיקון הידני",
        "{} wrong words of {} by the correction";
    run_left:
        "תוצאה ראשונה",
        "One result";
    run_right:
        "תוצאה שנייה",
        "The other result";
    no_summary:
        "אין סיכום",
        "No summary";
    no_transcript:
        "אין תמלול",
        "No transcript";
    differences:
        "מילים שמופיעות רק בצד אחד מודגשות עם קו מתחתן.",
        "Words that stand on one side only are underlined.";
}
