//! Writing. Many rows a statement: a statement costs a trip to SQLite's thread, which is more than a row does.
//!
//! Ids: `created_at` in milliseconds × 2^20 + a number within the millisecond. So the order of ids is the order of
//! time, which the search index needs (`read.rs`). A lead whose first event turns out to be an earlier one gets another
//! id. Times beyond ± 250 years share the ids of the last millisecond there: only the order of search results suffers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use callfold_lead::{FOLD_VERSION, LeadState, Status};
use callfold_schema::CallSid;
use callfold_store::{Batch, Change, Claim, Erased, LEASE_MS, Side, StoreError, WriteLeads};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqliteConnection, Transaction};

use crate::SqliteStore;
use crate::error::unavailable;
use crate::read::{get, parse_sid, parse_status, projection};

/// How many ids a millisecond has.
pub(crate) const IDS_PER_MS: i64 = 1 << 20;
/// Milliseconds that ids can express, on both sides of 1970.
const ID_MS_MAX: i64 = 8_000_000_000_000;
/// Rows a statement; three sizes, so that few statements have to be prepared.
const CHUNKS: [usize; 3] = [128, 16, 1];
/// How many pages of the search index one step of a clean-up writes.
const MERGE_PAGES: i64 = 500;
/// The database's clock, in milliseconds.
macro_rules! now_ms {
    () => {
        "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)"
    };
}

const CLAIM: &str = concat!(
    "UPDATE projection SET writer = ?1, seen_at_ms = ",
    now_ms!(),
    " WHERE id = 1 AND (?2 OR writer IS NULL OR writer = ?1",
    // Far in the future: the clock was set back, and the mark says nothing.
    " OR abs(",
    now_ms!(),
    " - seen_at_ms) >= ?3) RETURNING identity, position, fold_version, writer"
);
const RENEW: &str = concat!(
    "UPDATE projection SET seen_at_ms = ",
    now_ms!(),
    " WHERE id = 1 AND writer = ?1"
);
const ADVANCE: &str = concat!(
    "UPDATE projection SET position = ?4, seen_at_ms = ",
    now_ms!(),
    " WHERE id = 1 AND writer = ?1 AND identity = ?2 AND position = ?3 RETURNING generation"
);
const RESET: &str = concat!(
    "UPDATE projection SET identity = ?2, position = 0, fold_version = ?3, shadow_state = 'empty', \
         shadow_position = 0, seen_at_ms = ",
    now_ms!(),
    " WHERE id = 1 AND writer = ?1"
);

static UPSERTS: LazyLock<Statements> = LazyLock::new(|| {
    statements(
        "INSERT INTO leads{s} (id, call_sid, phone, phone_reversed, status, created_at_ms, updated_at_ms, transcript, \
         summary, position, hash, words_hash, lead, state, disposition, seen, assignee) VALUES ",
        17,
        " ON CONFLICT (id) DO UPDATE SET phone = excluded.phone, phone_reversed = excluded.phone_reversed, \
         status = excluded.status, updated_at_ms = excluded.updated_at_ms, \
         transcript = excluded.transcript, summary = excluded.summary, position = excluded.position, \
         hash = excluded.hash, words_hash = excluded.words_hash, lead = excluded.lead, state = excluded.state, \
         disposition = excluded.disposition, seen = excluded.seen, assignee = excluded.assignee",
    )
});
static WORDS: LazyLock<Statements> =
    LazyLock::new(|| statements("INSERT INTO leads_words{s} (rowid, words) VALUES ", 2, ""));

/// The same statement for so many rows, of each side.
type Statements = [Vec<(usize, Arc<str>)>; 2];

fn statements(head: &str, columns: usize, tail: &str) -> Statements {
    let row = format!("({})", vec!["?"; columns].join(", "));
    [Side::A, Side::B].map(|side| {
        CHUNKS
            .iter()
            .map(|rows| {
                let sql = format!("{head}{}{tail}", vec![row.as_str(); *rows].join(", "));
                (*rows, side.sql(&sql).into())
            })
            .collect()
    })
}

