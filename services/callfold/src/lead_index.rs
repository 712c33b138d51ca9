//! The lead table as an erasure sees it.

use std::sync::Arc;

use async_trait::async_trait;
use callfold_kit::lifecycle::BoxError;
use callfold_reconciler::erase::{Index, OldCalls};
use callfold_schema::subject::RawSubject;
use callfold_schema::{CallSid, UnixMillis};
use callfold_store::read::LIMIT_MAX;
use callfold_store::{LeadFilter, ReadLeads, WriteLeads};

/// Most unreadable events that are looked through for those of a call.
const UNREADABLE_MAX: u32 = 1_000;

/// [`Index`] over the tables of this installation.
pub struct LeadIndex {
    /// What reads them.
    pub read: Arc<dyn ReadLeads>,
    /// What cleans them up.
    pub write: Arc<dyn WriteLeads>,
}

#[async_trait]
impl Index for LeadIndex {
    async fn positions(&self, call_sid: &CallSid, through: u64) -> Result<Option<Vec<u64>>, BoxError> {
        // Asked first: what is folded meanwhile only adds to the answer.
        if self.read.projection().await?.position < through {
            return Ok(None);
        }
        let mut positions = self.read.positions(call_sid).await?;
        // What does not decode is in no state, and may name the caller all the same.
        let unreadable = self.read.unreadable(UNREADABLE_MAX).await?;
        positions.extend(unreadable.iter().filter_map(|event| {
            let subject = RawSubject::split(&event.subject)?;
            (subject.call_sid == call_sid.as_str()).then_some(event.position)
        }));
        positions.sort_unstable();
        positions.dedup();
        Ok(Some(positions))
    }

    async fn calls_before(&self, before: UnixMillis, cursor: Option<&str>) -> Result<OldCalls, BoxError> {
        let filter = LeadFilter {
            to: Some(before),
            ..LeadFilter::default()
        };
        let page = self.read.list(&filter, LIMIT_MAX, cursor).await?;
        let calls = page.leads.into_iter();
        Ok(OldCalls {
            calls: calls
                .map(|lead| (lead.call_sid, lead.to, lead.created_at.0))
                .collect(),
            next: page.next_cursor,
        })
    }

    async fn purge(&self) -> Result<(), BoxError> {
        Ok(self.write.purge().await?)
    }
}
