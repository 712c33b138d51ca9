//! Which number a call was made to, for whoever knows the call only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callfold_schema::{CallSid, Event, EventKind, Key, PhoneNumber, Subject};

use super::{NumberSettings, Numbers};
use crate::bus::{Bus, ReadError};

/// Calls that are remembered; the oldest is forgotten first.
const CALLS_MAX: usize = 4_096;
/// Longest time the question may take.
const FIND_WAIT: Duration = Duration::from_secs(5);

/// The numbers that calls were made to. A number and not its settings, so that a change of the file holds at once.
#[derive(Default)]
pub(super) struct Called(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    calls: HashMap<CallSid, PhoneNumber>,
    order: VecDeque<CallSid>,
}

impl Called {
    fn get(&self, call: &CallSid) -> Option<PhoneNumber> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.calls.get(call).cloned()
    }

    fn insert(&self, call: &CallSid, to: PhoneNumber) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.calls.insert(call.clone(), to).is_some() {
            return;
        }
        remembered.order.push_back(call.clone());
        if remembered.order.len() > CALLS_MAX
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.calls.remove(&oldest);
        }
    }
}

/// Why it is not known which number a call was made to.
#[derive(Debug, thiserror::Error)]
pub enum CalledError {
    /// The stream could not be asked.
    #[error("the call's beginning cannot be read")]
    Read(#[source] ReadError),
    /// The broker did not answer in time.
    #[error("the broker did not say in time how the call began")]
    Timeout,
    /// What the stream holds as the call's beginning is not understood.
    #[error("the call's beginning is not understood")]
    Unreadable,
}

impl Numbers {
    /// The settings of the number that a call was made to: asks the stream for the call's beginning, unless no number has
    /// settings of its own. A call that the stream knows no beginning of, because its event was lost or is late, may have been
    /// made to any number: it gets what [`super::Book::unknown`] says.
    ///
    /// # Errors
    /// [`CalledError`]: which number it was is not known now. It may be one that keeps its calls from others, so what
    /// `[default]` allows is not allowed then.
    pub async fn of_call(&self, bus: &Bus, call: &CallSid) -> Result<Arc<NumberSettings>, CalledError> {
        let book = self.book();
        if book.numbers.is_empty() {
            return Ok(Arc::clone(&book.default));
        }
        if let Some(to) = self.inner.calls.get(call) {
            return Ok(Arc::clone(book.settings(&to)));
        }
        let Some(to) = called(bus, call).await? else {
            return Ok(book.unknown());
        };
        let settings = Arc::clone(book.settings(&to));
        self.inner.calls.insert(call, to);
        Ok(settings)
    }
}

/// `None`: a call that the gateway never heard of; its recording is kept all the same.
async fn called(bus: &Bus, call: &CallSid) -> Result<Option<PhoneNumber>, CalledError> {
    let subject = Subject::new(call.clone(), EventKind::CallStarted, Key::single());
    let found = tokio::time::timeout(FIND_WAIT, bus.find(&subject)).await;
    let Some(stored) = found
        .map_err(|_| CalledError::Timeout)?
        .map_err(CalledError::Read)?
    else {
        return Ok(None);
    };
    match stored.decode() {
        Ok(record) => match record.event {
            Event::CallStarted(started) => Ok(Some(started.to)),
            _ => Err(CalledError::Unreadable),
        },
        // The cause may quote what is stored.
        Err(_) => Err(CalledError::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    #[test]
    fn the_oldest_call_is_forgotten_first() {
        let call = |n: usize| CallSid::parse(&format!("CA{n}")).unwrap();
        let called = Called::default();
        for n in 0..=CALLS_MAX {
            called.insert(&call(n), PhoneNumber(format!("+{n}")));
            called.insert(&call(n), PhoneNumber(format!("+{n}")));
        }
        assert_eq!(called.get(&call(0)), None);
        assert_eq!(called.get(&call(1)), Some(PhoneNumber("+1".to_owned())));
        assert_eq!(called.0.lock().unwrap().calls.len(), CALLS_MAX);
    }
}
