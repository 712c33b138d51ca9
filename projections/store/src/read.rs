//! Reading leads.

use async_trait::async_trait;
use callfold_lead::{Disposition, Lead, LeadState, Status};
use callfold_schema::{CallSid, UnixMillis};

use crate::apply::{Projection, UnreadableEvent};
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::search::{phone_digits, query_words};

/// The most rows of one answer.
pub const LIMIT_MAX: u32 = 100;
/// The length of a quarter of an hour, in milliseconds: every zone's hours begin with one.
pub const QUARTER_MS: i64 = 15 * 60 * 1_000;
/// From how many digits on a number is found by its end.
pub const PHONE_TAIL_DIGITS_MIN: usize = 4;

/// Up to how many earlier calls of a number are counted.
pub const EARLIER_MAX: u32 = 100;

/// Which leads are wanted; what is empty does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeadFilter {
    /// Any of these.
    pub status: Vec<Status>,
    /// Words, each the beginning of a word of numbers, names, topic, transcript or summary, what the caller said included.
    pub q: Option<String>,
    /// A number: `+…` exactly; digits (at least 4) by their end, a leading 0 left out, so that the national form finds
    /// the international one; anything else exactly.
    pub phone: Option<String>,
    /// Created at this moment or later.
    pub from: Option<UnixMillis>,
    /// Created before this moment.
    pub to: Option<UnixMillis>,
    /// Any of these.
    pub disposition: Vec<Disposition>,
    /// Looked after by this person.
    pub assignee: Option<String>,
    /// Looked at by a person, or not.
    pub seen: Option<bool>,
}

/// A run of one index, in the order of time. A list is merged from such runs: so a filter that few leads pass does not mean a
/// walk through all of them. What a run does not narrow is checked row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Every lead.
    All,
    /// The leads of the filter's number.
    Phone,
    /// The leads that the filter's assignee has, in this disposition.
    Assignee(Disposition),
    /// By status and disposition.
    Status(Status, Disposition),
    /// By disposition, looked at or not.
    Disposition(Disposition, bool),
}

/// How a number is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhoneMatch {
    /// As a whole.
    Exactly(String),
    /// By its last digits, which stand here back to front.
    Tail(String),
}

impl LeadFilter {
    /// How [`LeadFilter::phone`] is compared.
    pub fn phone_match(&self) -> Option<PhoneMatch> {
        let phone = self
            .phone
            .as_deref()
            .map(str::trim)
            .filter(|phone| !phone.is_empty())?;
        let digits = phone_digits(phone);
        let is_plain = phone.chars().all(|c| c.is_ascii_digit() || " -().".contains(c));
        let tail = digits.trim_start_matches('0');
        if is_plain && tail.len() >= PHONE_TAIL_DIGITS_MIN {
            return Some(PhoneMatch::Tail(tail.chars().rev().collect()));
        }
        let is_international = phone.starts_with('+')
            && phone[1..]
                .chars()
                .all(|c| c.is_ascii_digit() || " -().".contains(c));
        Some(PhoneMatch::Exactly(if is_international {
            format!("+{digits}")
        } else {
            phone.to_owned()
        }))
    }

    /// The words of [`LeadFilter::q`]: `None` when it does not narrow, an empty list when it finds nothing.
    pub fn words(&self) -> Option<Vec<String>> {
        self.q
            .as_deref()
            .map(str::trim)
            .filter(|q| !q.is_empty())
            .map(query_words)
    }

    /// The runs of indexes that hold everything the filter finds, each lead in one of them; for filters without words.
    pub fn shelves(&self) -> Vec<Shelf> {
        let statuses = self.statuses();
        let dispositions = if self.disposition.is_empty() {
            Disposition::ALL.to_vec()
        } else {
            self.dispositions()
        };
        if self.phone_match().is_some() {
            vec![Shelf::Phone]
        } else if self.assignee.is_some() {
            dispositions.into_iter().map(Shelf::Assignee).collect()
        } else if !statuses.is_empty() {
            statuses
                .into_iter()
                .flat_map(|status| {
                    dispositions
                        .iter()
                        .map(move |disposition| Shelf::Status(status, *disposition))
                })
                .collect()
        } else if !self.disposition.is_empty() || self.seen.is_some() {
            dispositions
                .into_iter()
                .flat_map(|disposition| [false, true].map(|seen| (disposition, seen)))
                .filter(|(_, seen)| self.seen.is_none_or(|wanted| wanted == *seen))
                .map(|(disposition, seen)| Shelf::Disposition(disposition, seen))
                .collect()
        } else {
            vec![Shelf::All]
        }
    }

    /// The dispositions, each once.
    pub fn dispositions(&self) -> Vec<Disposition> {
        let mut dispositions = self.disposition.clone();
        dispositions.sort_unstable();
        dispositions.dedup();
        dispositions
    }

