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
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row as _};

use crate::PostgresStore;
use crate::error::damaged;
use crate::write::{on, signed};

/// What the indexes of numbers keep of one, in characters (see the migration).
const PHONE_INDEXED: usize = 64;
/// What the index of assignees keeps of a name, in characters (see the migration).
const ASSIGNEE_INDEXED: usize = 128;
/// Up to how many hits a search takes them all and sorts.
const FEW_HITS: i64 = 3_000;

#[async_trait]
impl ReadLeads for PostgresStore {
    async fn lead(&self, call_sid: &CallSid) -> Result<Option<Lead>, StoreError> {
        self.on_live(|side| self.lead_on(side, call_sid)).await
    }

    async fn list(&self, filter: &LeadFilter, limit: u32, cursor: Option<&str>) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, LIMIT_MAX);
        let cursor = cursor.map(Cursor::decode).transpose()?;
        let leads = self
            .on_live(|side| self.list_on(side, filter, limit, cursor.as_ref()))
            .await?;
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
        let query =
            sqlx::query("SELECT identity, position, fold_version, writer FROM projection WHERE id = 1");
        let row = self
            .bounded("read the position", query.fetch_one(&self.pool))
            .await?;
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

impl PostgresStore {
    /// A read of the side that serves. Whether it still did is asked behind the read: the number grows only, so when it is the
    /// same as before, the side served all the while. Switches are minutes apart, so the second reading is the last one.
    pub(crate) async fn on_live<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        read: impl Fn(Side) -> F,
    ) -> Result<T, StoreError> {
        let mut known = self.generation.load(Ordering::Relaxed);
        loop {
            let answer = read(Side::of(known)).await;
            let now = sqlx::query_scalar("SELECT generation FROM projection WHERE id = 1");
            let now: i64 = self
                .bounded("read which leads serve", now.fetch_one(&self.pool))
                .await?;
            if now == known {
                return answer;
            }
            self.generation.store(now, Ordering::Relaxed);
            known = now;
        }
    }

    async fn lead_on(&self, side: Side, call_sid: &CallSid) -> Result<Option<Lead>, StoreError> {
        let query = sqlx::query(on(
            side,
            "SELECT lead, position FROM leads{s} WHERE call_sid = $1",
        ))
        .bind(call_sid.as_str());
        let row = self
            .bounded("read a lead", query.fetch_optional(&self.pool))
            .await?;
        row.as_ref().map(lead).transpose()
    }

    async fn list_on(
        &self,
        side: Side,
        filter: &LeadFilter,
        limit: u32,
        cursor: Option<&Cursor>,
    ) -> Result<Vec<Lead>, StoreError> {
        let rows = match filter.words() {
            Some(words) if words.is_empty() => Vec::new(),
            Some(words) => {
                self.bounded(
                    "search the leads",
                    Box::pin(self.search(side, filter, &words, limit, cursor)),
                )
                .await?
            }
            None => {
                let mut sql = scan(side, filter, limit, cursor);
                let rows = sql.build().persistent(false).fetch_all(&self.pool);
                self.bounded("list the leads", rows).await?
            }
        };
        rows.iter().map(lead).collect()
    }

    async fn changes_on(&self, side: Side, position: u64, limit: u32) -> Result<Vec<LeadChange>, StoreError> {
        let query = sqlx::query(on(
            side,
            "(SELECT call_sid, status, position FROM leads{s} WHERE position > $1 ORDER BY position LIMIT $2) \
             UNION ALL \
             (SELECT call_sid, NULL, position FROM erased{s} WHERE position > $1 ORDER BY position LIMIT $2) \
             ORDER BY position LIMIT $2",
        ))
        .bind(signed(position))
        .bind(i64::from(limit.clamp(1, 1_000)));
        let rows = self
            .bounded("read what changed", query.fetch_all(&self.pool))
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LeadChange {
                    call_sid: CallSid::parse(get(row, "call_sid")?)
                        .map_err(|_| damaged("a CallSid is not one"))?,
                    status: get::<Option<&str>>(row, "status")?.map(status_of).transpose()?,
                    position: position_of(row)?,
                })
            })
            .collect()
    }

    async fn state_on(&self, side: Side, call_sid: &CallSid) -> Result<Option<LeadState>, StoreError> {
        let query = sqlx::query_scalar(on(
            side,
            "SELECT state FROM leads{s} WHERE call_sid = $1 UNION ALL SELECT state FROM erased{s} WHERE call_sid = $1",
        ))
        .bind(call_sid.as_str());
        let state: Option<Vec<u8>> = self
            .bounded("read the events of a lead", query.fetch_optional(&self.pool))
            .await?;
        Ok(state.map(|state| LeadState::from_bytes(&state)).transpose()?)
    }

    async fn count_on(&self, side: Side, filter: &LeadFilter, most: u32) -> Result<u32, StoreError> {
        let mut sql = QueryBuilder::<Postgres>::new("SELECT count(*) FROM (");
        keys(&mut sql, side, filter, i64::from(most), None);
        sql.push(") AS counted");
        let query = sql.build_query_scalar::<i64>().persistent(false);
        let count = self.bounded("count leads", query.fetch_one(&self.pool)).await?;
        u32::try_from(count).map_err(|_| damaged("a count of leads"))
    }

    async fn earlier_on(&self, side: Side, leads: &[&Lead]) -> Result<Vec<u32>, StoreError> {
        let phones: Vec<String> = leads
            .iter()
            .map(|lead| lead.phone.as_str().replace('\0', "\u{fffd}"))
            .collect();
        let moments: Vec<i64> = leads.iter().map(|lead| lead.created_at.0.0).collect();
        let calls: Vec<&str> = leads.iter().map(|lead| lead.call_sid.as_str()).collect();
        let query = sqlx::query_scalar::<_, i64>(on(
            side,
            "SELECT n.calls FROM unnest($1::text[], $2::bigint[], $3::text[]) WITH ORDINALITY AS k (phone, at, call, place) \
             CROSS JOIN LATERAL (SELECT count(*) AS calls FROM (SELECT 1 FROM leads{s} l \
                 WHERE left(l.phone, 64) = left(k.phone, 64) AND l.phone = k.phone \
                     AND (l.created_at_ms, l.call_sid) < (k.at, k.call) LIMIT $4) AS e) AS n ORDER BY k.place",
        ))
        .bind(phones)
        .bind(moments)
        .bind(calls)
        .bind(i64::from(EARLIER_MAX));
        let counts = self
            .bounded("count earlier calls", query.fetch_all(&self.pool))
            .await?;
        counts
            .into_iter()
            .map(|count| u32::try_from(count).map_err(|_| damaged("a count of calls")))
            .collect()
    }

    async fn counts_on(&self, side: Side) -> Result<Vec<(Status, u64)>, StoreError> {
        let query = sqlx::query(on(
            side,
            "SELECT status, leads AS position FROM lead_counts{s} WHERE leads > 0",
        ));
        let rows = self
            .bounded("count the leads", query.fetch_all(&self.pool))
            .await?;
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
        let query = sqlx::query(on(
            side,
            "SELECT created_at_ms / $1 AS quarter, count(*) AS position FROM leads{s} \
             WHERE created_at_ms >= $2 AND created_at_ms < $3 GROUP BY quarter ORDER BY quarter",
        ))
        .bind(QUARTER_MS)
        .bind(from.0)
        .bind(to.0);
        let rows = self
            .bounded("count the calls of a period", query.fetch_all(&self.pool))
            .await?;
        rows.iter()
            .map(|row| {
                let quarter: i64 = get(row, "quarter")?;
                Ok((UnixMillis(quarter.saturating_mul(QUARTER_MS)), position_of(row)?))
            })
            .collect()
    }

    async fn oldest_on(&self, side: Side, status: Status) -> Result<Option<UnixMillis>, StoreError> {
        let query = sqlx::query_scalar(on(
            side,
            "SELECT min(created_at_ms) FROM leads{s} WHERE status = $1",
        ))
        .bind(status.token());
        let oldest: Option<i64> = self
            .bounded("read the oldest lead of a status", query.fetch_one(&self.pool))
            .await?;
        Ok(oldest.map(UnixMillis))
    }

    async fn newest_on(&self, side: Side) -> Result<u64, StoreError> {
        let query = sqlx::query(on(
            side,
            "SELECT greatest((SELECT max(position) FROM leads{s}), (SELECT max(position) FROM erased{s}), 0) AS position",
        ));
        let row = self
            .bounded("read the newest position", query.fetch_one(&self.pool))
            .await?;
        position_of(&row)
    }

    async fn unreadable_on(&self, side: Side, limit: u32) -> Result<Vec<UnreadableEvent>, StoreError> {
        let query = sqlx::query(on(
            side,
            "SELECT position, subject, reason, stored_at_ms FROM unreadable{s} ORDER BY position DESC LIMIT $1",
        ))
        .bind(i64::from(limit.clamp(1, 1_000)));
        let rows = self
            .bounded("read the unreadable events", query.fetch_all(&self.pool))
            .await?;
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

/// Rows without a search, one more than the limit. Not kept as a prepared statement: its form depends on the filter, and
/// its plan has to fit the values.
fn scan(side: Side, filter: &LeadFilter, limit: u32, cursor: Option<&Cursor>) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("SELECT l.lead, l.position FROM (");
    keys(&mut sql, side, filter, i64::from(limit) + 1, cursor);
    sql.push(
        side.sql(") AS k JOIN leads{s} l USING (call_sid) ORDER BY k.created_at_ms DESC, k.call_sid DESC"),
    );
    sql
}

