//! Writing: a few statements a batch, each over all its rows (`unnest`).

use std::collections::HashMap;

use async_trait::async_trait;
use callfold_lead::{FOLD_VERSION, LeadState};
use callfold_schema::CallSid;
use callfold_store::{Batch, Change, Claim, Erased, LEASE_MS, Side, StoreError, WriteLeads};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::PostgresStore;
use crate::error::unavailable;
use crate::read::{get, projection};

/// The database's clock, in milliseconds; the time of the statement, not that of the transaction's begin.
macro_rules! now_ms {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

const CLAIM: &str = concat!(
    "UPDATE projection SET writer = $1, seen_at_ms = ",
    now_ms!(),
    " WHERE id = 1 AND ($2 OR writer IS NULL OR writer = $1",
    // Far in the future: the clock was set back, and the mark says nothing.
    " OR abs(",
    now_ms!(),
    " - seen_at_ms) >= $3) RETURNING identity, position, fold_version, writer"
);
const RENEW: &str = concat!(
    "UPDATE projection SET seen_at_ms = ",
    now_ms!(),
    " WHERE id = 1 AND writer = $1"
);
/// Goes first in its transaction: it locks the row, so a claim waits until the batch is written and then finds a fresh
/// mark.
const ADVANCE: &str = concat!(
    "UPDATE projection SET position = $4, seen_at_ms = ",
    now_ms!(),
    " WHERE id = 1 AND writer = $1 AND identity = $2 AND position = $3 RETURNING generation"
);
const RESET: &str = concat!(
    "UPDATE projection SET identity = $2, position = 0, fold_version = $3, shadow_state = 'empty', \
         shadow_position = 0, seen_at_ms = ",
    now_ms!(),
    " WHERE id = 1 AND writer = $1"
);
/// Before the rows are written: what the statuses lose and gain.
const COUNT: &str = "WITH new AS (SELECT * FROM unnest($1::text[], $2::text[]) AS n (call_sid, status)), \
     delta AS (SELECT status, sum(n) AS n FROM ( \
         SELECT status, 1 AS n FROM new \
         UNION ALL SELECT l.status, -1 FROM leads{s} l JOIN new USING (call_sid)) AS d GROUP BY status) \
     INSERT INTO lead_counts{s} AS c (status, leads) SELECT status, n FROM delta WHERE n <> 0 ORDER BY status \
     ON CONFLICT (status) DO UPDATE SET leads = c.leads + excluded.leads";
const UPSERT: &str = "INSERT INTO leads{s} (call_sid, phone, phone_reversed, status, created_at_ms, updated_at_ms, transcript, \
         summary, position, hash, lead, state, disposition, seen, assignee) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], \
         $8::text[], $9::bigint[], $10::bytea[], $11::text[], $12::bytea[], $13::text[], $14::boolean[], $15::text[]) \
     ON CONFLICT (call_sid) DO UPDATE SET phone = excluded.phone, phone_reversed = excluded.phone_reversed, \
         status = excluded.status, created_at_ms = excluded.created_at_ms, updated_at_ms = excluded.updated_at_ms, \
         transcript = excluded.transcript, summary = excluded.summary, position = excluded.position, \
         hash = excluded.hash, lead = excluded.lead, state = excluded.state, \
         disposition = excluded.disposition, seen = excluded.seen, assignee = excluded.assignee";
/// Rows whose words and time are as before are not written.
const WORDS: &str = "INSERT INTO lead_words{s} AS w (call_sid, created_at_ms, words) \
     SELECT call_sid, created_at_ms, array_to_tsvector(string_to_array(words, ' ')) \
     FROM unnest($1::text[], $2::bigint[], $3::text[]) AS n (call_sid, created_at_ms, words) \
     ON CONFLICT (call_sid) DO UPDATE SET created_at_ms = excluded.created_at_ms, words = excluded.words \
     WHERE (w.created_at_ms, w.words) IS DISTINCT FROM (excluded.created_at_ms, excluded.words)";
/// In this order: what the statuses lose, the row, its words; then the tombstone.
const ERASE_COUNT: &str = "WITH delta AS (SELECT status, count(*) AS n FROM leads{s} WHERE call_sid = ANY ($1) GROUP BY status) \
     UPDATE lead_counts{s} AS c SET leads = c.leads - delta.n FROM delta WHERE c.status = delta.status";
const ERASE_ROWS: &str = "DELETE FROM leads{s} WHERE call_sid = ANY ($1)";
const ERASE_WORDS: &str = "DELETE FROM lead_words{s} WHERE call_sid = ANY ($1)";
const TOMBSTONES: &str = "INSERT INTO erased{s} (call_sid, position, state) \
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[]) \
     ON CONFLICT (call_sid) DO UPDATE SET position = excluded.position, state = excluded.state";
const UNREADABLE: &str = "INSERT INTO unreadable{s} (position, subject, reason, stored_at_ms) \
     SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])";

/// Streams do not get that far.
pub(crate) fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Fold versions are small.
pub(crate) fn fold_version() -> i32 {
    i32::try_from(FOLD_VERSION).unwrap_or(i32::MAX)
}

#[async_trait]
impl WriteLeads for PostgresStore {
    async fn claim(&self, writer: &str, force: bool) -> Result<Claim, StoreError> {
        let query = sqlx::query(CLAIM).bind(writer).bind(force).bind(LEASE_MS);
        let row = self
            .bounded("claim the leads", query.fetch_optional(&self.pool))
            .await?;
        row.as_ref()
            .map_or(Ok(Claim::Held), |row| projection(row).map(Claim::Granted))
    }

    async fn renew(&self, writer: &str) -> Result<(), StoreError> {
        let query = sqlx::query(RENEW).bind(writer);
        let done = self.bounded("renew the claim", query.execute(&self.pool)).await?;
        fence(done.rows_affected() == 1)
    }

    async fn release(&self, writer: &str) -> Result<(), StoreError> {
        let query =
            sqlx::query("UPDATE projection SET writer = NULL WHERE id = 1 AND writer = $1").bind(writer);
        self.bounded("release the claim", query.execute(&self.pool))
            .await
            .map(drop)
    }

    async fn reset(&self, writer: &str, identity: &str) -> Result<(), StoreError> {
        let held = self
            .bounded(
                "empty the leads",
                Box::pin(async {
                    let mut tx = self.pool.begin().await?;
                    let reset = sqlx::query(RESET)
                        .bind(writer)
                        .bind(identity)
                        .bind(fold_version());
                    if reset.execute(&mut *tx).await?.rows_affected() != 1 {
                        return Ok(false);
                    }
                    // Not TRUNCATE, which would wait for every reader and keep new ones waiting.
                    for side in [Side::A, Side::B] {
                        for statement in [
                            "DELETE FROM leads{s}",
                            "DELETE FROM lead_words{s}",
                            "DELETE FROM lead_counts{s}",
                            "DELETE FROM erased{s}",
                            "DELETE FROM unreadable{s}",
                        ] {
                            sqlx::query(on(side, statement)).execute(&mut *tx).await?;
                        }
                    }
                    tx.commit().await.map(|()| true)
                }),
            )
            .await?;
        fence(held)
    }

    async fn states(&self, call_sids: &[CallSid]) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        self.on_live(|side| self.states_on(side, call_sids)).await
    }

    async fn apply(&self, writer: &str, batch: &Batch) -> Result<(), StoreError> {
        let held = self
            .bounded(
                "write leads",
                Box::pin(async {
                    let mut tx = self.pool.begin().await?;
                    let Some(side) = advance(&mut tx, writer, batch).await? else {
                        return Ok(false);
                    };
                    write_batch(&mut tx, side, batch).await?;
                    if !batch.erased.is_empty() {
                        write_erased(&mut tx, side.other(), &batch.erased).await?;
                    }
                    tx.commit().await.map(|()| true)
                }),
            )
            .await?;
        fence(held)
    }

    async fn purge(&self) -> Result<(), StoreError> {
        for statement in [
            "VACUUM leads",
            "VACUUM lead_words",
            "VACUUM leads_b",
            "VACUUM lead_words_b",
        ] {
            let done = sqlx::query(statement).execute(&self.pool).await;
            done.map_err(|error| unavailable("clean up behind erased leads", &error))?;
        }
        Ok(())
    }
}