/// Streams do not get that far.
pub(crate) fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// The lowest id of a millisecond.
pub(crate) fn first_id(created_at_ms: i64) -> i64 {
    created_at_ms.clamp(-ID_MS_MAX, ID_MS_MAX) * IDS_PER_MS
}

#[async_trait]
impl WriteLeads for SqliteStore {
    async fn claim(&self, writer: &str, force: bool) -> Result<Claim, StoreError> {
        let row = sqlx::query(CLAIM)
            .bind(writer)
            .bind(force)
            .bind(LEASE_MS)
            .fetch_optional(&self.writer)
            .await
            .map_err(|error| unavailable("claim the leads", &error))?;
        row.as_ref()
            .map_or(Ok(Claim::Held), |row| projection(row).map(Claim::Granted))
    }

    async fn renew(&self, writer: &str) -> Result<(), StoreError> {
        let done = sqlx::query(RENEW)
            .bind(writer)
            .execute(&self.writer)
            .await
            .map_err(|error| unavailable("renew the claim", &error))?;
        fence(done.rows_affected())
    }

    async fn release(&self, writer: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE projection SET writer = NULL WHERE id = 1 AND writer = ?")
            .bind(writer)
            .execute(&self.writer)
            .await
            .map_err(|error| unavailable("release the claim", &error))?;
        Ok(())
    }

    async fn reset(&self, writer: &str, identity: &str) -> Result<(), StoreError> {
        let failed = |error: sqlx::Error| unavailable("empty the leads", &error);
        let mut tx = self.begin().await?;
        let done = sqlx::query(RESET)
            .bind(writer)
            .bind(identity)
            .bind(FOLD_VERSION)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        fence(done.rows_affected())?;
        for side in [Side::A, Side::B] {
            for statement in [
                "DELETE FROM leads{s}",
                "INSERT INTO leads_words{s} (leads_words{s}) VALUES ('delete-all')",
                "DELETE FROM lead_counts{s}",
                "DELETE FROM erased{s}",
                "DELETE FROM unreadable{s}",
            ] {
                sqlx::query(on(side, statement))
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
            }
        }
        tx.commit().await.map_err(failed)
    }