/// What a filter finds, `limit` at most, from the newest down: `call_sid` and `created_at_ms`, merged from the filter's
/// shelves, each of which is one index.
fn keys(
    sql: &mut QueryBuilder<Postgres>,
    side: Side,
    filter: &LeadFilter,
    limit: i64,
    cursor: Option<&Cursor>,
) {
    let phone = filter.phone_match();
    sql.push("SELECT * FROM (");
    for (n, shelf) in filter.shelves().into_iter().enumerate() {
        sql.push(if n == 0 { "" } else { " UNION ALL " });
        sql.push(side.sql("(SELECT l.call_sid, l.created_at_ms FROM leads{s} l WHERE true"));
        match shelf {
            Shelf::All | Shelf::Phone => {}
            Shelf::Assignee(disposition) => {
                narrow_by_assignee(sql, filter);
                sql.push(" AND l.disposition = ").push_bind(disposition.token());
            }
            Shelf::Status(status, disposition) => {
                sql.push(" AND l.status = ").push_bind(status.token());
                sql.push(" AND l.disposition = ").push_bind(disposition.token());
            }
            Shelf::Disposition(disposition, seen) => {
                sql.push(" AND l.disposition = ").push_bind(disposition.token());
                sql.push(" AND l.seen = ").push_bind(seen);
            }
        }
        narrow_by_phone(sql, phone.as_ref());
        check(sql, filter, shelf);
        narrow_by_time(sql, "l", filter, cursor);
        sql.push(" ORDER BY l.created_at_ms DESC, l.call_sid DESC LIMIT ")
            .push_bind(limit)
            .push(")");
    }
    sql.push(") AS found ORDER BY created_at_ms DESC, call_sid DESC LIMIT ")
        .push_bind(limit);
}

