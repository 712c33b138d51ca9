//! The side that does not serve. Its indexes but the primary keys are dropped before the load and made behind it, one by one and
//! outside the transactions of the fence: nobody reads that side, so nobody waits for their locks.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use callfold_lead::LeadState;
use callfold_schema::CallSid;
use callfold_store::{Batch, Comparer, Comparison, Shadow, ShadowLeads, ShadowState, Side, StoreError};
use futures::TryStreamExt as _;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::PostgresStore;
use crate::error::damaged;
use crate::read::get;
use crate::write::{advance, fence, fold_version, on, signed, write_batch, write_erased};

/// How long an index, or the comparison, of the largest table may take.
const LONG_MAX: Duration = Duration::from_secs(3_600);
/// What PostgreSQL says when a lock was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

const SHADOW: &str = "SELECT shadow_state, shadow_position, shadow_fold_version, shadow_accept, generation \
     FROM projection WHERE id = 1";
const BEGIN: &str = "UPDATE projection SET shadow_state = 'folding', shadow_position = 0, shadow_fold_version = $2, \
         shadow_accept = $3 \
     WHERE id = 1 AND writer = $1 AND shadow_state = 'empty' RETURNING generation";
const ADVANCE: &str = "UPDATE projection SET shadow_position = $4 \
     WHERE id = 1 AND writer = $1 AND identity = $2 AND shadow_position = $3 \
         AND shadow_state IN ('folding', 'indexed') RETURNING generation";
const SWITCH: &str = "UPDATE projection SET generation = generation + 1, shadow_state = 'old', \
         fold_version = shadow_fold_version, shadow_fold_version = fold_version \
     WHERE id = 1 AND writer = $1 AND position = $2 AND shadow_position = $2 AND shadow_state = 'indexed'";
/// In the order of calls, the serving row of one before the rebuilt one.
const BOTH: &str = "SELECT call_sid, hash, false AS rebuilt FROM leads{s} \
     UNION ALL SELECT call_sid, ''::bytea, false FROM erased{s} \
     UNION ALL SELECT call_sid, hash, true FROM leads{o} \
     UNION ALL SELECT call_sid, ''::bytea, true FROM erased{o} ORDER BY call_sid, rebuilt";
/// The indexes of a side besides its primary keys, as the migrations have made them of the first one.
const INDEXES: [(&str, &str); 9] = [
    ("leads_by_time{s}", "leads{s} (created_at_ms, call_sid)"),
    (
        "leads_by_status{s}",
        "leads{s} (status, disposition, created_at_ms, call_sid)",
    ),
    (
        "leads_by_disposition{s}",
        "leads{s} (disposition, seen, created_at_ms, call_sid)",
    ),
    (
        "leads_by_assignee{s}",
        "leads{s} (left(assignee, 128), disposition, created_at_ms, call_sid) WHERE assignee IS NOT NULL",
    ),
    (
        "leads_by_phone{s}",
        "leads{s} (left(phone, 64), created_at_ms, call_sid)",
    ),
    ("leads_by_phone_tail{s}", "leads{s} (left(phone_reversed, 64))"),
    ("leads_by_position{s}", "leads{s} (position)"),
    ("lead_words_by_time{s}", "lead_words{s} (created_at_ms, call_sid)"),
    ("lead_words_by_word{s}", "lead_words{s} USING gin (words)"),
];

#[async_trait]
impl ShadowLeads for PostgresStore {
    async fn shadow(&self) -> Result<Shadow, StoreError> {
        let row = self
            .bounded(
                "read how far a rebuild is",
                sqlx::query(SHADOW).fetch_one(&self.pool),
            )
            .await?;
        shadow(&row)
    }

