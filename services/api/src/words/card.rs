//! One lead.

use super::words;

words! { Card
    call_back:
        "חיוג חזרה",
        "Call back";
    whatsapp:
        "וואטסאפ",
        "WhatsApp";
    withheld:
        "מספר חסוי",
        "Withheld number";
    recording:
        "הקלטה",
        "Recording";
    recording_of:
        "הקלטה {}",
        "Recording {}";
    transcript:
        "תמלול",
        "Transcript";
    speaker:
        "דובר {}",
        "Speaker {}";
    details:
        "פרטים",
        "Details";
    caller_name:
        "שם",
        "Name";
    caller_number:
        "מספר",
        "Number";
    caller_place:
        "מקום",
        "Place";
    forwarded_from:
        "הופנה מ־",
        "Forwarded from";
    our_number:
        "התקשרו אל",
        "Called";
    received:
        "התקבל",
        "Received";
    call_length:
        "אורך השיחה",
        "Length of the call";
    message_length:
        "אורך ההודעה",
        "Length of the message";
    recognised_by:
        "תומלל באמצעות",
        "Transcribed by";
    call_id:
        "מזהה שיחה",
        "Call id";
    offline_summary:
        "סיכום אוטומטי ללא מודל שפה",
        "Summary made without a language model";
    said_name:
        "שם שנאמר בהודעה",
        "Name said in the message";
    callback_number:
        "מספר לחזרה",
        "Number to call back";
    topic:
        "נושא",
        "Topic";
    urgency:
        "דחיפות",
        "Urgency";
    urgency_low:
        "יכול לחכות",
        "Can wait";
    urgency_normal:
        "רגילה",
        "Normal";
    urgency_high:
        "דחוף",
        "Urgent";
    speaker_caller:
        "המתקשר",
        "Caller";
    speaker_callee:
        "העסק",
        "Business";
    open:
        "לטיפול",
        "To do";
    called_back:
        "חזרתי",
        "Called back";
    done:
        "טופל",
        "Done";
    spam:
        "ספאם",
        "Spam";
    what_became:
        "מה נעשה",
        "What was done";
    take:
        "לטיפולי",
        "Take";
    taken:
        "בטיפולי",
        "Mine";
    assigned_to:
        "בטיפול: {}",
        "Looked after by {}";
    assign:
        "שיוך",
        "Assign";
    assign_hint:
        "שם של מי שמטפל",
        "Name of who looks after it";
    note:
        "הערה",
        "Note";
    note_hint:
        "מה סוכם, מה נשאר לעשות",
        "What was agreed, what is left to do";
    note_now:
        "ההערה כרגע: {}",
        "The note now: {}";
    save:
        "שמירה",
        "Save";
    tags:
        "תגיות",
        "Tags";
    tag:
        "תגית",
        "Tag";
    tag_add:
        "הוספה",
        "Add";
    untag:
        "הסרת התגית {}",
        "Remove the tag {}";
    unseen:
        "סימון כלא נקרא",
        "Mark as unread";
    correct:
        "תיקון תמלול",
        "Correct transcript";
    correct_save:
        "שמירת התיקון",
        "Save the correction";
    correct_back:
        "חזרה לתמלול האוטומטי",
        "Back to the automatic transcript";
    correct_caller:
        "תיקון שם ומספר",
        "Correct name and number";
    corrected:
        "תוקן ידנית",
        "Corrected by a person";
    transcript_now:
        "התמלול כרגע מופיע למעלה.",
        "The transcript as it is now stands above.";
    show_all:
        "הצגת כל התמלול ({} קטעים)",
        "Show the whole transcript ({} pieces)";
    hear_from:
        "השמעה מ־{}",
        "Play from {}";
    play:
        "השמעה",
        "Play";
    pause:
        "השהיה",
        "Pause";
    speed:
        "מהירות",
        "Speed";
    seek:
        "מיקום בהקלטה",
        "Place in the recording";
    earlier:
        "שיחות קודמות מהמספר",
        "Earlier calls from this number";
    earlier_all:
        "כל השיחות מהמספר",
        "All calls from this number";
    undo:
        "ביטול",
        "Undo";
    close:
        "סגירה",
        "Close";
    not_saved:
        "השינוי לא נשמר. כדאי לנסות שוב.",
        "The change was not saved. Try again.";
    changed_meanwhile:
        "בינתיים: {} · {}.",
        "Meanwhile: {} · {}.";
    changed:
        "הליד השתנה בינתיים.",
        "The lead changed meanwhile.";
    draft_kept:
        "מה שהוקלד נשמר בשדה; אפשר לשמור שוב.",
        "What you typed is still in the field; you can save it again.";
    erase:
        "מחיקה לצמיתות",
        "Erase for good";
    gone:
        "השיחה הזאת נמחקה.",
        "This call was erased.";
    erase_question:
        "למחוק את השיחה, ההקלטה והתמלול? אי אפשר לשחזר.",
        "Erase the call, recording and transcript? This cannot be undone.";
    cancel:
        "חזרה בלי למחוק",
        "Keep it";
    time_left:
        "בעוד {}",
        "in {}";
    technical:
        "פרט טכני",
        "Technical detail";
    meaning_hung_up:
        "השיחה נותקה בזמן הברכה, ולכן אין הקלטה.",
        "The call ended during the greeting, so there is no recording.";
    meaning_silent:
        "ההקלטה התקבלה, אבל לא נשמע בה דיבור.",
        "The recording arrived, but nobody speaks in it.";
    meaning_absent:
        "לפי Twilio אין הקלטה: היא הייתה קצרה מדי או שקטה.",
        "Twilio says there is no recording: it was too short or silent.";
    meaning_failed_at_twilio:
        "לפי Twilio ההקלטה נכשלה.",
        "Twilio says that the recording failed.";
    meaning_deadline:
        "השיחה הסתיימה, ועד עכשיו לא נמסר דבר על הקלטה. אם תגיע, היא תופיע כאן.",
        "The call is over and nothing was heard of a recording. If it still comes, it appears here.";
    meaning_not_recorded:
        "במספר שאליו התקשרו לא מקליטים הודעות.",
        "No messages are taken on the number that was called.";
    meaning_not_available:
        "אי אפשר לקבל את ההקלטה: היא נמחקה או שהגישה אליה נחסמה.",
        "The recording is not available: it was deleted, or access to it is refused.";
    meaning_failed:
        "העיבוד נעצר אחרי כל הניסיונות. אפשר להפעיל אותו מחדש למטה.",
        "Processing stopped after all attempts. It can be run again below.";
}