    async fn states(&self, call_sids: &[CallSid]) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        self.on_live(|side| self.states_on(side, call_sids)).await
    }

    async fn apply(&self, writer: &str, batch: &Batch) -> Result<(), StoreError> {
        let failed = |error: sqlx::Error| unavailable("write leads", &error);
        let mut tx = self.begin().await?;
        let side = advance(&mut tx, writer, batch).await?;
        write_batch(&mut tx, side, batch, true).await?;
        if !batch.erased.is_empty() {
            write_erased(&mut tx, side.other(), &batch.erased).await?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn purge(&self) -> Result<(), StoreError> {
        let failed = |error: sqlx::Error| unavailable("clean up behind erased leads", &error);
        // A deleted row's words stay in their segment of the index until it is merged. A negative number begins a merge
        // of all segments, in steps of so many pages; two changes or less say that nothing was left to do.
        for side in [Side::A, Side::B] {
            let mut pages = -MERGE_PAGES;
            loop {
                let mut connection = self.writer.acquire().await.map_err(failed)?;
                let before = total_changes(&mut connection).await?;
                sqlx::query(on(
                    side,
                    "INSERT INTO leads_words{s} (leads_words{s}, rank) VALUES ('merge', ?)",
                ))
                .bind(pages)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
                if total_changes(&mut connection).await? - before < 2 {
                    break;
                }
                pages = MERGE_PAGES;
            }
        }
        // Old pages stay in the log until it is folded into the file and begun again.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.writer)
            .await
            .map_err(failed)?;
        Ok(())
    }
}

async fn total_changes(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT total_changes()")
        .fetch_one(connection)
        .await
        .map_err(|error| unavailable("clean up behind erased leads", &error))
}

/// The live side moves on; which one it is.
pub(crate) async fn advance(
    tx: &mut SqliteConnection,
    writer: &str,
    batch: &Batch,
) -> Result<Side, StoreError> {
    let generation: Option<i64> = sqlx::query_scalar(ADVANCE)
        .bind(writer)
        .bind(&batch.identity)
        .bind(signed(batch.from))
        .bind(signed(batch.to))
        .fetch_optional(tx)
        .await
        .map_err(|error| unavailable("write leads", &error))?;
    generation.map(Side::of).ok_or(StoreError::Fenced)
}

/// Everything of a batch but its position. `words`: the search index is kept up to date.
pub(crate) async fn write_batch(
    tx: &mut SqliteConnection,
    side: Side,
    batch: &Batch,
    words: bool,
) -> Result<(), StoreError> {
    if !batch.changes.is_empty() {
        write_changes(tx, side, &batch.changes, words).await?;
    }
    if !batch.erased.is_empty() {
        write_erased(tx, side, &batch.erased).await?;
    }
    for event in &batch.unreadable {
        sqlx::query(on(
            side,
            "INSERT INTO unreadable{s} (position, subject, reason, stored_at_ms) VALUES (?, ?, ?, ?)",
        ))
        .bind(signed(event.position))
        .bind(&event.subject)
        .bind(&event.reason)
        .bind(event.stored_at.0)
        .execute(&mut *tx)
        .await
        .map_err(|error| unavailable("write leads", &error))?;
    }
    Ok(())
}

/// SQL of ours for one side.
pub(crate) fn on(side: Side, template: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(side.sql(template))
}

impl SqliteStore {
    pub(crate) async fn states_on(
        &self,
        side: Side,
        call_sids: &[CallSid],
    ) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        if call_sids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query(on(
            side,
            "SELECT state FROM leads{s} WHERE call_sid IN (SELECT value FROM json_each(?1)) \
             UNION ALL SELECT state FROM erased{s} WHERE call_sid IN (SELECT value FROM json_each(?1))",
        ))
        .bind(json(call_sids.iter().map(CallSid::as_str)))
        .fetch_all(&self.reader)
        .await
        .map_err(|error| unavailable("read the events of leads", &error))?;
        rows.iter()
            .map(|row| {
                let state = LeadState::from_bytes(get(row, "state")?)?;
                Ok((state.call_sid().clone(), state))
            })
            .collect()
    }

    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        // A transaction that begins by reading could not become a writing one while another process writes.
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| unavailable("begin to write leads", &error))
    }
}

/// What stands in the table before.
struct Old {
    id: i64,
    created_at_ms: i64,
    status: Status,
    words_hash: Vec<u8>,
}

