//! What a request asks for, read from its address. Pure.

use callfold_kit::clock;
use callfold_lead::{At, Disposition, Status};
use callfold_schema::{CallSid, RecordingSid, UnixMillis};
use callfold_store::{LIMIT_MAX, LeadFilter};
use jiff::tz::TimeZone;

use crate::error::ApiError;

/// How many leads one answer holds when nothing is said.
const LIMIT_DEFAULT: u32 = 50;

/// The longest search text, in characters.
const SEARCH_CHARS_MAX: usize = 200;

/// The longest name of an assignee, in characters: as long as one may be.
const ASSIGNEE_CHARS_MAX: usize = 120;

/// Which leads are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListQuery {
    pub(crate) filter: LeadFilter,
    pub(crate) limit: u32,
    pub(crate) cursor: Option<String>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            filter: LeadFilter::default(),
            limit: LIMIT_DEFAULT,
            cursor: None,
        }
    }
}

impl ListQuery {
    /// Reads the query of an address; days are days of `zone`. Empty values count as left out, unknown names too.
    pub(crate) fn parse(query: Option<&str>, zone: &TimeZone) -> Result<Self, ApiError> {
        let mut list = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match &*name {
                "status" => {
                    for token in value.split(',').map(str::trim).filter(|token| !token.is_empty()) {
                        let status = Status::from_token(token).ok_or(ApiError::BadQuery(
                            "status is a list of new, recording, recorded, downloaded, transcribed, processed, no_message, failed",
                        ))?;
                        list.filter.status.push(status);
                    }
                }
                "disposition" => {
                    for token in value.split(',').map(str::trim).filter(|token| !token.is_empty()) {
                        let disposition = Disposition::from_token(token).ok_or(ApiError::BadQuery(
                            "disposition is a list of open, called_back, done, spam",
                        ))?;
                        list.filter.disposition.push(disposition);
                    }
                }
                "assignee" if value.chars().count() > ASSIGNEE_CHARS_MAX => {
                    return Err(ApiError::BadQuery("assignee has 120 characters at most"));
                }
                "assignee" => list.filter.assignee = Some(value.to_owned()),
                "seen" => {
                    list.filter.seen = match value {
                        "true" => Some(true),
                        "false" => Some(false),
                        _ => return Err(ApiError::BadQuery("seen is true or false")),
                    };
                }
                "q" | "phone" if value.chars().count() > SEARCH_CHARS_MAX => {
                    return Err(ApiError::BadQuery("q and phone have 200 characters at most"));
                }
                "q" => list.filter.q = Some(value.to_owned()),
                "phone" => list.filter.phone = Some(value.to_owned()),
                "from" => list.filter.from = Some(moment(value, zone, false)?),
                "to" => list.filter.to = Some(moment(value, zone, true)?),
                "limit" => {
                    list.limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                        .ok_or(ApiError::BadQuery("limit is a number, 1 to 100"))?;
                }
                "cursor" => list.cursor = Some(value.to_owned()),
                _ => {}
            }
        }
        list.filter.status = list.filter.statuses();
        list.filter.disposition = list.filter.dispositions();
        Ok(list)
    }
}

fn moment(text: &str, zone: &TimeZone, end: bool) -> Result<UnixMillis, ApiError> {
    clock::moment(text, zone, end).ok_or(ApiError::BadQuery(
        "from and to are days (2026-11-22) or moments (2026-11-22T10:00:00Z, a + written %2B)",
    ))
}

/// `?at=`: a position of the stream, or an RFC 3339 moment. An empty value counts as left out.
pub(crate) fn at(query: Option<&str>) -> Result<Option<At>, ApiError> {
    let query = query.unwrap_or_default();
    let given = form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "at" && !value.trim().is_empty());
    let Some((_, value)) = given else {
        return Ok(None);
    };
    let value = value.trim();
    let moment = if value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().ok().map(At::Position)
    } else {
        UnixMillis::parse_rfc3339(value).map(At::Time)
    };
    moment.map(Some).ok_or(ApiError::BadQuery(
        "at is a position (a number) or a moment (2026-11-22T10:00:00Z, a + written %2B)",
    ))
}