    async fn shadow_clear(&self, writer: &str, _rows: u32) -> Result<bool, StoreError> {
        let emptied = self
            .bounded(
                "empty the tables of a rebuild",
                Box::pin(async {
                    let mut tx = self.pool.begin().await?;
                    // A reader that began before the last switch may still be in them: it is not kept waiting, and nobody
                    // behind it is.
                    sqlx::raw_sql("SET LOCAL lock_timeout = '100ms'")
                        .execute(&mut *tx)
                        .await?;
                    let generation: Option<i64> = sqlx::query_scalar(
                        "UPDATE projection SET shadow_state = 'empty', shadow_position = 0 \
                         WHERE id = 1 AND writer = $1 RETURNING generation",
                    )
                    .bind(writer)
                    .fetch_optional(&mut *tx)
                    .await?;
                    let Some(side) = generation.map(Side::of) else {
                        return Ok(false);
                    };
                    sqlx::query(on(
                        side.other(),
                        "TRUNCATE leads{s}, lead_words{s}, lead_counts{s}, erased{s}, unreadable{s}",
                    ))
                    .execute(&mut *tx)
                    .await?;
                    tx.commit().await.map(|()| true)
                }),
            )
            .await;
        match emptied {
            Ok(held) => fence(held).map(|()| true),
            // The next step tries again.
            Err(error) if is_locked(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn shadow_begin(&self, writer: &str, accept: bool) -> Result<(), StoreError> {
        let held = self
            .bounded(
                "begin a rebuild",
                Box::pin(async {
                    let mut tx = self.pool.begin().await?;
                    let generation: Option<i64> = sqlx::query_scalar(BEGIN)
                        .bind(writer)
                        .bind(fold_version())
                        .bind(accept)
                        .fetch_optional(&mut *tx)
                        .await?;
                    let Some(side) = generation.map(Side::of) else {
                        return Ok(false);
                    };
                    for (name, _) in INDEXES {
                        let sql = format!("DROP INDEX IF EXISTS {name}");
                        sqlx::query(on(side.other(), &sql)).execute(&mut *tx).await?;
                    }
                    tx.commit().await.map(|()| true)
                }),
            )
            .await?;
        fence(held)
    }

    async fn shadow_accept(&self, writer: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE projection SET shadow_accept = true WHERE id = 1 AND writer = $1")
            .bind(writer);
        let done = self
            .bounded("accept differences", query.execute(&self.pool))
            .await?;
        fence(done.rows_affected() == 1)
    }

    async fn shadow_states(&self, call_sids: &[CallSid]) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        self.on_live(|side| self.states_on(side.other(), call_sids)).await
    }

    async fn shadow_apply(&self, writer: &str, batch: &Batch) -> Result<(), StoreError> {
        let held = self
            .bounded(
                "write rebuilt leads",
                Box::pin(async {
                    let mut tx = self.pool.begin().await?;
                    if !advance_shadow(&mut tx, writer, batch).await? {
                        return Ok(false);
                    }
                    tx.commit().await.map(|()| true)
                }),
            )
            .await?;
        fence(held)
    }

    /// One index a step.
    async fn shadow_index(&self, writer: &str, _rows: u32) -> Result<bool, StoreError> {
        let side = Side::of(self.shadow().await?.generation).other();
        let missing = self
            .bounded("make an index", Box::pin(self.missing_index(side)))
            .await?;
        if let Some(sql) = missing {
            let make = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&self.pool);
            Self::bounded_by(LONG_MAX, "make an index", make).await?;
            return Ok(false);
        }
        // Not within a transaction: the planner is to know the tables before somebody reads them.
        for table in ["ANALYZE leads{s}", "ANALYZE lead_words{s}"] {
            let analyze = sqlx::query(on(side, table)).execute(&self.pool);
            Self::bounded_by(LONG_MAX, "count the rebuilt leads", analyze).await?;
        }
        let query = sqlx::query(
            "UPDATE projection SET shadow_state = 'indexed' \
             WHERE id = 1 AND writer = $1 AND shadow_state = 'folding'",
        )
        .bind(writer);
        let done = self.bounded("make an index", query.execute(&self.pool)).await?;
        fence(done.rows_affected() == 1).map(|()| true)
    }

    async fn apply_both(&self, writer: &str, live: &Batch, shadow: &Batch) -> Result<(), StoreError> {
        let held = self
            .bounded(
                "write leads",
                Box::pin(async {
                    let mut tx = self.pool.begin().await?;
                    let Some(side) = advance(&mut tx, writer, live).await? else {
                        return Ok(false);
                    };
                    write_batch(&mut tx, side, live).await?;
                    if !live.erased.is_empty() {
                        write_erased(&mut tx, side.other(), &live.erased).await?;
                    }
                    if !advance_shadow(&mut tx, writer, shadow).await? {
                        return Ok(false);
                    }
                    tx.commit().await.map(|()| true)
                }),
            )
            .await?;
        fence(held)
    }

    async fn compare(&self, calls_max: usize) -> Result<Option<Comparison>, StoreError> {
        Self::bounded_by(
            LONG_MAX,
            "compare the leads",
            Box::pin(self.compare_in_one_snapshot(calls_max)),
        )
        .await?
        .transpose()
    }

    async fn switch(&self, writer: &str, position: u64) -> Result<bool, StoreError> {
        let switched = self
            .bounded(
                "let the rebuilt leads serve",
                Box::pin(async {
                    let mut tx = self.pool.begin().await?;
                    sqlx::raw_sql("SET LOCAL lock_timeout = '100ms'")
                        .execute(&mut *tx)
                        .await?;
                    let switch = sqlx::query(SWITCH).bind(writer).bind(signed(position));
                    if switch.execute(&mut *tx).await?.rows_affected() != 1 {
                        return Ok(false);
                    }
                    tx.commit().await.map(|()| true)
                }),
            )
            .await;
        match switched {
            Ok(held) => fence(held).map(|()| true),
            Err(error) if is_locked(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl PostgresStore {
    /// What makes the first index that a side does not have; one that was broken off is not there.
    async fn missing_index(&self, side: Side) -> Result<Option<String>, sqlx::Error> {
        for (name, definition) in INDEXES {
            let name = side.sql(name);
            let found: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
                .bind(&name)
                .fetch_one(&self.pool)
                .await?;
            if !found {
                return Ok(Some(format!(
                    "CREATE INDEX IF NOT EXISTS {name} ON {}",
                    side.sql(definition)
                )));
            }
        }
        Ok(None)
    }

    async fn compare_in_one_snapshot(
        &self,
        calls_max: usize,
    ) -> Result<Option<Result<Comparison, StoreError>>, sqlx::Error> {
        let mut tx = self
            .pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let (position, shadow_position, generation): (i64, i64, i64) =
            sqlx::query_as("SELECT position, shadow_position, generation FROM projection WHERE id = 1")
                .fetch_one(&mut *tx)
                .await?;
        if position != shadow_position {
            return Ok(None);
        }
        let side = Side::of(generation);
        let sql = BOTH.replace("{o}", side.other().suffix());
        let mut comparer = Comparer::new(u64::try_from(position).unwrap_or_default(), calls_max);
        let mut unreadable = None;
        {
            let mut rows = sqlx::query(on(side, &sql)).fetch(&mut *tx);
            while let Some(row) = rows.try_next().await? {
                if let Err(error) = compare_row(&row, &mut comparer) {
                    unreadable = Some(error);
                    break;
                }
            }
        }
        tx.commit().await?;
        Ok(Some(unreadable.map_or_else(|| Ok(comparer.finish()), Err)))
    }
}

fn compare_row(row: &PgRow, comparer: &mut Comparer) -> Result<(), StoreError> {
    let call_sid = CallSid::parse(get(row, "call_sid")?).map_err(|_| damaged("a CallSid is not one"))?;
    comparer.add(call_sid, get(row, "rebuilt")?, get(row, "hash")?);
    Ok(())
}

/// Whether the shadow moved on.
async fn advance_shadow(tx: &mut PgConnection, writer: &str, batch: &Batch) -> Result<bool, sqlx::Error> {
    let generation: Option<i64> = sqlx::query_scalar(ADVANCE)
        .bind(writer)
        .bind(&batch.identity)
        .bind(signed(batch.from))
        .bind(signed(batch.to))
        .fetch_optional(&mut *tx)
        .await?;
    let Some(side) = generation.map(Side::of) else {
        return Ok(false);
    };
    write_batch(tx, side.other(), batch).await?;
    Ok(true)
}

fn is_locked(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { source, .. } if source.0.contains(LOCK_NOT_AVAILABLE))
}

fn shadow(row: &PgRow) -> Result<Shadow, StoreError> {
    let state = ShadowState::from_token(get(row, "shadow_state")?);
    Ok(Shadow {
        state: state.ok_or_else(|| damaged("the state of a rebuild is not one"))?,
        position: u64::try_from(get::<i64>(row, "shadow_position")?)
            .map_err(|_| damaged("a negative position"))?,
        fold_version: u32::try_from(get::<i32>(row, "shadow_fold_version")?)
            .map_err(|_| damaged("fold_version"))?,
        accept: get(row, "shadow_accept")?,
        generation: get(row, "generation")?,
    })
}
