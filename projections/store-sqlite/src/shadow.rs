//! The side that does not serve. Its b-tree indexes are kept all the while: making one takes SQLite's only writer for
//! seconds, and live events would wait. The search index, which costs most, is made behind the load, in steps.

use std::collections::HashMap;

use async_trait::async_trait;
use callfold_lead::{FOLD_VERSION, Lead, LeadState};
use callfold_schema::CallSid;
use callfold_store::search::index_text;
use callfold_store::{Batch, Comparer, Comparison, Shadow, ShadowLeads, ShadowState, Side, StoreError};
use futures::TryStreamExt as _;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::{damaged, unavailable};
use crate::read::{get, parse_sid};
use crate::write::{advance, fence, on, signed, write_batch, write_erased, write_words};

/// How long a switch waits for the lock, in milliseconds; and what is set again behind it.
const SWITCH_BUSY_MS: &str = "PRAGMA busy_timeout = 100";
const USUAL_BUSY_MS: &str = "PRAGMA busy_timeout = 5000";
/// The result code that says that another process writes.
const SQLITE_BUSY: &str = "5";

const SHADOW: &str = "SELECT shadow_state, shadow_position, shadow_fold_version, shadow_accept, generation \
     FROM projection WHERE id = 1";
const BEGIN: &str = "UPDATE projection SET shadow_state = 'folding', shadow_position = 0, shadow_fold_version = ?2, \
         shadow_accept = ?3, shadow_indexed = -9223372036854775808 \
     WHERE id = 1 AND writer = ?1 AND shadow_state = 'empty'";
const ADVANCE: &str = "UPDATE projection SET shadow_position = ?4 \
     WHERE id = 1 AND writer = ?1 AND identity = ?2 AND shadow_position = ?3 \
         AND shadow_state IN ('folding', 'indexed') RETURNING generation, shadow_state = 'indexed'";
const SWITCH: &str = "UPDATE projection SET generation = generation + 1, shadow_state = 'old', \
         fold_version = shadow_fold_version, shadow_fold_version = fold_version \
     WHERE id = 1 AND writer = ?1 AND position = ?2 AND shadow_position = ?2 AND shadow_state = 'indexed'";
/// In the order of calls, the serving row of one before the rebuilt one.
const BOTH: &str = "SELECT call_sid, hash, 0 AS rebuilt FROM leads{s} \
     UNION ALL SELECT call_sid, x'', 0 FROM erased{s} \
     UNION ALL SELECT call_sid, hash, 1 FROM leads{o} \
     UNION ALL SELECT call_sid, x'', 1 FROM erased{o} ORDER BY call_sid, rebuilt";

#[async_trait]
impl ShadowLeads for SqliteStore {
    async fn shadow(&self) -> Result<Shadow, StoreError> {
        let row = sqlx::query(SHADOW)
            .fetch_one(&self.reader)
            .await
            .map_err(|error| unavailable("read how far a rebuild is", &error))?;
        shadow(&row)
    }

    async fn shadow_clear(&self, writer: &str, rows: u32) -> Result<bool, StoreError> {
        let failed = |error: sqlx::Error| unavailable("empty the tables of a rebuild", &error);
        let mut tx = self.begin().await?;
        let generation: Option<i64> = sqlx::query_scalar(
            "UPDATE projection SET shadow_state = 'clearing' WHERE id = 1 AND writer = ? RETURNING generation",
        )
        .bind(writer)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let side = generation.map(Side::of).ok_or(StoreError::Fenced)?.other();
        let deleted = sqlx::query(on(
            side,
            "DELETE FROM leads{s} WHERE id IN (SELECT id FROM leads{s} ORDER BY id LIMIT ?)",
        ))
        .bind(rows)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        let done = deleted.rows_affected() < u64::from(rows);
        if done {
            for statement in [
                "INSERT INTO leads_words{s} (leads_words{s}) VALUES ('delete-all')",
                "DELETE FROM lead_counts{s}",
                "DELETE FROM erased{s}",
                "DELETE FROM unreadable{s}",
                "UPDATE projection SET shadow_state = 'empty', shadow_position = 0 WHERE id = 1",
            ] {
                sqlx::query(on(side, statement))
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
            }
        }
        tx.commit().await.map_err(failed)?;
        Ok(done)
    }

    async fn shadow_begin(&self, writer: &str, accept: bool) -> Result<(), StoreError> {
        let done = sqlx::query(BEGIN)
            .bind(writer)
            .bind(FOLD_VERSION)
            .bind(accept)
            .execute(&self.writer)
            .await
            .map_err(|error| unavailable("begin a rebuild", &error))?;
        fence(done.rows_affected())
    }

