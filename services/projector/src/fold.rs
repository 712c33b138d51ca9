//! Events as they were read → what one transaction writes. No I/O.

use std::collections::HashMap;

use callfold_kit::bus::StoredEvent;
use callfold_lead::{LeadState, lead_view};
use callfold_schema::{CallSid, Envelope, Unreadable};
use callfold_store::{Batch, Change, Erased, StoreError, UnreadableEvent};

/// The longest subject that is kept of an unreadable event, in characters.
const SUBJECT_CHARS_MAX: usize = 300;

/// Events that were read, up to one that a newer release wrote.
#[derive(Clone)]
pub(crate) struct ReadEvents {
    readable: Vec<(u64, Envelope, bytes::Bytes)>,
    pub(crate) unreadable: Vec<UnreadableEvent>,
    /// The last position that is dealt with; `None` when the first event is already one of a newer release.
    last: Option<u64>,
    /// Why it ends before the last event.
    pub(crate) blocked: Option<Blocked>,
}

/// An event that only a newer release can read. The projector must not pass over it: its lead would be wrong, and
/// nothing would ever mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) position: u64,
    pub(crate) reason: Unreadable,
}

impl ReadEvents {
    pub(crate) fn decode(events: Vec<StoredEvent>) -> Self {
        let mut read = Self {
            readable: Vec::with_capacity(events.len()),
            unreadable: vec![],
            last: None,
            blocked: None,
        };
        for event in events {
            match event.decode() {
                Ok(record) => read
                    .readable
                    .push((event.position, record.envelope, event.payload)),
                Err(reason) if reason.is_newer() => {
                    read.blocked = Some(Blocked {
                        position: event.position,
                        reason,
                    });
                    break;
                }
                Err(reason) => read.unreadable.push(UnreadableEvent {
                    position: event.position,
                    subject: event.subject().chars().take(SUBJECT_CHARS_MAX).collect(),
                    reason: reason.to_string(),
                    stored_at: event.stored_at,
                }),
            }
            read.last = Some(event.position);
        }
        read
    }

    pub(crate) fn count(&self) -> usize {
        self.readable.len()
    }

    /// The calls these events are about, each once.
    pub(crate) fn calls(&self) -> Vec<CallSid> {
        let mut calls: Vec<&CallSid> = self
            .readable
            .iter()
            .map(|(_, envelope, _)| &envelope.subject.call_sid)
            .collect();
        calls.sort_unstable();
        calls.dedup();
        calls.into_iter().cloned().collect()
    }

    /// The last position that is dealt with.
    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    /// Forgets what stands behind `target`.
    pub(crate) fn cut(&mut self, target: u64) {
        self.readable.retain(|(position, ..)| *position <= target);
        self.unreadable.retain(|event| event.position <= target);
    }

    /// Applies them to the states of their calls; the calls whose state is another one now, sorted, each once.
    pub(crate) fn apply(&self, states: &mut HashMap<CallSid, LeadState>) -> Vec<CallSid> {
        let mut changed: Vec<CallSid> = Vec::new();
        for (position, envelope, payload) in &self.readable {
            let call_sid = &envelope.subject.call_sid;
            let state = states
                .entry(call_sid.clone())
                .or_insert_with(|| LeadState::new(call_sid.clone()));
            if state.apply(*position, envelope, payload) {
                changed.push(call_sid.clone());
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Applies them to the states of their calls. `None` when there is nothing to write.
    pub(crate) fn fold(
        self,
        identity: &str,
        from: u64,
        states: &mut HashMap<CallSid, LeadState>,
    ) -> Result<Option<Batch>, StoreError> {
        let Some(to) = self.last else { return Ok(None) };
        let changed = self.apply(states);
        let (mut changes, mut erased) = (Vec::with_capacity(changed.len()), Vec::new());
        for state in changed.iter().filter_map(|call_sid| states.get(call_sid)) {
            match fold_state(state)? {
                Folded::Lead(change) => changes.push(*change),
                Folded::Erased(call) => erased.push(call),
            }
        }
        Ok(Some(Batch {
            identity: identity.to_owned(),
            from,
            to,
            changes,
            erased,
            unreadable: self.unreadable,
        }))
    }
}

/// What is stored of a call.
pub(crate) enum Folded {
    Lead(Box<Change>),
    Erased(Erased),
}

/// The stored form of a state.
pub(crate) fn fold_state(state: &LeadState) -> Result<Folded, StoreError> {
    if state.is_erased() {
        Ok(Folded::Erased(Erased::new(state)?))
    } else {
        Ok(Folded::Lead(Box::new(Change::new(&lead_view(state)?, state)?)))
    }
}
