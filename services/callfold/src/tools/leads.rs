//! The stream and the lead table of an installation, for tools that look at many leads.

use std::sync::Arc;

use anyhow::Context;
use callfold_lead::Lead;
use callfold_store::{LIMIT_MAX, LeadFilter, ReadLeads};
use jiff::tz::TimeZone;

use super::Access;
use crate::cli::DataArgs;
use crate::stack::{Role, open_store};

/// What such a tool works with.
pub(super) struct Table {
    pub(super) access: Access,
    pub(super) leads: Arc<dyn ReadLeads>,
    pub(super) timezone: TimeZone,
}

impl Table {
    /// Opens both.
    pub(super) async fn open(data: &DataArgs) -> anyhow::Result<Self> {
        let data_dir = super::prepare(&data.data_dir)?;
        let config = super::settings(&data_dir, &[Role::Projector])?;
        let access = Access::open(&data_dir).await?;
        match open_store(&config.database).await {
            Ok((leads, _)) => Ok(Self {
                access,
                leads,
                timezone: config.api.timezone,
            }),
            Err(error) => {
                access.close().await;
                Err(error)
            }
        }
    }

    /// Hands over every lead of the filter, newest first, a page at a time in memory.
    pub(super) async fn each(
        &self,
        filter: &LeadFilter,
        mut take: impl FnMut(Lead) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut cursor: Option<String> = None;
        loop {
            let page = self
                .leads
                .list(filter, LIMIT_MAX, cursor.as_deref())
                .await
                .context("could not read the lead table")?;
            page.leads.into_iter().try_for_each(&mut take)?;
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