async fn write_changes(
    tx: &mut SqliteConnection,
    side: Side,
    changes: &[Change],
    with_words: bool,
) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| unavailable("write leads", &error);
    let old = read_old(tx, side, changes.iter().map(|change| change.call_sid.as_str())).await?;
    let mut gone: Vec<i64> = Vec::new();
    let mut stale: Vec<i64> = Vec::new();
    let mut counts: BTreeMap<Status, i64> = BTreeMap::new();
    for change in changes {
        *counts.entry(change.status).or_default() += 1;
        if let Some(old) = old.get(&change.call_sid) {
            *counts.entry(old.status).or_default() -= 1;
            if old.created_at_ms != change.created_at.0 {
                gone.push(old.id);
            } else if old.words_hash != words_hash(change) {
                stale.push(old.id);
            }
        }
    }
    if !gone.is_empty() {
        sqlx::query(on(
            side,
            "DELETE FROM leads{s} WHERE id IN (SELECT value FROM json_each(?))",
        ))
        .bind(json(gone.iter().copied()))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    }
    stale.extend(&gone);
    if with_words && !stale.is_empty() {
        sqlx::query(on(
            side,
            "DELETE FROM leads_words{s} WHERE rowid IN (SELECT value FROM json_each(?))",
        ))
        .bind(json(stale.iter().copied()))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    }
    let stays = |change: &Change| {
        old.get(&change.call_sid)
            .filter(|old| old.created_at_ms == change.created_at.0)
    };
    let mut free = free_ids(tx, side, changes.iter().filter(|change| stays(change).is_none())).await?;
    let mut rows: Vec<(i64, &Change)> = Vec::with_capacity(changes.len());
    let mut words: Vec<(i64, &Change)> = Vec::new();
    for change in changes {
        let id = match stays(change) {
            Some(old) => {
                if old.words_hash != words_hash(change) {
                    words.push((old.id, change));
                }
                old.id
            }
            None => {
                // `free_ids` has an entry for each of them.
                let next = free
                    .entry(first_id(change.created_at.0))
                    .or_insert(first_id(change.created_at.0));
                let id = *next;
                *next += 1;
                words.push((id, change));
                id
            }
        };
        rows.push((id, change));
    }
    for (sql, part) in chunks(&UPSERTS, side, &rows) {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (id, change) in part {
            query = query
                .bind(*id)
                .bind(change.call_sid.as_str())
                .bind(&change.phone)
                .bind(&change.phone_reversed)
                .bind(change.status.token())
                .bind(change.created_at.0)
                .bind(change.updated_at.0)
                .bind(&change.transcript)
                .bind(&change.summary)
                .bind(signed(change.position))
                .bind(change.hash.0.as_slice())
                .bind(words_hash(change).as_slice())
                .bind(&change.row)
                .bind(&change.state)
                .bind(change.disposition.token())
                .bind(change.seen)
                .bind(&change.assignee);
        }
        query.execute(&mut *tx).await.map_err(failed)?;
    }
    if with_words {
        let words: Vec<(i64, &str)> = words
            .into_iter()
            .map(|(id, change)| (id, change.words.as_str()))
            .collect();
        write_words(tx, side, &words).await?;
    }
    write_counts(tx, side, counts).await
}

/// New rows of the search index.
pub(crate) async fn write_words<T: AsRef<str> + Sync>(
    tx: &mut SqliteConnection,
    side: Side,
    words: &[(i64, T)],
) -> Result<(), StoreError> {
    for (sql, part) in chunks(&WORDS, side, words) {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (id, words) in part {
            query = query.bind(*id).bind(words.as_ref());
        }
        query
            .execute(&mut *tx)
            .await
            .map_err(|error| unavailable("write leads", &error))?;
    }
    Ok(())
}

async fn write_counts(
    tx: &mut SqliteConnection,
    side: Side,
    counts: BTreeMap<Status, i64>,
) -> Result<(), StoreError> {
    for (status, more) in counts.into_iter().filter(|(_, more)| *more != 0) {
        sqlx::query(on(
            side,
            "INSERT INTO lead_counts{s} (status, leads) VALUES (?, ?) \
             ON CONFLICT (status) DO UPDATE SET leads = leads + excluded.leads",
        ))
        .bind(status.token())
        .bind(more)
        .execute(&mut *tx)
        .await
        .map_err(|error| unavailable("write leads", &error))?;
    }
    Ok(())
}