impl PostgresStore {
    /// Rows that hold all words, one more than the limit.
    ///
    /// Few hits are taken from the index of words and put in order; many are met soon by walking from the newest lead
    /// down. Which it is, is found out by asking for one more than [`FEW_HITS`]: the planner's guess for beginnings of
    /// words it has no statistics of is wrong by orders of magnitude, so it is told which way to go.
    async fn search(
        &self,
        side: Side,
        filter: &LeadFilter,
        words: &[String],
        limit: u32,
        cursor: Option<&Cursor>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        let fold: i32 = sqlx::query_scalar("SELECT fold_version FROM projection WHERE id = 1")
            .fetch_one(&mut *tx)
            .await?;
        let marked = u32::try_from(fold).is_ok_and(|fold| fold >= MARKED_FROM_FOLD);
        let query = match_query(filter, words, marked);
        sqlx::raw_sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
            .execute(&mut *tx)
            .await?;
        let mut few = QueryBuilder::new(side.sql("SELECT w.call_sid FROM lead_words{s} w WHERE w.words @@ "));
        few.push_bind(query.clone()).push("::tsquery");
        narrow_by_time(&mut few, "w", filter, cursor);
        few.push(" LIMIT ").push_bind(FEW_HITS + 1);
        let hits: Vec<String> = few
            .build_query_scalar()
            .persistent(false)
            .fetch_all(&mut *tx)
            .await?;
        let walk = hits.len() as i64 > FEW_HITS;
        sqlx::raw_sql(if walk {
            "SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = off"
        } else {
            "SET LOCAL enable_indexscan = on"
        })
        .execute(&mut *tx)
        .await?;
        let mut sql = QueryBuilder::new("SELECT l.lead, l.position FROM ");
        let table = if walk {
            sql.push(side.sql("lead_words{s} w JOIN leads{s} l USING (call_sid) WHERE w.words @@ "))
                .push_bind(query)
                .push("::tsquery");
            "w"
        } else {
            sql.push(side.sql("leads{s} l WHERE l.call_sid = ANY ("))
                .push_bind(hits)
                .push(")");
            "l"
        };
        narrow_by_phone(&mut sql, filter.phone_match().as_ref());
        check(&mut sql, filter, Shelf::All);
        narrow_by_time(&mut sql, table, filter, cursor);
        sql.push(format_args!(
            " ORDER BY {table}.created_at_ms DESC, {table}.call_sid DESC LIMIT "
        ));
        sql.push_bind(i64::from(limit) + 1);
        let rows = sql.build().persistent(false).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(rows)
    }
}