/// A call in a path. What cannot be one is not found.
pub(crate) fn call_sid(text: &str) -> Result<CallSid, ApiError> {
    CallSid::parse(text).map_err(|_| ApiError::NotFound(NO_LEAD))
}

/// A recording in a path. What cannot be one is not found.
pub(crate) fn recording_sid(text: &str) -> Result<RecordingSid, ApiError> {
    RecordingSid::parse(text).map_err(|_| ApiError::NotFound(NO_RECORDING))
}

/// Said when there is no such lead.
pub(crate) const NO_LEAD: &str = "There is no such lead.";
/// Said when there is no such recording.
pub(crate) const NO_RECORDING: &str = "The lead has no such recording.";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    fn parse(query: &str) -> Result<ListQuery, ApiError> {
        ListQuery::parse(Some(query), &TimeZone::get("Asia/Jerusalem").unwrap())
    }

    #[test]
    fn everything_is_optional_and_empty_values_do_not_narrow() {
        assert_eq!(parse("").unwrap(), ListQuery::default());
        assert_eq!(
            parse("q=&status=&from=&limit=&other=1").unwrap(),
            ListQuery::default()
        );
    }

    #[test]
    fn a_whole_query_is_read() {
        let list =
            parse("disposition=spam,open&assignee=Dana+%D7%9B%D7%94%D7%9F&seen=false&status=failed,new&q=%D7%A9%D7%99%D7%A4%D7%95%D7%A5+a&phone=%2B97250&limit=100&cursor=x")
                .unwrap();
        assert_eq!(list.filter.status, [Status::New, Status::Failed]);
        assert_eq!(list.filter.disposition, [Disposition::Open, Disposition::Spam]);
        assert_eq!(list.filter.assignee.as_deref(), Some("Dana כהן"));
        assert_eq!(list.filter.seen, Some(false));
        assert_eq!(list.filter.q.as_deref(), Some("שיפוץ a"));
        assert_eq!(list.filter.phone.as_deref(), Some("+97250"));
        assert_eq!((list.limit, list.cursor.as_deref()), (100, Some("x")));
    }

    #[test]
    fn a_day_is_a_day_of_the_zone_and_to_includes_it() {
        let list = parse("from=2026-11-22&to=2026-11-22").unwrap();
        let at = |text| UnixMillis::parse_rfc3339(text);
        assert_eq!(list.filter.from, at("2026-11-21T22:00:00Z"));
        assert_eq!(list.filter.to, at("2026-11-22T22:00:00Z"));
        let list = parse("from=2026-11-22T10:00:00Z&to=2026-11-22T12:00:00%2B02:00").unwrap();
        assert_eq!(
            (list.filter.from, list.filter.to),
            (at("2026-11-22T10:00:00Z"), at("2026-11-22T10:00:00Z"))
        );
    }

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        let of = |query| at(Some(query)).unwrap();
        assert_eq!((of(""), of("at="), of("after=4")), (None, None, None));
        assert_eq!(of("at=17"), Some(At::Position(17)));
        let noon = UnixMillis::parse_rfc3339("2026-11-22T10:00:00Z").unwrap();
        assert_eq!(of("at=2026-11-22T12:00:00%2B02:00"), Some(At::Time(noon)));
        for query in [
            "at=yesterday",
            "at=-1",
            "at=1.5",
            "at=2026-11-22",
            "at=2026-11-22T12:00:00+02:00",
            "at=99999999999999999999",
        ] {
            assert!(matches!(at(Some(query)), Err(ApiError::BadQuery(_))), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let long = format!("q={}", "x".repeat(201));
        for query in [
            "status=done",
            "disposition=closed",
            "seen=1",
            "from=yesterday",
            "to=2026-13-01",
            "limit=0",
            "limit=101",
            "limit=-1",
            long.as_str(),
            "to=9999-12-31",
        ] {
            assert!(matches!(parse(query), Err(ApiError::BadQuery(_))), "{query}");
        }
    }
}
