//! Calls heard of lately, so that a callback does not have to ask the broker whether its call is known.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use callfold_schema::CallSid;

/// Calls that are remembered; the oldest is forgotten first. About one hour of the busiest load the gateway is built for.
const KNOWN_CALLS_MAX: usize = 16_384;

/// A bounded set. What it does not hold may still be known to the broker.
#[derive(Default)]
pub(crate) struct KnownCalls {
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    set: HashSet<CallSid>,
    order: VecDeque<CallSid>,
}

impl KnownCalls {
    pub(crate) fn insert(&self, call: &CallSid) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if !calls.set.insert(call.clone()) {
            return;
        }
        calls.order.push_back(call.clone());
        if calls.order.len() > KNOWN_CALLS_MAX
            && let Some(oldest) = calls.order.pop_front()
        {
            calls.set.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, call: &CallSid) -> bool {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set
            .contains(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_call_is_forgotten_first() {
        let call = |n: usize| CallSid::parse(&format!("CA{n}")).expect("an identifier");
        let known = KnownCalls::default();
        for n in 0..=KNOWN_CALLS_MAX {
            known.insert(&call(n));
            known.insert(&call(n));
        }
        assert!(!known.contains(&call(0)));
        assert!(known.contains(&call(1)) && known.contains(&call(KNOWN_CALLS_MAX)));
    }
}