fn narrow_by_phone(sql: &mut QueryBuilder<Postgres>, phone: Option<&PhoneMatch>) {
    let head = |text: &str| {
        text.chars()
            .filter(|c| *c != '\0')
            .take(PHONE_INDEXED)
            .collect::<String>()
    };
    match phone {
        Some(PhoneMatch::Exactly(phone)) => {
            sql.push(" AND left(l.phone, 64) = ").push_bind(head(phone));
            sql.push(" AND l.phone = ")
                .push_bind(phone.replace('\0', "\u{fffd}"));
        }
        Some(PhoneMatch::Tail(reversed)) => {
            // A colon is the character behind 9: everything that begins with these digits.
            let reversed = head(reversed);
            sql.push(" AND left(l.phone_reversed, 64) >= ")
                .push_bind(reversed.clone());
            sql.push(" AND left(l.phone_reversed, 64) < ")
                .push_bind(format!("{reversed}:"));
        }
        None => {}
    }
}

fn narrow_by_time(
    sql: &mut QueryBuilder<Postgres>,
    table: &str,
    filter: &LeadFilter,
    cursor: Option<&Cursor>,
) {
    if let Some(from) = filter.from {
        sql.push(format_args!(" AND {table}.created_at_ms >= "))
            .push_bind(from.0);
    }
    if let Some(to) = filter.to {
        sql.push(format_args!(" AND {table}.created_at_ms < "))
            .push_bind(to.0);
    }
    if let Some(cursor) = cursor {
        sql.push(format_args!(" AND ({table}.created_at_ms, {table}.call_sid) < ("));
        sql.push_bind(cursor.created_at.0)
            .push(", ")
            .push_bind(cursor.call_sid.as_str().to_owned())
            .push(")");
    }
}

