//! Stopping whisper.cpp in the middle of its work.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use whisper_rs::{FullParams, WhisperError, WhisperState};

/// A flag that ends an inference soon after it is raised.
#[derive(Debug, Default)]
pub(super) struct Abort {
    raised: AtomicBool,
    polls: AtomicU64,
}

impl Abort {
    /// Asks the inference to stop.
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// How often whisper.cpp has looked at the flag: more than zero means that it is computing.
    #[cfg(test)]
    pub(super) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    /// What whisper.cpp calls, from its own threads, several times in each step.
    fn poll(&self) -> bool {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.is_raised()
    }
}

/// Runs an inference that stops with an error when `abort` is raised.
///
/// The closure-taking setter of whisper-rs 0.16 casts its boxed closure to another type than it then calls,
/// so the raw callback is set instead.
#[expect(
    unsafe_code,
    reason = "the abort callback of whisper.cpp is a C function pointer with user data"
)]
pub(super) fn full(
    state: &mut WhisperState,
    mut params: FullParams<'_, '_>,
    samples: &[f32],
    abort: &Abort,
) -> Result<(), WhisperError> {
    unsafe extern "C" fn poll(abort: *mut c_void) -> bool {
        // SAFETY: `abort` is the reference below. It outlives the call of whisper.cpp that this runs in, and
        // only atomics behind it are touched, so other threads may hold it as well. `poll` does not panic.
        unsafe { &*abort.cast::<Abort>() }.poll()
    }
    // SAFETY: the function fits the data it is given, and whisper.cpp keeps neither after `full` returns: the
    // parameters are its by value, and each inference sets its own callback.
    unsafe {
        params.set_abort_callback(Some(poll));
        params.set_abort_callback_user_data(std::ptr::from_ref(abort).cast_mut().cast());
    }
    state.full(params, samples)
}
