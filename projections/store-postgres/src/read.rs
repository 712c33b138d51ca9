//! Reading.

use async_trait::async_trait;
use callfold_lead::{Lead, LeadState, Status};
use callfold_schema::{CallSid, UnixMillis};
use callfold_store::read::PhoneMatch;
use callfold_store::{
    Cursor, LIMIT_MAX, LeadChange, LeadFilter, Page, Projection, ReadLeads, StoreError, UnreadableEvent,
};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row as _};

use crate::PostgresStore;
use crate::error::damaged;
use crate::write::signed;

/// What the indexes of numbers keep of one, in characters (see the migration).
const PHONE_INDEXED: usize = 64;
/// Up to how many hits a search takes them all and sorts.
const FEW_HITS: i64 = 3_000;

#[async_trait]
impl ReadLeads for PostgresStore {
    async fn lead(&self, call_sid: &CallSid) -> Result<Option<Lead>, StoreError> {
        let query =
            sqlx::query("SELECT lead, position FROM leads WHERE call_sid = $1").bind(call_sid.as_str());
        let row = self
            .bounded("read a lead", query.fetch_optional(&self.pool))
            .await?;
        row.as_ref().map(lead).transpose()
    }

    async fn list(&self, filter: &LeadFilter, limit: u32, cursor: Option<&str>) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, LIMIT_MAX);
        let cursor = cursor.map(Cursor::decode).transpose()?;
        let rows = match filter.words() {
            Some(words) if words.is_empty() => Vec::new(),
            Some(words) => {
                self.bounded(
                    "search the leads",
                    Box::pin(self.search(filter, &words, limit, cursor.as_ref())),
                )
                .await?
            }
            None => {
                let mut sql = scan(filter, limit, cursor.as_ref());
                let rows = sql.build().persistent(false).fetch_all(&self.pool);
                self.bounded("list the leads", rows).await?
            }
        };
        let leads = rows.iter().map(lead).collect::<Result<_, _>>()?;
        Ok(Page::cut(leads, limit))
    }

    async fn changes_since(&self, position: u64, limit: u32) -> Result<Vec<LeadChange>, StoreError> {
        let query = sqlx::query(
            "(SELECT call_sid, status, position FROM leads WHERE position > $1 ORDER BY position LIMIT $2) \
             UNION ALL \
             (SELECT call_sid, NULL, position FROM erased WHERE position > $1 ORDER BY position LIMIT $2) \
             ORDER BY position LIMIT $2",
        )
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

    async fn state(&self, call_sid: &CallSid) -> Result<Option<LeadState>, StoreError> {
        let query = sqlx::query_scalar(
            "SELECT state FROM leads WHERE call_sid = $1 UNION ALL SELECT state FROM erased WHERE call_sid = $1",
        )
        .bind(call_sid.as_str());
        let state: Option<Vec<u8>> = self
            .bounded("read the events of a lead", query.fetch_optional(&self.pool))
            .await?;
        Ok(state.map(|state| LeadState::from_bytes(&state)).transpose()?)
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        let query = sqlx::query("SELECT status, leads AS position FROM lead_counts WHERE leads > 0");
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

    async fn newest_position(&self) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "SELECT greatest((SELECT max(position) FROM leads), (SELECT max(position) FROM erased), 0) AS position",
        );
        let row = self
            .bounded("read the newest position", query.fetch_one(&self.pool))
            .await?;
        position_of(&row)
    }

    async fn projection(&self) -> Result<Projection, StoreError> {
        let query =
            sqlx::query("SELECT identity, position, fold_version, writer FROM projection WHERE id = 1");
        let row = self
            .bounded("read the position", query.fetch_one(&self.pool))
            .await?;
        projection(&row)
    }

    async fn unreadable(&self, limit: u32) -> Result<Vec<UnreadableEvent>, StoreError> {
        let query = sqlx::query(
            "SELECT position, subject, reason, stored_at_ms FROM unreadable ORDER BY position DESC LIMIT $1",
        )
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
/// its plan has to fit the values. Each status is read for itself, from its own index and in order, so
/// that a rare one does not mean a walk through all leads.
fn scan(filter: &LeadFilter, limit: u32, cursor: Option<&Cursor>) -> QueryBuilder<Postgres> {
    let phone = filter.phone_match();
    let statuses = filter.statuses();
    let each: Vec<Option<Status>> = if statuses.is_empty() || phone.is_some() {
        vec![None]
    } else {
        statuses.iter().copied().map(Some).collect()
    };
    let mut sql = QueryBuilder::new("SELECT lead, position FROM (");
    for (n, status) in each.iter().enumerate() {
        sql.push(if n == 0 { "" } else { " UNION ALL " });
        sql.push("(SELECT l.lead, l.position, l.created_at_ms, l.call_sid FROM leads l WHERE true");
        if let Some(status) = status {
            sql.push(" AND l.status = ").push_bind(status.token());
        }
        narrow_by_phone(&mut sql, phone.as_ref());
        if phone.is_some() {
            narrow_by_status(&mut sql, &statuses);
        }
        narrow_by_time(&mut sql, "l", filter, cursor);
        sql.push(" ORDER BY l.created_at_ms DESC, l.call_sid DESC LIMIT ")
            .push_bind(i64::from(limit) + 1)
            .push(")");
    }
    sql.push(") AS found ORDER BY created_at_ms DESC, call_sid DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    sql
}

impl PostgresStore {
    /// Rows that hold all words, one more than the limit.
    ///
    /// Few hits are taken from the index of words and put in order; many are met soon by walking from the newest lead
    /// down. Which it is, is found out by asking for one more than [`FEW_HITS`]: the planner's guess for beginnings of
    /// words it has no statistics of is wrong by orders of magnitude, so it is told which way to go.
    async fn search(
        &self,
        filter: &LeadFilter,
        words: &[String],
        limit: u32,
        cursor: Option<&Cursor>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        // Words are letters and digits only (`search.rs`), so quoting is enough. The text is a query already: the
        // parser of `to_tsquery` would cut words up by rules of its own.
        let query = words
            .iter()
            .map(|word| format!("'{word}':*"))
            .collect::<Vec<_>>()
            .join(" & ");
        let mut tx = self.pool.begin().await?;
        sqlx::raw_sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
            .execute(&mut *tx)
            .await?;
        let mut few = QueryBuilder::new("SELECT w.call_sid FROM lead_words w WHERE w.words @@ ");
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
            sql.push("lead_words w JOIN leads l USING (call_sid) WHERE w.words @@ ")
                .push_bind(query)
                .push("::tsquery");
            "w"
        } else {
            sql.push("leads l WHERE l.call_sid = ANY (")
                .push_bind(hits)
                .push(")");
            "l"
        };
        narrow_by_phone(&mut sql, filter.phone_match().as_ref());
        narrow_by_status(&mut sql, &filter.statuses());
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

fn narrow_by_status(sql: &mut QueryBuilder<Postgres>, statuses: &[Status]) {
    if statuses.is_empty() {
        return;
    }
    sql.push(" AND l.status IN (");
    let mut list = sql.separated(", ");
    for status in statuses {
        list.push_bind(status.token());
    }
    sql.push(")");
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