fn narrow_by_assignee(sql: &mut QueryBuilder<Postgres>, filter: &LeadFilter) {
    if let Some(assignee) = &filter.assignee {
        let assignee = assignee.replace('\0', "\u{fffd}");
        let head: String = assignee.chars().take(ASSIGNEE_INDEXED).collect();
        sql.push(" AND left(l.assignee, 128) = ").push_bind(head);
        sql.push(" AND l.assignee = ").push_bind(assignee);
    }
}

/// What a shelf does not narrow, row by row.
fn check(sql: &mut QueryBuilder<Postgres>, filter: &LeadFilter, shelf: Shelf) {
    let statuses: Vec<_> = filter.statuses().iter().map(|status| status.token()).collect();
    let dispositions: Vec<_> = filter
        .dispositions()
        .iter()
        .map(|disposition| disposition.token())
        .collect();
    let of_shelf = match shelf {
        Shelf::All | Shelf::Phone => (false, false, false),
        Shelf::Assignee(_) => (false, true, false),
        Shelf::Status(..) => (true, true, false),
        Shelf::Disposition(..) => (false, true, true),
    };
    for (column, tokens, narrowed) in [
        ("status", statuses, of_shelf.0),
        ("disposition", dispositions, of_shelf.1),
    ] {
        if tokens.is_empty() || narrowed {
            continue;
        }
        sql.push(format_args!(" AND l.{column} IN ("));
        let mut list = sql.separated(", ");
        for token in tokens {
            list.push_bind(token);
        }
        sql.push(")");
    }
    if let (Some(seen), false) = (filter.seen, of_shelf.2) {
        sql.push(" AND l.seen = ").push_bind(seen);
    }
    if !matches!(shelf, Shelf::Assignee(_)) {
        narrow_by_assignee(sql, filter);
    }
}

/// The query for the index of words. Words are letters and digits only (`search.rs`), so quoting is enough. The text is a
/// query already: the parser of `to_tsquery` would cut words up by rules of its own.
fn match_query(filter: &LeadFilter, words: &[String], marked: bool) -> String {
    let mut parts: Vec<String> = words.iter().map(|word| format!("'{word}':*")).collect();
    if marked {
        parts.extend(filter_marks(filter).iter().map(|marks| {
            let each: Vec<String> = marks.iter().map(|mark| format!("'{mark}'")).collect();
            format!("({})", each.join(" | "))
        }));
    }
    parts.join(" & ")
}

pub(crate) fn get<'r, T>(row: &'r PgRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(column).map_err(|_| damaged(column))
}

pub(crate) fn projection(row: &PgRow) -> Result<Projection, StoreError> {
    Ok(Projection {
        identity: get(row, "identity")?,
        position: position_of(row)?,
        fold_version: u32::try_from(get::<i32>(row, "fold_version")?).map_err(|_| damaged("fold_version"))?,
        writer: get(row, "writer")?,
    })
}

fn lead(row: &PgRow) -> Result<Lead, StoreError> {
    Lead::from_row(get(row, "lead")?, position_of(row)?).map_err(|_| damaged("a lead's row is not one"))
}

fn position_of(row: &PgRow) -> Result<u64, StoreError> {
    u64::try_from(get::<i64>(row, "position")?).map_err(|_| damaged("a negative position"))
}

fn parse_status(row: &PgRow) -> Result<Status, StoreError> {
    status_of(get(row, "status")?)
}

fn status_of(token: &str) -> Result<Status, StoreError> {
    Status::from_token(token).ok_or_else(|| damaged("a status is not one"))
}
