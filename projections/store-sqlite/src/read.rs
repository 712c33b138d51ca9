//! Reading.

use std::future::Future;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use callfold_lead::{Lead, LeadState, Status};
use callfold_schema::{CallSid, UnixMillis};
use callfold_store::read::PhoneMatch;
use callfold_store::search::{MARKED_FROM_FOLD, filter_marks};
use callfold_store::{
    Cursor, EARLIER_MAX, LIMIT_MAX, LeadChange, LeadFilter, Page, Projection, QUARTER_MS, ReadLeads, Shelf,
    Side, StoreError, UnreadableEvent,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use crate::SqliteStore;
use crate::error::{damaged, unavailable};
use crate::write::{IDS_PER_MS, first_id, json, on, signed};

/// The longest beginnings of words that the search index has, in characters (see the migrations).
const PREFIX_CHARS_MAX: usize = 4;
/// With how many longer words a beginning is searched by them.
const TERMS_MAX: u32 = 32;

#[async_trait]
impl ReadLeads for SqliteStore {
    async fn lead(&self, call_sid: &CallSid) -> Result<Option<Lead>, StoreError> {
        self.on_live(|side| self.lead_on(side, call_sid)).await
    }

    async fn list(&self, filter: &LeadFilter, limit: u32, cursor: Option<&str>) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, LIMIT_MAX);
        let cursor = cursor.map(Cursor::decode).transpose()?;
        let (words, cursor) = (filter.words(), cursor.as_ref());
        let leads = match &words {
            Some(words) if words.is_empty() => Vec::new(),
            Some(words) => {
                self.on_live(|side| self.search(side, filter, words, limit, cursor))
                    .await?
            }
            None => {
                self.on_live(|side| self.scan(side, filter, limit, cursor))
                    .await?
            }
        };
        Ok(Page::cut(leads, limit))
    }

    async fn changes_since(&self, position: u64, limit: u32) -> Result<Vec<LeadChange>, StoreError> {
        self.on_live(|side| self.changes_on(side, position, limit)).await
    }

    async fn state(&self, call_sid: &CallSid) -> Result<Option<LeadState>, StoreError> {
        self.on_live(|side| self.state_on(side, call_sid)).await
    }

    async fn count(&self, filter: &LeadFilter, most: u32) -> Result<u32, StoreError> {
        self.on_live(|side| self.count_on(side, filter, most)).await
    }

    async fn earlier(&self, leads: &[&Lead]) -> Result<Vec<u32>, StoreError> {
        self.on_live(|side| self.earlier_on(side, leads)).await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        self.on_live(|side| self.counts_on(side)).await
    }

    async fn newest_position(&self) -> Result<u64, StoreError> {
        self.on_live(|side| self.newest_on(side)).await
    }

    async fn projection(&self) -> Result<Projection, StoreError> {
        let row = sqlx::query("SELECT identity, position, fold_version, writer FROM projection WHERE id = 1")
            .fetch_one(&self.reader)
            .await
            .map_err(|error| unavailable("read the position", &error))?;
        projection(&row)
    }

    async fn calls_per_quarter(
        &self,
        from: UnixMillis,
        to: UnixMillis,
    ) -> Result<Vec<(UnixMillis, u64)>, StoreError> {
        self.on_live(|side| self.quarters_on(side, from, to)).await
    }

    async fn oldest(&self, status: Status) -> Result<Option<UnixMillis>, StoreError> {
        self.on_live(|side| self.oldest_on(side, status)).await
    }

    async fn unreadable(&self, limit: u32) -> Result<Vec<UnreadableEvent>, StoreError> {
        self.on_live(|side| self.unreadable_on(side, limit)).await
    }
}

