//! The stream and the lead table of an installation, for tools that look at many leads.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use callfold_kit::config::{Environment, Settings};
use callfold_lead::Lead;
use callfold_schema::UnixMillis;
use callfold_store::{LIMIT_MAX, LeadFilter, ReadLeads};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Access;
use crate::cli::DataArgs;
use crate::stack::{Role, StackConfig, open_store};

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
        let mut settings = Settings::new(&Environment);
        let config = StackConfig::from_settings(
            &mut settings,
            &[Role::Projector],
            SocketAddr::from(([127, 0, 0, 1], 0)),
            &data_dir,
        );
        settings.finish()?;
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

/// A moment, or a day: its beginning, or with `end` the beginning of the next one, so that an end includes its day.
pub(super) fn moment(text: &str, zone: &TimeZone, end: bool) -> anyhow::Result<UnixMillis> {
    if let Some(moment) = UnixMillis::parse_rfc3339(text) {
        return Ok(moment);
    }
    let bad = "that is neither a day (2026-11-22) nor a moment (2026-11-22T10:00:00Z)";
    let day: Date = text.parse().context(bad)?;
    let day = if end { day.tomorrow().context(bad)? } else { day };
    let start = day.to_zoned(zone.clone()).context(bad)?;
    Ok(UnixMillis(start.timestamp().as_millisecond()))
}