/// The live side moves on; which one it is, `None` when it does not.
pub(crate) async fn advance(
    tx: &mut PgConnection,
    writer: &str,
    batch: &Batch,
) -> Result<Option<Side>, sqlx::Error> {
    let generation: Option<i64> = sqlx::query_scalar(ADVANCE)
        .bind(writer)
        .bind(&batch.identity)
        .bind(signed(batch.from))
        .bind(signed(batch.to))
        .fetch_optional(tx)
        .await?;
    Ok(generation.map(Side::of))
}

/// SQL of ours for one side.
pub(crate) fn on(side: Side, template: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(side.sql(template))
}

impl PostgresStore {
    pub(crate) async fn states_on(
        &self,
        side: Side,
        call_sids: &[CallSid],
    ) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        if call_sids.is_empty() {
            return Ok(HashMap::new());
        }
        let call_sids: Vec<&str> = call_sids.iter().map(CallSid::as_str).collect();
        let query = sqlx::query(on(
            side,
            "SELECT state FROM leads{s} WHERE call_sid = ANY ($1) \
             UNION ALL SELECT state FROM erased{s} WHERE call_sid = ANY ($1)",
        ))
        .bind(call_sids);
        let rows = self
            .bounded("read the events of leads", query.fetch_all(&self.pool))
            .await?;
        rows.iter()
            .map(|row| {
                let state = LeadState::from_bytes(get(row, "state")?)?;
                Ok((state.call_sid().clone(), state))
            })
            .collect()
    }
}