impl SqliteStore {
    /// A read of the side that serves. Whether it still did is asked behind the read: the number grows only, so when it is the
    /// same as before, the side served all the while. Switches are minutes apart, so the second reading is the last one.
    pub(crate) async fn on_live<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        read: impl Fn(Side) -> F,
    ) -> Result<T, StoreError> {
        let mut known = self.generation.load(Ordering::Relaxed);
        loop {
            let answer = read(Side::of(known)).await;
            let now: i64 = sqlx::query_scalar("SELECT generation FROM projection WHERE id = 1")
                .fetch_one(&self.reader)
                .await
                .map_err(|error| unavailable("read which leads serve", &error))?;
            if now == known {
                return answer;
            }
            self.generation.store(now, Ordering::Relaxed);
            known = now;
        }
    }

    async fn lead_on(&self, side: Side, call_sid: &CallSid) -> Result<Option<Lead>, StoreError> {
        let row = sqlx::query(on(side, "SELECT lead, position FROM leads{s} WHERE call_sid = ?"))
            .bind(call_sid.as_str())
            .fetch_optional(&self.reader)
            .await
            .map_err(|error| unavailable("read a lead", &error))?;
        row.as_ref().map(lead).transpose()
    }

    async fn changes_on(&self, side: Side, position: u64, limit: u32) -> Result<Vec<LeadChange>, StoreError> {
        let rows = sqlx::query(on(
            side,
            "SELECT * FROM (SELECT call_sid, status, position FROM leads{s} WHERE position > ?1 ORDER BY position LIMIT ?2) \
             UNION ALL SELECT * FROM ( \
                 SELECT call_sid, NULL, position FROM erased{s} WHERE position > ?1 ORDER BY position LIMIT ?2) \
             ORDER BY position LIMIT ?2",
        ))
        .bind(signed(position))
        .bind(limit.clamp(1, 1_000))
        .fetch_all(&self.reader)
        .await
        .map_err(|error| unavailable("read what changed", &error))?;
        rows.iter()
            .map(|row| {
                Ok(LeadChange {
                    call_sid: parse_sid(row, "call_sid")?,
                    status: get::<Option<&str>>(row, "status")?.map(status_of).transpose()?,
                    position: position_of(row)?,
                })
            })
            .collect()
    }

    async fn state_on(&self, side: Side, call_sid: &CallSid) -> Result<Option<LeadState>, StoreError> {
        let state: Option<Vec<u8>> = sqlx::query_scalar(on(
            side,
            "SELECT state FROM leads{s} WHERE call_sid = ?1 UNION ALL SELECT state FROM erased{s} WHERE call_sid = ?1",
        ))
        .bind(call_sid.as_str())
        .fetch_optional(&self.reader)
        .await
        .map_err(|error| unavailable("read the events of a lead", &error))?;
        Ok(state.map(|state| LeadState::from_bytes(&state)).transpose()?)
    }

    async fn counts_on(&self, side: Side) -> Result<Vec<(Status, u64)>, StoreError> {
        let rows = sqlx::query(on(
            side,
            "SELECT status, leads AS position FROM lead_counts{s} WHERE leads > 0",
        ))
        .fetch_all(&self.reader)
        .await
        .map_err(|error| unavailable("count the leads", &error))?;
        let mut counts = rows
            .iter()
            .map(|row| Ok((parse_status(row)?, position_of(row)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        counts.sort_unstable();
        Ok(counts)
    }

    async fn quarters_on(
        &self,
        side: Side,
        from: UnixMillis,
        to: UnixMillis,
    ) -> Result<Vec<(UnixMillis, u64)>, StoreError> {
        let rows = sqlx::query(on(
            side,
            "SELECT created_at_ms / ?1 AS quarter, count(*) AS position FROM leads{s} \
             WHERE created_at_ms >= ?2 AND created_at_ms < ?3 GROUP BY quarter ORDER BY quarter",
        ))
        .bind(QUARTER_MS)
        .bind(from.0)
        .bind(to.0)
        .fetch_all(&self.reader)
        .await
        .map_err(|error| unavailable("count the calls of a period", &error))?;
        rows.iter()
            .map(|row| {
                let quarter: i64 = get(row, "quarter")?;
                Ok((UnixMillis(quarter.saturating_mul(QUARTER_MS)), position_of(row)?))
            })
            .collect()
    }

    async fn oldest_on(&self, side: Side, status: Status) -> Result<Option<UnixMillis>, StoreError> {
        let oldest: Option<i64> = sqlx::query_scalar(on(
            side,
            "SELECT min(created_at_ms) FROM leads{s} WHERE status = ?",
        ))
        .bind(status.token())
        .fetch_one(&self.reader)
        .await
        .map_err(|error| unavailable("read the oldest lead of a status", &error))?;
        Ok(oldest.map(UnixMillis))
    }

    async fn newest_on(&self, side: Side) -> Result<u64, StoreError> {
        let row = sqlx::query(on(
            side,
            "SELECT max(coalesce((SELECT max(position) FROM leads{s}), 0), \
                 coalesce((SELECT max(position) FROM erased{s}), 0)) AS position",
        ))
        .fetch_one(&self.reader)
        .await
        .map_err(|error| unavailable("read the newest position", &error))?;
        position_of(&row)
    }

    async fn unreadable_on(&self, side: Side, limit: u32) -> Result<Vec<UnreadableEvent>, StoreError> {
        let rows = sqlx::query(on(
            side,
            "SELECT position, subject, reason, stored_at_ms FROM unreadable{s} ORDER BY position DESC LIMIT ?",
        ))
        .bind(limit.clamp(1, 1_000))
        .fetch_all(&self.reader)
        .await
        .map_err(|error| unavailable("read the unreadable events", &error))?;
        rows.iter()
            .map(|row| {
                Ok(UnreadableEvent {
                    position: position_of(row)?,
                    subject: get(row, "subject")?,
                    reason: get(row, "reason")?,
                    stored_at: UnixMillis(get(row, "stored_at_ms")?),
                })
            })
            .collect()
    }
}

impl SqliteStore {
    /// Rows without a search, one more than the limit.
    async fn scan(
        &self,
        side: Side,
        filter: &LeadFilter,
        limit: u32,
        cursor: Option<&Cursor>,
    ) -> Result<Vec<Lead>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT l.lead, l.position FROM (");
        keys(&mut sql, side, filter, limit + 1, cursor);
        sql.push(
            side.sql(
                ") k CROSS JOIN leads{s} l ON l.id = k.id ORDER BY k.created_at_ms DESC, k.call_sid DESC",
            ),
        );
        let rows = sql
            .build()
            .fetch_all(&self.reader)
            .await
            .map_err(|error| unavailable("list the leads", &error))?;
        rows.iter().map(lead).collect()
    }

    async fn count_on(&self, side: Side, filter: &LeadFilter, most: u32) -> Result<u32, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT count(*) FROM (");
        keys(&mut sql, side, filter, most, None);
        sql.push(")");
        sql.build_query_scalar()
            .fetch_one(&self.reader)
            .await
            .map_err(|error| unavailable("count leads", &error))
    }

    async fn earlier_on(&self, side: Side, leads: &[&Lead]) -> Result<Vec<u32>, StoreError> {
        let of = |lead: &&Lead| {
            let phone = stored(lead.phone.as_str());
            serde_json::json!([phone, lead.created_at.0.0, lead.call_sid.as_str()])
        };
        sqlx::query_scalar(on(
            side,
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM leads{s} INDEXED BY leads_by_phone{s} \
                 WHERE phone = value ->> 0 AND (created_at_ms, call_sid) < (value ->> 1, value ->> 2) LIMIT ?2)) \
             FROM json_each(?1) ORDER BY key",
        ))
        .bind(json(leads.iter().map(of)))
        .bind(EARLIER_MAX)
        .fetch_all(&self.reader)
        .await
        .map_err(|error| unavailable("count earlier calls", &error))
    }

    /// Rows that hold all words, one more than the limit.
    ///
    /// The search index is walked from the highest id down, which is the newest lead (`write.rs`), and left as soon as
    /// there are enough. Among leads of the same millisecond ids say nothing: that of the last row is read whole, and
    /// the rows are put in order here.
    async fn search(
        &self,
        side: Side,
        filter: &LeadFilter,
        words: &[String],
        limit: u32,
        cursor: Option<&Cursor>,
    ) -> Result<Vec<Lead>, StoreError> {
        let fold: u32 = sqlx::query_scalar("SELECT fold_version FROM projection WHERE id = 1")
            .fetch_one(&self.reader)
            .await
            .map_err(|error| unavailable("search the leads", &error))?;
        let mut terms = Vec::with_capacity(words.len());
        for word in words {
            terms.push(self.terms(side, word).await?);
        }
        let query = match_query(filter, &terms, fold >= MARKED_FROM_FOLD);
        let mut from = filter.from.map_or(i64::MIN, |from| first_id(from.0));
        let mut to = filter
            .to
            .map_or(i64::MAX, |to| first_id(to.0).saturating_add(IDS_PER_MS));
        if let Some(cursor) = cursor {
            to = to.min(first_id(cursor.created_at.0).saturating_add(IDS_PER_MS));
        }
        let mut found = self
            .search_ids(side, filter, &query, (from, to), Some(limit + 1), cursor)
            .await?;
        if found.len() > limit as usize
            && let Some((last, _)) = found.last()
        {
            from = last.div_euclid(IDS_PER_MS) * IDS_PER_MS;
            found.retain(|(id, _)| *id >= from + IDS_PER_MS);
            found.extend(
                self.search_ids(side, filter, &query, (from, from + IDS_PER_MS), None, cursor)
                    .await?,
            );
        }
        let mut leads: Vec<Lead> = found.into_iter().map(|(_, lead)| lead).collect();
        leads.sort_by(|a, b| (b.created_at, &b.call_sid).cmp(&(a.created_at, &a.call_sid)));
        leads.truncate(limit as usize + 1);
        Ok(leads)
    }

    /// What stands for a word in a query of the search index.
    ///
    /// The index has beginnings of words up to [`PREFIX_CHARS_MAX`] characters; it walks all leads of a longer one before it
    /// gives the first (a tenth of a second for 100,000), while those of a whole word come one by one, from the newest
    /// down. So a longer one is looked for as the words that begin so, while they are few. The words behind the word itself
    /// are asked for: counting the leads of each is what that costs.
    async fn terms(&self, side: Side, word: &str) -> Result<String, StoreError> {
        if word.chars().count() > PREFIX_CHARS_MAX {
            let longer: Vec<String> = sqlx::query_scalar(on(
                side,
                "SELECT term FROM leads_vocabulary{s} WHERE term >= ?1 AND term < ?2 LIMIT ?3",
            ))
            .bind(format!("{word}\u{1}"))
            .bind(format!("{word}\u{10ffff}"))
            .bind(TERMS_MAX + 1)
            .fetch_all(&self.reader)
            .await
            .map_err(|error| unavailable("search the leads", &error))?;
            if longer.len() <= TERMS_MAX as usize {
                let each: Vec<String> = std::iter::once(word)
                    .chain(longer.iter().map(String::as_str))
                    .map(|term| format!("\"{term}\""))
                    .collect();
                return Ok(format!("({})", each.join(" OR ")));
            }
        }
        Ok(format!("\"{word}\"*"))
    }

    async fn search_ids(
        &self,
        side: Side,
        filter: &LeadFilter,
        query: &str,
        (from, to): (i64, i64),
        limit: Option<u32>,
        cursor: Option<&Cursor>,
    ) -> Result<Vec<(i64, Lead)>, StoreError> {
        // CROSS JOIN: the search index outside, the leads inside.
        let mut sql = QueryBuilder::<Sqlite>::new(side.sql(
            "SELECT l.id, l.lead, l.position FROM leads_words{s} w CROSS JOIN leads{s} l ON l.id = w.rowid \
             WHERE w.leads_words{s} MATCH ",
        ));
        sql.push_bind(query.to_owned());
        sql.push(" AND w.rowid >= ")
            .push_bind(from)
            .push(" AND w.rowid < ")
            .push_bind(to);
        narrow(&mut sql, filter, filter.phone_match().as_ref(), cursor);
        check(&mut sql, filter);
        sql.push(" ORDER BY w.rowid DESC");
        if let Some(limit) = limit {
            sql.push(" LIMIT ").push_bind(limit);
        }
        let rows = sql
            .build()
            .fetch_all(&self.reader)
            .await
            .map_err(|error| unavailable("search the leads", &error))?;
        rows.iter().map(|row| Ok((get(row, "id")?, lead(row)?))).collect()
    }
}

