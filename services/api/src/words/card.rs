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
}
