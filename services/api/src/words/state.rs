//! How leads, stages and engines stand.

use super::words;

words! { State
    state_new:
        "בשיחה עכשיו",
        "On the line now";
    state_ended:
        "השיחה הסתיימה, ממתין להקלטה",
        "Call over, waiting for the recording";
    state_recording:
        "מקליט הודעה",
        "Leaving a message";
    state_recorded:
        "ההקלטה בדרך",
        "Recording on its way";
    state_downloaded:
        "מתמלל…",
        "Transcribing…";
    state_transcribed:
        "מסכם…",
        "Summarising…";
    state_processed:
        "מוכן",
        "Ready";
    state_hung_up:
        "ניתק לפני הצפצוף",
        "Hung up before the beep";
    state_silent:
        "הודעה ללא דיבור",
        "No speech in the message";
    state_missing:
        "לא התקבלה הקלטה",
        "No recording arrived";
    state_not_recorded:
        "המספר אינו מקבל הודעות",
        "This number takes no messages";
    state_failed:
        "העיבוד נכשל",
        "Processing failed";
    stage_download:
        "הורדה",
        "Download";
    stage_transcribe:
        "תמלול",
        "Transcript";
    stage_summarize:
        "סיכום",
        "Summary";
    stage_waiting:
        "ממתין",
        "Waiting";
    stage_retrying:
        "מנסה שוב",
        "Trying again";
    stage_done:
        "בוצע",
        "Done";
    stage_failed:
        "נכשל",
        "Failed";
    stage_skipped:
        "דולג",
        "Skipped";
    attempt:
        "ניסיון {} מתוך {}",
        "Attempt {} of {}";
    attempts_made:
        "אחרי {} ניסיונות",
        "After {} attempts";
    next_at:
        "הבא ב־{}",
        "next {}";
    since:
        "מ־{}",
        "since {}";
    no_answer:
        "לא נתן תשובה",
        "gave no answer";
    class_not_yet:
        "עדיין לא היה זמין",
        "was not available yet";
    class_network:
        "החיבור נכשל",
        "the connection failed";
    class_timeout:
        "לא ענה בזמן",
        "did not answer in time";
    class_rate_limited:
        "ביקש להאט את קצב הפניות",
        "asked for fewer requests";
    class_unavailable:
        "השירות לא היה זמין",
        "the service was not available";
    class_credentials:
        "פרטי הגישה חסרים או נדחו",
        "credentials are missing or were refused";
    class_not_found:
        "לא נמצא",
        "not found";
    class_refused:
        "הבקשה נדחתה",
        "the request was refused";
    class_not_allowed:
        "לא מותר לפי ההגדרות",
        "the settings do not allow it";
    class_invalid:
        "התשובה לא הייתה תקינה",
        "the answer was not valid";
    class_storage:
        "אין גישה לאחסון",
        "the storage cannot be reached";
    class_worker_lost:
        "העבודה נקטעה",
        "the work was cut off";
    class_internal:
        "תקלה פנימית",
        "internal fault";
    class_resting:
        "נח אחרי כישלונות חוזרים ולא נשאל",
        "rests after repeated failures and was not asked";
    class_overtaken:
        "מנוע אחר ענה לפניו",
        "another engine answered before it";
}