fn narrow(
    sql: &mut QueryBuilder<Sqlite>,
    filter: &LeadFilter,
    phone: Option<&PhoneMatch>,
    cursor: Option<&Cursor>,
) {
    match phone {
        Some(PhoneMatch::Exactly(phone)) => {
            sql.push(" AND phone = ").push_bind(phone.clone());
        }
        Some(PhoneMatch::Tail(reversed)) => {
            // A colon is the character behind 9: everything that begins with these digits.
            sql.push(" AND phone_reversed >= ").push_bind(reversed.clone());
            sql.push(" AND phone_reversed < ")
                .push_bind(format!("{reversed}:"));
        }
        None => {}
    }
    if let Some(from) = filter.from {
        sql.push(" AND created_at_ms >= ").push_bind(from.0);
    }
    if let Some(to) = filter.to {
        sql.push(" AND created_at_ms < ").push_bind(to.0);
    }
    if let Some(cursor) = cursor {
        sql.push(" AND (created_at_ms, call_sid) < (")
            .push_bind(cursor.created_at.0)
            .push(", ");
        sql.push_bind(cursor.call_sid.as_str().to_owned()).push(")");
    }
}

/// What a filter finds, `limit` at most, from the newest down: `id`, `created_at_ms` and `call_sid`, merged from the filter's
/// shelves. Each is one index: without its name SQLite, which keeps no statistics here, may take another one.
fn keys(
    sql: &mut QueryBuilder<Sqlite>,
    side: Side,
    filter: &LeadFilter,
    limit: u32,
    cursor: Option<&Cursor>,
) {
    let phone = filter.phone_match();
    sql.push("SELECT * FROM (");
    for (n, shelf) in filter.shelves().into_iter().enumerate() {
        sql.push(if n == 0 { "" } else { " UNION ALL " });
        sql.push(side.sql("SELECT * FROM (SELECT id, created_at_ms, call_sid FROM leads{s}"));
        match shelf {
            Shelf::All | Shelf::Phone => {
                sql.push(" WHERE 1");
            }
            Shelf::Assignee(disposition) => {
                sql.push(side.sql(" INDEXED BY leads_by_assignee{s} WHERE assignee = "))
                    .push_bind(stored(filter.assignee.as_deref().unwrap_or_default()));
                sql.push(" AND disposition = ").push_bind(disposition.token());
            }
            Shelf::Status(status, disposition) => {
                sql.push(side.sql(" INDEXED BY leads_by_status{s} WHERE status = "))
                    .push_bind(status.token());
                sql.push(" AND disposition = ").push_bind(disposition.token());
            }
            Shelf::Disposition(disposition, seen) => {
                sql.push(side.sql(" INDEXED BY leads_by_disposition{s} WHERE disposition = "))
                    .push_bind(disposition.token());
                sql.push(" AND seen = ").push_bind(seen);
            }
        }
        narrow(sql, filter, phone.as_ref(), cursor);
        check(sql, filter);
        sql.push(" ORDER BY created_at_ms DESC, call_sid DESC LIMIT ")
            .push_bind(limit)
            .push(")");
    }
    sql.push(") ORDER BY created_at_ms DESC, call_sid DESC LIMIT ")
        .push_bind(limit);
}