/// The pages that the rows leave are overwritten (`secure_delete`); what the search index keeps of their words until its
/// next merge goes with [`WriteLeads::purge`].
pub(crate) async fn write_erased(
    tx: &mut SqliteConnection,
    side: Side,
    erased: &[Erased],
) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| unavailable("erase leads", &error);
    let old = read_old(tx, side, erased.iter().map(|call| call.call_sid.as_str())).await?;
    let mut counts: BTreeMap<Status, i64> = BTreeMap::new();
    for old in old.values() {
        *counts.entry(old.status).or_default() -= 1;
    }
    let gone = json(old.values().map(|old| old.id));
    for statement in [
        "DELETE FROM leads_words{s} WHERE rowid IN (SELECT value FROM json_each(?))",
        "DELETE FROM leads{s} WHERE id IN (SELECT value FROM json_each(?))",
    ] {
        sqlx::query(on(side, statement))
            .bind(&gone)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    write_counts(tx, side, counts).await?;
    for call in erased {
        sqlx::query(on(
            side,
            "INSERT INTO erased{s} (call_sid, position, state) VALUES (?, ?, ?) \
             ON CONFLICT (call_sid) DO UPDATE SET position = excluded.position, state = excluded.state",
        ))
        .bind(call.call_sid.as_str())
        .bind(signed(call.position))
        .bind(&call.state)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

async fn read_old(
    tx: &mut SqliteConnection,
    side: Side,
    calls: impl Iterator<Item = &str>,
) -> Result<HashMap<CallSid, Old>, StoreError> {
    let rows = sqlx::query(on(
        side,
        "SELECT id, call_sid, created_at_ms, status, words_hash FROM leads{s} \
         WHERE call_sid IN (SELECT value FROM json_each(?))",
    ))
    .bind(json(calls))
    .fetch_all(tx)
    .await
    .map_err(|error| unavailable("read leads before writing them", &error))?;
    rows.iter()
        .map(|row| {
            let old = Old {
                id: get(row, "id")?,
                created_at_ms: get(row, "created_at_ms")?,
                status: parse_status(row)?,
                words_hash: get(row, "words_hash")?,
            };
            Ok((parse_sid(row, "call_sid")?, old))
        })
        .collect()
}

/// For each millisecond of these leads, the first id behind those that are taken.
async fn free_ids(
    tx: &mut SqliteConnection,
    side: Side,
    changes: impl Iterator<Item = &Change>,
) -> Result<HashMap<i64, i64>, StoreError> {
    let firsts: HashSet<i64> = changes.map(|change| first_id(change.created_at.0)).collect();
    let mut free: HashMap<i64, i64> = firsts.iter().map(|first| (*first, *first)).collect();
    if firsts.is_empty() {
        return Ok(free);
    }
    let rows = sqlx::query(on(
        side,
        "SELECT value AS first, (SELECT max(id) FROM leads{s} WHERE id >= value AND id < value + ?2) AS last \
         FROM json_each(?1)",
    ))
    .bind(json(firsts.iter().copied()))
    .bind(IDS_PER_MS)
    .fetch_all(tx)
    .await
    .map_err(|error| unavailable("number new leads", &error))?;
    for row in &rows {
        let last: Option<i64> = row
            .try_get("last")
            .map_err(|error| unavailable("number new leads", &error))?;
        if let Some(last) = last {
            free.insert(get(row, "first")?, last + 1);
        }
    }
    Ok(free)
}

/// Eight bytes are enough to see that a lead's words are the same as before.
fn words_hash(change: &Change) -> [u8; 8] {
    // FNV-1a: the same in every build, which the hasher of the standard library does not promise.
    let hash = change
        .words
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    hash.to_be_bytes()
}

/// Cuts rows into pieces for which there is a statement, the largest first.
fn chunks<'a, T>(
    statements: &'static LazyLock<Statements>,
    side: Side,
    rows: &'a [T],
) -> impl Iterator<Item = (Arc<str>, &'a [T])> {
    let mut rest = rows;
    let statements = &statements[usize::from(side == Side::B)];
    std::iter::from_fn(move || {
        let (size, sql) = statements.iter().find(|(size, _)| *size <= rest.len())?;
        let (part, behind) = rest.split_at(*size);
        rest = behind;
        Some((Arc::clone(sql), part))
    })
}

/// A list as one parameter, for `json_each`.
pub(crate) fn json<T: Into<serde_json::Value>>(list: impl IntoIterator<Item = T>) -> String {
    serde_json::Value::Array(list.into_iter().map(Into::into).collect()).to_string()
}

pub(crate) fn fence(rows: u64) -> Result<(), StoreError> {
    if rows == 1 {
        Ok(())
    } else {
        Err(StoreError::Fenced)
    }
}
