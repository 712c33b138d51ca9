//! How numbers, moments and lengths look to a person. Pure functions on values.

use callfold_schema::{PhoneNumber, UnixMillis};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::words::Words;

/// What providers write in place of a number that the caller withheld.
const WITHHELD: [&str; 7] = [
    "",
    "anonymous",
    "unknown",
    "restricted",
    "unavailable",
    "blocked",
    "private",
];

/// Numbers that spell such a word on a keypad, for networks that insist on digits.
const WITHHELD_NUMBERS: [&str; 6] = [
    "+266696687",
    "+7378742833",
    "+2562533",
    "+8566696",
    "+86282452253",
    "+464",
];

/// Whether the caller withheld the number.
pub(crate) fn is_withheld(number: &PhoneNumber) -> bool {
    let text = number.as_str().trim();
    WITHHELD.iter().any(|word| text.eq_ignore_ascii_case(word)) || WITHHELD_NUMBERS.contains(&text)
}

/// Whether the number can be called back.
pub(crate) fn can_call_back(number: &PhoneNumber) -> bool {
    number.is_e164() && !is_withheld(number)
}

/// A number as people say it: `050-123-4567` for Israeli E.164, everything else as it came.
///
/// Only for numbers that are not withheld; see [`is_withheld`].
pub(crate) fn phone(number: &PhoneNumber) -> String {
    let text = number.as_str().trim();
    let Some(national) = text.strip_prefix("+972") else {
        return text.to_owned();
    };
    if !national.bytes().all(|b| b.is_ascii_digit()) {
        return text.to_owned();
    }
    match national.len() {
        // 5X mobile and 7X without a place: a two-digit area behind the 0, then 3 and 4.
        9 if national.starts_with(['5', '7']) => {
            format!("0{}-{}-{}", &national[..2], &national[2..5], &national[5..])
        }
        // 2, 3, 4, 8, 9: a one-digit area.
        8 if national.starts_with(['2', '3', '4', '8', '9']) => {
            format!("0{}-{}-{}", &national[..1], &national[1..4], &national[4..])
        }
        _ => text.to_owned(),
    }
}

/// A number that a caller said, as people say it: an Israeli one is said with a 0 in front.
pub(crate) fn said_phone(number: &PhoneNumber) -> String {
    let text = number.as_str().trim();
    match text.strip_prefix('0') {
        Some(national) => {
            let shown = phone(&format!("+972{national}").as_str().into());
            if shown.starts_with('+') {
                text.to_owned()
            } else {
                shown
            }
        }
        None => phone(number),
    }
}