    /// The statuses, each once.
    pub fn statuses(&self) -> Vec<Status> {
        let mut statuses = self.status.clone();
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The leads, newest first; of the same moment, the higher CallSid first.
    pub leads: Vec<Lead>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

impl Page {
    /// A page of rows that were read with one more than the limit.
    pub fn cut(mut leads: Vec<Lead>, limit: u32) -> Self {
        let limit = limit as usize;
        let more = leads.len() > limit;
        leads.truncate(limit);
        let next_cursor = leads.last().filter(|_| more).map(|last| {
            Cursor {
                created_at: last.created_at.0,
                call_sid: last.call_sid.clone(),
            }
            .encode()
        });
        Self { leads, next_cursor }
    }
}

/// A lead that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadChange {
    /// The call.
    pub call_sid: CallSid,
    /// How far it is; `None` for a call that was erased.
    pub status: Option<Status>,
    /// Its position.
    pub position: u64,
}

/// What reads the leads. Object safe: `Arc<dyn ReadLeads>`.
#[async_trait]
pub trait ReadLeads: Send + Sync {
    /// One lead.
    async fn lead(&self, call_sid: &CallSid) -> Result<Option<Lead>, StoreError>;

    /// A page, newest first by (created_at, call_sid). `limit` is taken as 1 to [`LIMIT_MAX`]; `cursor` is the
    /// `next_cursor` of the page before, with the same filter.
    async fn list(&self, filter: &LeadFilter, limit: u32, cursor: Option<&str>) -> Result<Page, StoreError>;

    /// The leads and erased calls whose position is above `position`, ascending, `limit` (1 to 1000) at most. A lead that
    /// changed twice is there once.
    async fn changes_since(&self, position: u64, limit: u32) -> Result<Vec<LeadChange>, StoreError>;

    /// The events of a call: what story and time travel are made of. Of an erased call, its tombstone.
    async fn state(&self, call_sid: &CallSid) -> Result<Option<LeadState>, StoreError>;

    /// The positions of a call's events, ascending; empty for an unknown call.
    async fn positions(&self, call_sid: &CallSid) -> Result<Vec<u64>, StoreError> {
        Ok(self
            .state(call_sid)
            .await?
            .map(|state| state.positions())
            .unwrap_or_default())
    }

    /// How many leads a filter finds, counted up to `most`. Words of the filter do not count.
    async fn count(&self, filter: &LeadFilter, most: u32) -> Result<u32, StoreError>;

    /// For each of these leads, how many calls came from its number before it, counted up to [`EARLIER_MAX`].
    async fn earlier(&self, leads: &[&Lead]) -> Result<Vec<u32>, StoreError>;

    /// How many leads there are of each status; statuses without a lead are left out.
    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError>;

    /// The highest position of any lead or erased call; 0 without one.
    async fn newest_position(&self) -> Result<u64, StoreError>;

    /// How far the leads are, of which stream, and who writes them.
    async fn projection(&self) -> Result<Projection, StoreError>;

    /// How many calls began in each quarter of an hour (counted from the epoch) from `from` to before `to`, ascending;
    /// quarters without a call are left out. Reads an index only: a million calls take a fraction of a second.
    async fn calls_per_quarter(
        &self,
        from: UnixMillis,
        to: UnixMillis,
    ) -> Result<Vec<(UnixMillis, u64)>, StoreError>;

    /// When the oldest call of this status began.
    async fn oldest(&self, status: Status) -> Result<Option<UnixMillis>, StoreError>;

    /// Events that could not be read, newest first, `limit` (1 to 1000) at most.
    async fn unreadable(&self, limit: u32) -> Result<Vec<UnreadableEvent>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_people_write_them() {
        let of = |phone: &str| {
            LeadFilter {
                phone: Some(phone.to_owned()),
                ..LeadFilter::default()
            }
            .phone_match()
        };
        assert_eq!(
            of("+972 50-123"),
            Some(PhoneMatch::Exactly("+97250123".to_owned()))
        );
        assert_eq!(of("050-1234"), Some(PhoneMatch::Tail("432105".to_owned())));
        assert_eq!(of("anonymous"), Some(PhoneMatch::Exactly("anonymous".to_owned())));
        assert_eq!(of("12"), Some(PhoneMatch::Exactly("12".to_owned())));
        assert_eq!(of("  "), None);
    }

    #[test]
    fn every_filter_has_the_shelves_that_hold_what_it_finds() {
        use Disposition::{CalledBack, Done, Open, Spam};
        let none = LeadFilter::default();
        assert_eq!(none.shelves(), [Shelf::All]);
        let open = LeadFilter {
            disposition: vec![Done, Open, Done],
            ..none.clone()
        };
        assert_eq!(
            open.shelves(),
            [
                Shelf::Disposition(Open, false),
                Shelf::Disposition(Open, true),
                Shelf::Disposition(Done, false),
                Shelf::Disposition(Done, true)
            ]
        );
        let unseen = LeadFilter {
            seen: Some(false),
            ..none.clone()
        };
        assert_eq!(
            unseen.shelves(),
            [Open, CalledBack, Done, Spam].map(|disposition| Shelf::Disposition(disposition, false))
        );
        let failed = LeadFilter {
            status: vec![Status::Failed],
            ..open.clone()
        };
        assert_eq!(
            failed.shelves(),
            [
                Shelf::Status(Status::Failed, Open),
                Shelf::Status(Status::Failed, Done)
            ]
        );
        let mine = LeadFilter {
            assignee: Some("dana".to_owned()),
            ..failed
        };
        assert_eq!(mine.shelves(), [Shelf::Assignee(Open), Shelf::Assignee(Done)]);
        let number = LeadFilter {
            phone: Some("050-1234".to_owned()),
            ..mine
        };
        assert_eq!(number.shelves(), [Shelf::Phone]);
    }
}
