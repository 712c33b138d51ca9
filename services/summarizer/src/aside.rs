//! Rules that read a whole transcript, on a thread where nobody waits: of two hours of talk they take long enough to hold up
//! every call that shares a thread with them.

/// What ran aside panicked. Says no more: the message of the panic may quote what it was working on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rules for summaries failed")]
pub(crate) struct Panicked;

/// Runs the work on a thread for work that blocks. It goes on to its end when nobody waits for it any more.
///
/// # Errors
/// It panicked.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Panicked)
}