/// Everything of a batch but its position.
pub(crate) async fn write_batch(tx: &mut PgConnection, side: Side, batch: &Batch) -> Result<(), sqlx::Error> {
    if !batch.changes.is_empty() {
        write_changes(tx, side, &batch.changes).await?;
    }
    if !batch.erased.is_empty() {
        write_erased(tx, side, &batch.erased).await?;
    }
    if batch.unreadable.is_empty() {
        return Ok(());
    }
    let events = &batch.unreadable;
    let text = |text: &str| text.replace('\0', "\u{fffd}");
    sqlx::query(on(side, UNREADABLE))
        .bind(
            events
                .iter()
                .map(|event| signed(event.position))
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| text(&event.subject))
                .collect::<Vec<_>>(),
        )
        .bind(events.iter().map(|event| text(&event.reason)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.stored_at.0).collect::<Vec<_>>())
        .execute(tx)
        .await?;
    Ok(())
}

async fn write_changes(tx: &mut PgConnection, side: Side, changes: &[Change]) -> Result<(), sqlx::Error> {
    macro_rules! column {
        ($change:ident => $value:expr) => {
            changes.iter().map(|$change| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query(on(side, COUNT))
        .bind(column!(c => c.call_sid.as_str()))
        .bind(column!(c => c.status.token()))
        .execute(&mut *tx)
        .await?;
    sqlx::query(on(side, UPSERT))
        .bind(column!(c => c.call_sid.as_str()))
        .bind(column!(c => c.phone.as_str()))
        .bind(column!(c => c.phone_reversed.as_str()))
        .bind(column!(c => c.status.token()))
        .bind(column!(c => c.created_at.0))
        .bind(column!(c => c.updated_at.0))
        .bind(column!(c => c.transcript.as_deref()))
        .bind(column!(c => c.summary.as_deref()))
        .bind(column!(c => signed(c.position)))
        .bind(column!(c => c.hash.0.as_slice()))
        .bind(column!(c => c.row.as_str()))
        .bind(column!(c => c.state.as_slice()))
        .bind(column!(c => c.disposition.token()))
        .bind(column!(c => c.seen))
        .bind(column!(c => c.assignee.as_deref()))
        .execute(&mut *tx)
        .await?;
    sqlx::query(on(side, WORDS))
        .bind(column!(c => c.call_sid.as_str()))
        .bind(column!(c => c.created_at.0))
        .bind(column!(c => c.words.as_str()))
        .execute(&mut *tx)
        .await?;
    Ok(())
}

pub(crate) async fn write_erased(
    tx: &mut PgConnection,
    side: Side,
    erased: &[Erased],
) -> Result<(), sqlx::Error> {
    let calls: Vec<&str> = erased.iter().map(|call| call.call_sid.as_str()).collect();
    for statement in [ERASE_COUNT, ERASE_ROWS, ERASE_WORDS] {
        sqlx::query(on(side, statement))
            .bind(&calls)
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query(on(side, TOMBSTONES))
        .bind(&calls)
        .bind(
            erased
                .iter()
                .map(|call| signed(call.position))
                .collect::<Vec<_>>(),
        )
        .bind(
            erased
                .iter()
                .map(|call| call.state.as_slice())
                .collect::<Vec<_>>(),
        )
        .execute(&mut *tx)
        .await?;
    Ok(())
}

pub(crate) fn fence(held: bool) -> Result<(), StoreError> {
    if held { Ok(()) } else { Err(StoreError::Fenced) }
}
