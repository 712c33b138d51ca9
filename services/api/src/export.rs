//! Leads as a table for spreadsheets and programs: CSV as RFC 4180 has it, in UTF-8 with a mark at the beginning by which
//! spreadsheets know it, read and sent page by page.
//!
//! A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`, and drops zeros and digits of what looks like a number.
//! What callers said, and their numbers, begin so. Such a cell gets an apostrophe in front, by which spreadsheets take it as
//! text; a cell that begins with an apostrophe gets another one. So the first apostrophe of a cell is always ours, and a
//! program that drops it has the text.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use callfold_kit::chain::chain;
use callfold_lead::Lead;
use callfold_store::{LIMIT_MAX, Page};
use futures::stream;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::error::ApiError;
use crate::query::ListQuery;
use crate::routes::leads::list::read_page;

/// How many tables are sent at once.
pub(crate) const EXPORTS_MAX: usize = 4;
/// From how many digits on a spreadsheet shows a number by its power of ten.
const DIGITS_SHOWN_MAX: usize = 11;
/// Tells a spreadsheet that the table is in UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// What the columns of a table are called, and what stands in them.
pub(crate) trait Table: Send + Sync + 'static {
    /// The first row.
    fn head(&self) -> Vec<String>;
    /// The row of a lead.
    fn row(&self, lead: &Lead) -> Vec<String>;
}

/// Where a table is.
struct Progress<T> {
    app: App,
    query: ListQuery,
    table: T,
    /// What is written next; `None` behind the last page.
    next: Option<Page>,
    head: Option<Vec<String>>,
    _slot: OwnedSemaphorePermit,
}

/// All leads of a query, whatever its limit says. `file` is the name that is proposed for it, of ASCII letters, digits,
/// hyphens and dots. An error behind the first page ends the answer before its end, which the client sees.
pub(crate) async fn csv(
    app: &App,
    mut query: ListQuery,
    table: impl Table,
    file: &str,
) -> Result<Response, ApiError> {
    let slot = Arc::clone(&app.exports)
        .try_acquire_owned()
        .map_err(|_| ApiError::TooManyExports)?;
    query.limit = LIMIT_MAX;
    let first = read_page(app, &query).await?;
    let progress = Progress {
        app: Arc::clone(app),
        query,
        head: Some(table.head()),
        table,
        next: Some(first),
        _slot: slot,
    };
    let parts = stream::try_unfold(progress, async |mut progress| {
        let Some(page) = progress.next.take() else {
            return Ok(None);
        };
        let part = progress.write(&page)?;
        if let Some(cursor) = page.next_cursor {
            progress.query.cursor = Some(cursor);
            let next = read_page(&progress.app, &progress.query).await;
            progress.next = Some(next.map_err(|error| {
                tracing::error!(error = %chain(&error), "a table of leads was broken off");
                io::Error::other("the leads cannot be read")
            })?);
        }
        Ok::<_, io::Error>(Some((part, progress)))
    });
    let mut response = Body::from_stream(parts).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
    );
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{file}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

impl<T: Table> Progress<T> {
    fn write(&mut self, page: &Page) -> io::Result<Bytes> {
        let mut out = Vec::new();
        let head = self.head.take();
        if head.is_some() {
            out.extend_from_slice(BYTE_ORDER_MARK.as_bytes());
        }
        write_rows(
            &mut out,
            head.into_iter()
                .chain(page.leads.iter().map(|lead| self.table.row(lead))),
        )?;
        Ok(out.into())
    }
}

fn write_rows(out: &mut Vec<u8>, rows: impl Iterator<Item = Vec<String>>) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .flexible(false)
        .from_writer(out);
    for row in rows {
        writer
            .write_record(row.iter().map(|text| as_text(text).into_owned()))
            .map_err(io::Error::other)?;
    }
    writer.flush()
}

/// A cell that a spreadsheet takes as the text it is.
fn as_text(text: &str) -> Cow<'_, str> {
    let begins_a_formula = text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    let is_odd = text.starts_with(['\'', '\t', '\r', '\n']);
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let loses_digits =
        is_number && text.len() > 1 && (text.starts_with('0') || text.len() > DIGITS_SHOWN_MAX);
    if begins_a_formula || is_odd || loses_digits {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_that_a_spreadsheet_would_run_or_shorten_are_text() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("  =cmd", "'  =cmd"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-5", "'-5"),
            ("\t=1", "'\t=1"),
            ("＝1", "'＝1"),
            ("+972501234567", "'+972501234567"),
            ("0501234567", "'0501234567"),
            ("972501234567", "'972501234567"),
            ("'quoted", "''quoted"),
            ("050-123-4567", "050-123-4567"),
            ("0", "0"),
            ("24", "24"),
            ("שלום, \"דנה\"", "שלום, \"דנה\""),
            ("", ""),
        ] {
            assert_eq!(as_text(text), cell);
        }
    }

    #[test]
    fn lines_end_as_the_standard_says_and_quotes_are_doubled() {
        let mut out = Vec::new();
        let row = ["a", "ב, ג", "say \"x\"", "two\nlines"]
            .map(str::to_owned)
            .to_vec();
        write_rows(&mut out, [row.clone(), row].into_iter()).unwrap();
        let line = "a,\"ב, ג\",\"say \"\"x\"\"\",\"two\nlines\"\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), line.repeat(2));
    }

    proptest! {
        #[test]
        fn a_table_reads_back_whatever_was_said(
            rows in prop::collection::vec(prop::collection::vec("[=+\\-@'\"\\r\\n\\t,;0-9a-zא-ת\u{feff}\u{200f} ]{0,12}|\\PC{0,8}", 3), 1..6)
        ) {
            let mut out = BYTE_ORDER_MARK.as_bytes().to_vec();
            write_rows(&mut out, rows.clone().into_iter()).unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
            let read: Vec<Vec<String>> = reader
                .records()
                .map(|record| record.unwrap().iter().map(|cell| cell.strip_prefix('\'').unwrap_or(cell).to_owned()).collect())
                .collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn no_cell_begins_as_a_formula(text in "[ \\t\\r\\n]{0,3}[=+\\-@＝＋－＠]?.{0,8}") {
            let cell = as_text(&text).into_owned();
            prop_assert!(!cell.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']), "{cell:?}");
            prop_assert!(!cell.starts_with(['\t', '\r', '\n']), "{cell:?}");
        }
    }
}