/// A text as [`callfold_store::Change`] has it.
fn stored(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// What is checked row by row. The plus keeps SQLite from using an index for it.
fn check(sql: &mut QueryBuilder<Sqlite>, filter: &LeadFilter) {
    let statuses: Vec<_> = filter.statuses().iter().map(|status| status.token()).collect();
    let dispositions: Vec<_> = filter
        .dispositions()
        .iter()
        .map(|disposition| disposition.token())
        .collect();
    for (column, tokens) in [("+status", statuses), ("+disposition", dispositions)] {
        if tokens.is_empty() {
            continue;
        }
        sql.push(format_args!(" AND {column} IN ("));
        let mut list = sql.separated(", ");
        for token in tokens {
            list.push_bind(token);
        }
        sql.push(")");
    }
    if let Some(seen) = filter.seen {
        sql.push(" AND +seen = ").push_bind(seen);
    }
    if let Some(assignee) = &filter.assignee {
        sql.push(" AND +assignee = ").push_bind(stored(assignee));
    }
}

/// The query for the search index. Words are letters and digits only (`search.rs`); the quotes make keywords ordinary
/// words.
fn match_query(filter: &LeadFilter, terms: &[String], marked: bool) -> String {
    let mut parts = terms.to_vec();
    if marked {
        parts.extend(filter_marks(filter).iter().map(|marks| {
            let each: Vec<String> = marks.iter().map(|mark| format!("\"{mark}\"")).collect();
            format!("({})", each.join(" OR "))
        }));
    }
    parts.join(" AND ")
}

pub(crate) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(column).map_err(|_| damaged(column))
}

pub(crate) fn projection(row: &SqliteRow) -> Result<Projection, StoreError> {
    Ok(Projection {
        identity: get(row, "identity")?,
        position: position_of(row)?,
        fold_version: get(row, "fold_version")?,
        writer: get(row, "writer")?,
    })
}

fn lead(row: &SqliteRow) -> Result<Lead, StoreError> {
    Lead::from_row(get(row, "lead")?, position_of(row)?).map_err(|_| damaged("a lead's row is not one"))
}

fn position_of(row: &SqliteRow) -> Result<u64, StoreError> {
    u64::try_from(get::<i64>(row, "position")?).map_err(|_| damaged("a negative position"))
}

pub(crate) fn parse_sid(row: &SqliteRow, column: &'static str) -> Result<CallSid, StoreError> {
    CallSid::parse(get(row, column)?).map_err(|_| damaged("a CallSid is not one"))
}

pub(crate) fn parse_status(row: &SqliteRow) -> Result<Status, StoreError> {
    status_of(get(row, "status")?)
}

fn status_of(token: &str) -> Result<Status, StoreError> {
    Status::from_token(token).ok_or_else(|| damaged("a status is not one"))
}
