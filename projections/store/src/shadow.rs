//! Folding the leads anew beside those that serve.
//!
//! A database has two sides, each a whole set of tables. One serves: which one follows from the *generation*, a number
//! in the row that holds the position, which a switch raises by one. The other side is the shadow: a rebuild folds into
//! it from the first event, both are compared at the same position, and the switch is the change of that one number.
//! No table is ever renamed, and none that may be read is altered; so no read can meet a table that is gone or a plan that
//! does not fit any more. A reader asks for the generation *behind* its read: when it is not the one the read was made on, it
//! reads again.
//!
//! The steps of a rebuild ([`ShadowState`]) stand in the same row as position and claim, under the same fence. Whoever is
//! interrupted finds in it where to go on.

use std::collections::HashMap;

use async_trait::async_trait;
use callfold_lead::LeadState;
use callfold_schema::CallSid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::apply::Batch;
use crate::error::StoreError;

/// One of the two sets of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The tables that were there first.
    A,
    /// Those with `_b` at the end of their names.
    B,
}

impl Side {
    /// The side that serves in a generation.
    pub fn of(generation: i64) -> Self {
        if generation % 2 == 0 { Self::A } else { Self::B }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// SQL in which `{s}` behind a table's name stands for the side.
    pub fn sql(self, template: &str) -> String {
        template.replace("{s}", self.suffix())
    }

    /// What the names of its tables end with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::A => "",
            Self::B => "_b",
        }
    }
}

/// What the tables beside the serving ones hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowState {
    /// Nothing.
    Empty,
    /// What is on its way out: only [`ShadowLeads::shadow_clear`] goes on from here.
    Clearing,
    /// Leads up to [`Shadow::position`], without search indexes.
    Folding,
    /// Leads up to [`Shadow::position`] that could serve.
    Indexed,
    /// The leads that served before the last switch, as they were then.
    Old,
}

impl ShadowState {
    const ALL: [Self; 5] = [
        Self::Empty,
        Self::Clearing,
        Self::Folding,
        Self::Indexed,
        Self::Old,
    ];

    /// Its name in the database.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Clearing => "clearing",
            Self::Folding => "folding",
            Self::Indexed => "indexed",
            Self::Old => "old",
        }
    }

    /// The state of a name.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.token() == token)
    }
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadow {
    /// What the tables hold.
    pub state: ShadowState,
    /// The last sequence that is in them.
    pub position: u64,
    /// The fold that made them.
    pub fold_version: u32,
    /// Whether they may be switched to whatever the comparison says.
    pub accept: bool,
    /// How often the sides were switched.
    pub generation: i64,
}

/// In what way a call is not the same on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Another row, or a lead on one side and an erased call on the other.
    Different,
    /// It serves, and the rebuild did not find it in the stream.
    Missing,
    /// The rebuild found it in the stream, and it does not serve.
    Extra,
}

/// A call that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The call.
    pub call_sid: CallSid,
    /// In what way.
    pub kind: DifferenceKind,
}

/// Both sides at the same position.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// The position.
    pub position: u64,
    /// Calls that serve, erased ones among them.
    pub live: u64,
    /// Calls that were rebuilt, erased ones among them.
    pub rebuilt: u64,
    /// Hash over all rows that serve: the first 16 bytes of a SHA-256 in hexadecimal.
    pub live_hash: String,
    /// The same over all rebuilt rows.
    pub rebuilt_hash: String,
    /// How many are [`DifferenceKind::Different`].
    pub different: u64,
    /// How many are [`DifferenceKind::Missing`].
    pub missing: u64,
    /// How many are [`DifferenceKind::Extra`].
    pub extra: u64,
    /// The first ones by CallSid.
    pub calls: Vec<Difference>,
}

impl Comparison {
    /// Whether both sides hold the same.
    pub fn is_same(&self) -> bool {
        self.live_hash == self.rebuilt_hash && self.different + self.missing + self.extra == 0
    }
}

/// Compares rows that come in the order of their calls, the serving one of a call before the rebuilt one.
#[derive(Debug)]
pub struct Comparer {
    comparison: Comparison,
    calls_max: usize,
    live: Sha256,
    rebuilt: Sha256,
    waiting: Option<(CallSid, Vec<u8>)>,
}

impl Comparer {
    /// Names `calls_max` of the calls that differ.
    pub fn new(position: u64, calls_max: usize) -> Self {
        Self {
            comparison: Comparison {
                position,
                ..Comparison::default()
            },
            calls_max,
            live: Sha256::new(),
            rebuilt: Sha256::new(),
            waiting: None,
        }
    }

    /// The next row: its hash, empty for an erased call.
    pub fn add(&mut self, call_sid: CallSid, rebuilt: bool, hash: Vec<u8>) {
        let digest = if rebuilt {
            &mut self.rebuilt
        } else {
            &mut self.live
        };
        digest.update(call_sid.as_str());
        digest.update([0]);
        digest.update(&hash);
        let of_the_same = self
            .waiting
            .take_if(|(waiting, _)| rebuilt && *waiting == call_sid);
        match of_the_same {
            Some((_, live)) => {
                self.comparison.rebuilt += 1;
                if live != hash {
                    self.differs(call_sid, DifferenceKind::Different);
                }
            }
            None => {
                self.end_waiting();
                if rebuilt {
                    self.comparison.rebuilt += 1;
                    self.differs(call_sid, DifferenceKind::Extra);
                } else {
                    self.comparison.live += 1;
                    self.waiting = Some((call_sid, hash));
                }
            }
        }
    }

