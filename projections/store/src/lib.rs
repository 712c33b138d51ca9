//! What a database of leads has to do: the traits [`ReadLeads`] and [`WriteLeads`], the types of their rows, the page
//! cursor, the search words and the errors. The SQL stands in `store-sqlite` and `store-postgres`; the suite that both
//! pass is `conformance.rs` (feature `conformance`).
//!
//! To add a column: here in [`Change`], a migration and the statements in both backends, a case in `conformance.rs`,
//! and a higher `callfold_lead::FOLD_VERSION` so that existing rows are folded again.

pub mod apply;
#[cfg(feature = "conformance")]
#[expect(clippy::unwrap_used, reason = "a suite of tests")]
pub mod conformance;
pub mod cursor;
mod error;
pub mod read;
pub mod search;
pub mod shadow;
#[cfg(feature = "conformance")]
pub mod testing;

pub use apply::{
    Batch, Change, Claim, Erased, LEASE_MS, Projection, Resume, StartError, UnreadableEvent, WriteLeads,
};
pub use cursor::Cursor;
pub use error::{BackendError, StoreError};
pub use read::{EARLIER_MAX, LIMIT_MAX, LeadChange, LeadFilter, Page, QUARTER_MS, ReadLeads, Shelf};
pub use shadow::{Comparer, Comparison, Difference, DifferenceKind, Shadow, ShadowLeads, ShadowState, Side};