    async fn shadow_accept(&self, writer: &str) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE projection SET shadow_accept = 1 WHERE id = 1 AND writer = ?")
            .bind(writer)
            .execute(&self.writer)
            .await
            .map_err(|error| unavailable("accept differences", &error))?;
        fence(done.rows_affected())
    }

    async fn shadow_states(&self, call_sids: &[CallSid]) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        self.on_live(|side| self.states_on(side.other(), call_sids)).await
    }

    async fn shadow_apply(&self, writer: &str, batch: &Batch) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        advance_shadow(&mut tx, writer, batch).await?;
        tx.commit()
            .await
            .map_err(|error| unavailable("write rebuilt leads", &error))
    }

    async fn shadow_index(&self, writer: &str, rows: u32) -> Result<bool, StoreError> {
        let failed = |error: sqlx::Error| unavailable("make the search index", &error);
        let mut tx = self.begin().await?;
        let from: Option<(i64, i64)> = sqlx::query_as(
            "SELECT generation, shadow_indexed FROM projection \
             WHERE id = 1 AND writer = ? AND shadow_state = 'folding'",
        )
        .bind(writer)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let (generation, after) = from.ok_or(StoreError::Fenced)?;
        let side = Side::of(generation).other();
        let found = sqlx::query(on(
            side,
            "SELECT id, lead FROM leads{s} WHERE id > ? ORDER BY id LIMIT ?",
        ))
        .bind(after)
        .bind(rows)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed)?;
        let words = found
            .iter()
            .map(|row| {
                let lead =
                    Lead::from_row(get(row, "lead")?, 0).map_err(|_| damaged("a lead's row is not one"))?;
                Ok((get(row, "id")?, index_text(&lead)))
            })
            .collect::<Result<Vec<(i64, String)>, StoreError>>()?;
        write_words(&mut tx, side, &words).await?;
        let done = words.len() < rows as usize;
        let last = words.last().map_or(after, |(id, _)| *id);
        sqlx::query(
            "UPDATE projection SET shadow_indexed = ?1, shadow_state = iif(?2, 'indexed', 'folding') WHERE id = 1",
        )
        .bind(last)
        .bind(done)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(done)
    }

    async fn apply_both(&self, writer: &str, live: &Batch, shadow: &Batch) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let side = advance(&mut tx, writer, live).await?;
        write_batch(&mut tx, side, live, true).await?;
        if !live.erased.is_empty() {
            write_erased(&mut tx, side.other(), &live.erased).await?;
        }
        advance_shadow(&mut tx, writer, shadow).await?;
        tx.commit()
            .await
            .map_err(|error| unavailable("write leads", &error))
    }

    async fn compare(&self, calls_max: usize) -> Result<Option<Comparison>, StoreError> {
        let failed = |error: sqlx::Error| unavailable("compare the leads", &error);
        // One transaction: everything in it is of one moment.
        let mut tx = self.reader.begin().await.map_err(failed)?;
        let (position, shadow_position, generation): (i64, i64, i64) =
            sqlx::query_as("SELECT position, shadow_position, generation FROM projection WHERE id = 1")
                .fetch_one(&mut *tx)
                .await
                .map_err(failed)?;
        if position != shadow_position {
            return Ok(None);
        }
        let side = Side::of(generation);
        let sql = BOTH.replace("{o}", side.other().suffix());
        let position = u64::try_from(position).map_err(|_| damaged("a negative position"))?;
        let mut comparer = Comparer::new(position, calls_max);
        {
            let mut rows = sqlx::query(on(side, &sql)).fetch(&mut *tx);
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                let rebuilt: i64 = get(&row, "rebuilt")?;
                comparer.add(parse_sid(&row, "call_sid")?, rebuilt != 0, get(&row, "hash")?);
            }
        }
        tx.commit().await.map_err(failed)?;
        Ok(Some(comparer.finish()))
    }

    async fn switch(&self, writer: &str, position: u64) -> Result<bool, StoreError> {
        let failed = |error: &sqlx::Error| unavailable("let the rebuilt leads serve", error);
        let mut connection = self.writer.acquire().await.map_err(|error| failed(&error))?;
        sqlx::query(SWITCH_BUSY_MS)
            .execute(&mut *connection)
            .await
            .map_err(|error| failed(&error))?;
        let done = sqlx::query(SWITCH)
            .bind(writer)
            .bind(signed(position))
            .execute(&mut *connection)
            .await;
        sqlx::query(USUAL_BUSY_MS)
            .execute(&mut *connection)
            .await
            .map_err(|error| failed(&error))?;
        match done {
            Ok(done) => fence(done.rows_affected()).map(|()| true),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(SQLITE_BUSY) => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }
}

async fn advance_shadow(tx: &mut SqliteConnection, writer: &str, batch: &Batch) -> Result<(), StoreError> {
    let found: Option<(i64, bool)> = sqlx::query_as(ADVANCE)
        .bind(writer)
        .bind(&batch.identity)
        .bind(signed(batch.from))
        .bind(signed(batch.to))
        .fetch_optional(&mut *tx)
        .await
        .map_err(|error| unavailable("write rebuilt leads", &error))?;
    let (generation, indexed) = found.ok_or(StoreError::Fenced)?;
    write_batch(tx, Side::of(generation).other(), batch, indexed).await
}

fn shadow(row: &SqliteRow) -> Result<Shadow, StoreError> {
    let state = ShadowState::from_token(get(row, "shadow_state")?);
    Ok(Shadow {
        state: state.ok_or_else(|| damaged("the state of a rebuild is not one"))?,
        position: u64::try_from(get::<i64>(row, "shadow_position")?)
            .map_err(|_| damaged("a negative position"))?,
        fold_version: get(row, "shadow_fold_version")?,
        accept: get(row, "shadow_accept")?,
        generation: get(row, "generation")?,
    })
}