    /// What came out.
    pub fn finish(mut self) -> Comparison {
        self.end_waiting();
        let hex = |digest: Sha256| data_encoding::HEXLOWER.encode(&digest.finalize()[..16]);
        Comparison {
            live_hash: hex(self.live),
            rebuilt_hash: hex(self.rebuilt),
            ..self.comparison
        }
    }

    fn end_waiting(&mut self) {
        if let Some((call_sid, _)) = self.waiting.take() {
            self.differs(call_sid, DifferenceKind::Missing);
        }
    }

    fn differs(&mut self, call_sid: CallSid, kind: DifferenceKind) {
        match kind {
            DifferenceKind::Different => self.comparison.different += 1,
            DifferenceKind::Missing => self.comparison.missing += 1,
            DifferenceKind::Extra => self.comparison.extra += 1,
        }
        if self.comparison.calls.len() < self.calls_max {
            self.comparison.calls.push(Difference { call_sid, kind });
        }
    }
}

/// The tables beside the serving ones. Part of [`crate::WriteLeads`].
///
/// Every step that writes says the writer's name, and is [`StoreError::Fenced`] when another one writes or the shadow is
/// not in the state that the step begins with.
#[async_trait]
pub trait ShadowLeads: Send + Sync {
    /// What they hold.
    async fn shadow(&self) -> Result<Shadow, StoreError>;

    /// One step of emptying them, of about so many rows; whether they are empty. What they hold is worth nothing any more from
    /// the first step on.
    async fn shadow_clear(&self, writer: &str, rows: u32) -> Result<bool, StoreError>;

    /// Begins a rebuild in the empty tables, by this release's fold.
    async fn shadow_begin(&self, writer: &str, accept: bool) -> Result<(), StoreError>;

    /// From now on differences are accepted; for a rebuild that is under way.
    async fn shadow_accept(&self, writer: &str) -> Result<(), StoreError>;

    /// [`crate::WriteLeads::states`] of the shadow.
    async fn shadow_states(&self, call_sids: &[CallSid]) -> Result<HashMap<CallSid, LeadState>, StoreError>;

    /// [`crate::WriteLeads::apply`] to the shadow. Rows of a batch that is written in several steps go before its position: `to`
    /// is `from` in all steps but the last. That is harmless, for nobody reads them, and events fold into them twice
    /// without effect.
    async fn shadow_apply(&self, writer: &str, batch: &Batch) -> Result<(), StoreError>;

    /// One step of making the search indexes, of about so many rows; whether they are complete, and the state is
    /// [`ShadowState::Indexed`].
    async fn shadow_index(&self, writer: &str, rows: u32) -> Result<bool, StoreError>;

    /// One transaction that writes a batch to both sides, which have to be at the same position.
    async fn apply_both(&self, writer: &str, live: &Batch, shadow: &Batch) -> Result<(), StoreError>;

    /// Compares both sides in one snapshot, while others write; names `calls_max` of the calls that differ. `None` when
    /// the snapshot has them at different positions.
    async fn compare(&self, calls_max: usize) -> Result<Option<Comparison>, StoreError>;

    /// Lets the shadow serve, when both sides are at `position`; what served becomes [`ShadowState::Old`]. `false` when the
    /// lock was not to be had in a tenth of a second, and nothing happened: try again.
    async fn switch(&self, writer: &str, position: u64) -> Result<bool, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(rows: &[(&str, bool, &str)]) -> Comparison {
        let mut comparer = Comparer::new(7, 2);
        for (call, rebuilt, hash) in rows {
            let call = CallSid::parse(call).expect("is an identifier");
            comparer.add(call, *rebuilt, hash.as_bytes().to_vec());
        }
        comparer.finish()
    }

    #[test]
    fn differences_are_counted_and_the_first_ones_named() {
        let same = compare(&[
            ("CA1", false, "x"),
            ("CA1", true, "x"),
            ("CA2", false, ""),
            ("CA2", true, ""),
        ]);
        assert!(same.is_same());
        assert_eq!((same.live, same.rebuilt), (2, 2));
        assert!(compare(&[]).is_same());
        let other = compare(&[
            ("CA1", true, "x"),
            ("CA2", false, "x"),
            ("CA3", false, "x"),
            ("CA3", true, "y"),
            ("CA4", true, "x"),
            ("CA5", false, "x"),
        ]);
        assert!(!other.is_same());
        let counts = (
            other.live,
            other.rebuilt,
            other.different,
            other.missing,
            other.extra,
        );
        assert_eq!(counts, (3, 3, 1, 2, 2));
        let named: Vec<_> = other
            .calls
            .iter()
            .map(|d| (d.call_sid.as_str(), d.kind))
            .collect();
        assert_eq!(
            named,
            [("CA1", DifferenceKind::Extra), ("CA2", DifferenceKind::Missing)]
        );
    }
}
