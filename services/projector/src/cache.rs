//! The states of the calls that were written last: most events are about a call that had one a moment ago.
//!
//! Invariant: a state is in here only as it was committed. Who changes one takes it out, and puts it back after the
//! commit.

use std::collections::{BTreeMap, HashMap};

use callfold_lead::LeadState;
use callfold_schema::CallSid;

struct Held {
    used: u64,
    bytes: usize,
    state: LeadState,
}

/// Bounded by bytes; what was not used for longest goes first.
pub(crate) struct StateCache {
    bytes_max: usize,
    bytes: usize,
    uses: u64,
    held: HashMap<CallSid, Held>,
    by_use: BTreeMap<u64, CallSid>,
}

impl StateCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            uses: 0,
            held: HashMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    pub(crate) fn take(&mut self, call_sid: &CallSid) -> Option<LeadState> {
        let held = self.held.remove(call_sid)?;
        self.by_use.remove(&held.used);
        self.bytes -= held.bytes;
        Some(held.state)
    }

    pub(crate) fn put(&mut self, state: LeadState) {
        self.take(&state.call_sid().clone());
        self.uses += 1;
        let bytes = state.size_bytes();
        self.bytes += bytes;
        self.by_use.insert(self.uses, state.call_sid().clone());
        self.held.insert(
            state.call_sid().clone(),
            Held {
                used: self.uses,
                bytes,
                state,
            },
        );
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                break;
            };
            if let Some(held) = self.held.remove(&oldest) {
                self.bytes -= held.bytes;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(n: usize) -> CallSid {
        CallSid::parse(&format!("CA{n}")).expect("is an identifier")
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let one = LeadState::new(sid(0)).size_bytes();
        let mut cache = StateCache::new(3 * one);
        for n in 0..3 {
            cache.put(LeadState::new(sid(n)));
        }
        let first = cache.take(&sid(0)).expect("three fit");
        cache.put(first);
        cache.put(LeadState::new(sid(3)));
        assert!(cache.take(&sid(1)).is_none());
        assert!(
            cache.take(&sid(0)).is_some() && cache.take(&sid(3)).is_some() && cache.take(&sid(2)).is_some()
        );
        assert_eq!((cache.bytes, cache.held.len(), cache.by_use.len()), (0, 0, 0));
        // One that is larger than the whole cache is not kept, and takes nothing else's place for long.
        let mut none = StateCache::new(0);
        none.put(LeadState::new(sid(1)));
        assert!(none.take(&sid(1)).is_none());
    }
}