/// A number that a caller said, as it is dialled; `None` for what no telephone dials.
pub(crate) fn said_tel(number: &PhoneNumber) -> Option<String> {
    let text = number.as_str().trim();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let can_be_dialled = (3..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    can_be_dialled.then(|| text.to_owned())
}

/// `0:24`, `12:05`, `1:02:05`.
pub(crate) fn length(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A length in milliseconds, rounded to the nearest second but never to nothing: `0:24`.
pub(crate) fn length_ms(millis: u64) -> String {
    let seconds = millis.saturating_add(500) / 1000;
    length(if millis > 0 { seconds.max(1) } else { 0 })
}

/// A moment in `zone`; one outside what a calendar can hold is clamped.
fn zoned(moment: UnixMillis, zone: &TimeZone) -> Zoned {
    let clamped = if moment.0 < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_millisecond(moment.0)
        .unwrap_or(clamped)
        .to_zoned(zone.clone())
}

/// `היום 14:05`, `אתמול 14:05`, then `22.11.2026`.
pub(crate) fn day_and_time(moment: UnixMillis, now: UnixMillis, zone: &TimeZone, words: &Words) -> String {
    let (then, now) = (zoned(moment, zone), zoned(now, zone));
    let time = format!("{:02}:{:02}", then.hour(), then.minute());
    if then.date() == now.date() {
        return format!("{} {time}", words.time.today);
    }
    if now
        .date()
        .yesterday()
        .is_ok_and(|yesterday| yesterday == then.date())
    {
        return format!("{} {time}", words.time.yesterday);
    }
    format!("{}.{}.{}", then.day(), then.month(), then.year())
}

/// `22.11.2026 14:05:12`: the whole moment, for the card and for titles.
pub(crate) fn full(moment: UnixMillis, zone: &TimeZone) -> String {
    let then = zoned(moment, zone);
    format!(
        "{}.{}.{} {}",
        then.day(),
        then.month(),
        then.year(),
        clock(moment, zone)
    )
}

/// `2026-11-22 14:05:12`: what a spreadsheet reads as a moment and puts in order.
pub(crate) fn sortable(moment: UnixMillis, zone: &TimeZone) -> String {
    format!("{} {}", day(moment, zone), clock(moment, zone))
}

/// `2026-11-22`.
pub(crate) fn day(moment: UnixMillis, zone: &TimeZone) -> String {
    zoned(moment, zone).date().to_string()
}

/// `12:04:05`.
pub(crate) fn clock(moment: UnixMillis, zone: &TimeZone) -> String {
    let then = zoned(moment, zone);
    format!("{:02}:{:02}:{:02}", then.hour(), then.minute(), then.second())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;
    use crate::words::Language;

    fn pretty(text: &str) -> String {
        phone(&PhoneNumber::from(text))
    }

    #[test]
    fn israeli_numbers_look_as_people_say_them() {
        assert_eq!(pretty("+972501234567"), "050-123-4567");
        assert_eq!(pretty("+972771234567"), "077-123-4567");
        assert_eq!(pretty("+97231234567"), "03-123-4567");
        assert_eq!(pretty("+97289999999"), "08-999-9999");
    }

    #[test]
    fn other_numbers_stay_as_they_came() {
        for text in [
            "+15551234567",
            "+1555",
            "+972",
            "+9725012345678",
            "+97212345678",
            "client:dana",
            "sip:a@b",
            "+972٥٠١٢٣٤٥٦٧",
        ] {
            assert_eq!(pretty(text), text);
        }
    }

    #[test]
    fn withheld_numbers_are_known_and_cannot_be_called() {
        for text in [
            "anonymous",
            "Anonymous",
            "unknown",
            "",
            "+266696687",
            "Restricted",
        ] {
            let number = PhoneNumber::from(text);
            assert!(is_withheld(&number), "{text}");
            assert!(!can_call_back(&number), "{text}");
        }
        assert!(can_call_back(&PhoneNumber::from("+972501234567")));
        assert!(!can_call_back(&PhoneNumber::from("sip:a@b")));
    }

    #[test]
    fn numbers_that_were_said_look_as_people_say_them_and_can_be_dialled() {
        let said = |text: &str| (said_phone(&text.into()), said_tel(&text.into()));
        let dial = |text: &str| Some(text.to_owned());
        assert_eq!(
            said("0501234567"),
            ("050-123-4567".to_owned(), dial("0501234567"))
        );
        assert_eq!(
            said("+97231234567"),
            ("03-123-4567".to_owned(), dial("+97231234567"))
        );
        assert_eq!(said("031234567"), ("03-123-4567".to_owned(), dial("031234567")));
        assert_eq!(said("00441234"), ("00441234".to_owned(), dial("00441234")));
        assert_eq!(said("*6050"), ("*6050".to_owned(), None));
        for text in ["", "+", "12", "1234567890123456", "050;ext=1", "٠٥٠١٢٣٤"] {
            assert_eq!(said_tel(&text.into()), None, "{text}");
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(length(24), "0:24");
        assert_eq!(length(725), "12:05");
        assert_eq!(length(3725), "1:02:05");
        assert_eq!(length_ms(23_600), "0:24");
        assert_eq!(length_ms(100), "0:01");
        assert_eq!(length_ms(0), "0:00");
        assert_eq!(length_ms(u64::MAX), length(u64::MAX / 1000));
    }

    #[test]
    fn a_day_is_a_day_of_the_zone() {
        let zone = TimeZone::get("Asia/Jerusalem").unwrap();
        let at = |text: &str| UnixMillis::parse_rfc3339(text).unwrap();
        // 00:30 in Jerusalem; in UTC it is still the day before.
        let now = at("2026-11-21T22:30:00Z");
        let say = |text: &str| day_and_time(at(text), now, &zone, Language::Hebrew.words());
        assert_eq!(say("2026-11-21T22:05:00Z"), "היום 00:05");
        assert_eq!(say("2026-11-21T21:59:00Z"), "אתמול 23:59");
        assert_eq!(say("2026-11-20T12:00:00Z"), "20.11.2026");
        let english = |text: &str| day_and_time(at(text), now, &zone, Language::English.words());
        assert_eq!(english("2026-11-21T22:05:00Z"), "Today 00:05");
        assert_eq!(english("2026-11-21T21:59:00Z"), "Yesterday 23:59");
        assert_eq!(english("2026-11-20T12:00:00Z"), "20.11.2026");
        assert_eq!(full(at("2026-11-20T12:00:05Z"), &zone), "20.11.2026 14:00:05");
        assert_eq!(sortable(at("2026-11-20T22:00:05Z"), &zone), "2026-11-21 00:00:05");
        // Nothing that an event may hold makes it panic.
        for odd in [i64::MIN, -1, 0, i64::MAX] {
            full(UnixMillis(odd), &zone);
            day_and_time(UnixMillis(odd), UnixMillis(odd), &zone, Language::Hebrew.words());
        }
    }
}
