//! The queue: newest first.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use callfold_lead::{Disposition, Lead, Status};
use callfold_store::LeadFilter;
use jiff::tz::TimeZone;

use super::row::{NumberView, RowView};
use super::{Frame, Viewer, html, unless_known};
use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::query::ListQuery;
use crate::routes::leads::list::read_page;
use crate::words::{Words, fill};

/// Up to how many leads that nobody looked at are counted.
const UNREAD_MAX: u32 = 100;

/// A list to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    /// What needs doing.
    New,
    /// What is assigned to who looks, and not done.
    Mine,
    CalledBack,
    Done,
    All,
    NoMessage,
    Failed,
    Spam,
}

impl Tab {
    const ALL: [Self; 8] = [
        Self::New,
        Self::Mine,
        Self::CalledBack,
        Self::Done,
        Self::All,
        Self::NoMessage,
        Self::Failed,
        Self::Spam,
    ];

    fn token(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Mine => "mine",
            Self::CalledBack => "called_back",
            Self::Done => "done",
            Self::All => "all",
            Self::NoMessage => "no_message",
            Self::Failed => "failed",
            Self::Spam => "spam",
        }
    }

    fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tab| tab.token() == token)
    }

    fn label(self, w: &Words) -> &'static str {
        match self {
            Self::New => w.queue.tab_new,
            Self::Mine => w.queue.tab_mine,
            Self::CalledBack => w.queue.tab_called_back,
            Self::Done => w.queue.tab_done,
            Self::All => w.queue.filter_all,
            Self::NoMessage => w.queue.filter_no_message,
            Self::Failed => w.queue.filter_failed,
            Self::Spam => w.queue.tab_spam,
        }
    }

    /// Narrows a filter to what the tab shows.
    fn narrow(self, filter: &mut LeadFilter, person: Option<&str>) {
        match self {
            Self::New => filter.disposition = vec![Disposition::Open],
            Self::Mine => {
                filter.disposition = vec![Disposition::Open, Disposition::CalledBack];
                // Nobody is called by no name.
                filter.assignee = Some(person.unwrap_or_default().to_owned());
            }
            Self::CalledBack => filter.disposition = vec![Disposition::CalledBack],
            Self::Done => filter.disposition = vec![Disposition::Done],
            Self::All => {}
            Self::NoMessage => filter.status = vec![Status::NoMessage],
            Self::Failed => filter.status = vec![Status::Failed],
            Self::Spam => filter.disposition = vec![Disposition::Spam],
        }
    }
}

/// Which list a page shows: what stands in its address, as it was written there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageQuery {
    /// The filters of the API that were given.
    list: ListQuery,
    tab: Option<Tab>,
    /// Days, for the fields they were chosen in.
    from: Option<String>,
    to: Option<String>,
}

impl PageQuery {
    /// Reads the query of an address: the filters of the API, and `tab`.
    pub(crate) fn parse(query: Option<&str>, zone: &TimeZone) -> Result<Self, ApiError> {
        let mut page = Self {
            list: ListQuery::parse(query, zone)?,
            ..Self::default()
        };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let value = value.trim();
            match &*name {
                _ if value.is_empty() => {}
                "tab" => {
                    page.tab = Some(Tab::from_token(value).ok_or(ApiError::BadQuery(
                        "tab is new, mine, called_back, done, all, no_message, failed or spam",
                    ))?);
                }
                "from" => page.from = Some(value.to_owned()),
                "to" => page.to = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(page)
    }

    /// The tab that is shown. A search looks everywhere unless a tab was chosen, and so do filters of the API.
    fn tab(&self) -> Tab {
        let LeadFilter {
            status,
            q,
            phone,
            disposition,
            assignee,
            seen,
            from: _,
            to: _,
        } = &self.list.filter;
        let looks_for_something = q.is_some()
            || phone.is_some()
            || assignee.is_some()
            || seen.is_some()
            || !status.is_empty()
            || !disposition.is_empty();
        self.tab
            .unwrap_or(if looks_for_something { Tab::All } else { Tab::New })
    }

    /// What is read.
    pub(crate) fn wanted(&self, viewer: &Viewer) -> ListQuery {
        let mut list = self.list.clone();
        self.tab().narrow(&mut list.filter, viewer.person.as_deref());
        list
    }

    /// Its address under `path`, with another tab or place where they are given.
    fn address(&self, path: &str, tab: Option<Tab>, cursor: Option<&str>) -> String {
        let LeadFilter {
            status,
            q,
            phone,
            disposition,
            assignee,
            seen,
            from: _,
            to: _,
        } = &self.list.filter;
        let joined = |tokens: Vec<&'static str>| (!tokens.is_empty()).then(|| tokens.join(","));
        let given = [
            ("tab", tab.or(self.tab).map(|tab| tab.token().to_owned())),
            ("q", q.clone()),
            ("phone", phone.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            (
                "status",
                joined(status.iter().map(|status| status.token()).collect()),
            ),
            (
                "disposition",
                joined(
                    disposition
                        .iter()
                        .map(|disposition| disposition.token())
                        .collect(),
                ),
            ),
            ("assignee", assignee.clone()),
            ("seen", seen.map(|seen| seen.to_string())),
            ("cursor", cursor.map(str::to_owned)),
        ];
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in given {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        let query = query.finish();
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        }
    }
}

/// A tab as it is shown.
pub(crate) struct ChipView {
    pub(crate) href: String,
    pub(crate) label: &'static str,
    pub(crate) current: bool,
    /// Counts what nobody looked at.
    pub(crate) counts: bool,
}

/// The queue with its tools.
pub(crate) struct QueueView {
    pub(crate) rows: Vec<RowView>,
    pub(crate) search: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// What the search keeps: the tab and the filters that have no field.
    pub(crate) kept: Vec<(&'static str, String)>,
    /// Why there is nothing, should there be nothing.
    pub(crate) empty: &'static str,
    pub(crate) empty_how: Option<&'static str>,
    /// Whether search or dates narrow.
    pub(crate) narrowed: bool,
    pub(crate) chips: Vec<ChipView>,
    /// How many open leads nobody looked at, in digits; empty for none.
    pub(crate) unread: String,
    /// The same in words.
    pub(crate) unread_words: String,
    /// This list.
    pub(crate) home: String,
    /// The tab without search and dates.
    pub(crate) clear: String,
    /// Where the script reads the same rows again.
    pub(crate) fragment: String,
    pub(crate) export: String,
    pub(crate) older: Option<String>,
    pub(crate) newest: Option<String>,
}

fn chips(query: &PageQuery, f: &Frame) -> Vec<ChipView> {
    let shown = query.tab();
    // A tab leads to its list whatever the filters of the API were, and keeps what was searched for.
    let plain = PageQuery {
        list: ListQuery {
            filter: LeadFilter {
                q: query.list.filter.q.clone(),
                phone: query.list.filter.phone.clone(),
                ..LeadFilter::default()
            },
            ..ListQuery::default()
        },
        tab: None,
        from: query.from.clone(),
        to: query.to.clone(),
    };
    Tab::ALL
        .into_iter()
        .filter(|tab| *tab != Tab::Mine || f.viewer.person.is_some())
        .map(|tab| {
            // The address of the first list is the shortest one.
            let named = plain.tab() != tab;
            ChipView {
                href: plain.address("/", named.then_some(tab), None),
                label: tab.label(f.w),
                current: tab == shown,
                counts: tab == Tab::New,
            }
        })
        .collect()
}

/// Reads what the queue shows.
pub(crate) async fn read_queue(app: &AppState, query: &PageQuery, f: &Frame) -> Result<QueueView, ApiError> {
    let wanted = query.wanted(&f.viewer);
    let page = read_page(app, &wanted).await?;
    let unread = LeadFilter {
        disposition: vec![Disposition::Open],
        seen: Some(false),
        ..LeadFilter::default()
    };
    let unread = app
        .leads
        .count(&unread, UNREAD_MAX)
        .await
        .map_err(ApiError::Store)?;
    let unread = match unread {
        0 => String::new(),
        UNREAD_MAX.. => format!("{}+", UNREAD_MAX - 1),
        more => more.to_string(),
    };
    let words = wanted.filter.words().unwrap_or_default();
    let earlier = earlier(app, &page.leads).await?;
    let cursor = query.list.cursor.as_deref();
    let list = query.address("", None, cursor);
    let tab = query.tab();
    let plain = PageQuery {
        tab: query.tab,
        ..PageQuery::default()
    };
    let filter = &query.list.filter;
    let narrowed = *filter != LeadFilter::default();
    let w = &f.w.queue;
    let mut kept: Vec<(&'static str, String)> = Vec::new();
    kept.extend(query.tab.map(|tab| ("tab", tab.token().to_owned())));
    kept.extend(filter.phone.clone().map(|phone| ("phone", phone)));
    Ok(QueueView {
        rows: page
            .leads
            .iter()
            .zip(earlier)
            .map(|(lead, earlier)| RowView::of(lead, &words, earlier, &list, f))
            .collect(),
        search: filter.q.clone().unwrap_or_default(),
        from: query.from.clone().unwrap_or_default(),
        to: query.to.clone().unwrap_or_default(),
        kept,
        empty: match tab {
            _ if narrowed => w.empty_search,
            Tab::New => w.empty,
            Tab::Mine => w.empty_mine,
            Tab::CalledBack | Tab::Done | Tab::All | Tab::NoMessage | Tab::Failed | Tab::Spam => w.empty_tab,
        },
        empty_how: narrowed.then_some(w.empty_search_how),
        narrowed,
        chips: chips(query, f),
        unread_words: fill(w.unread_count, &unread),
        unread,
        home: query.address("/", None, cursor),
        clear: plain.address("/", None, None),
        fragment: query.address("/fragments/list", None, cursor),
        export: query.address("/leads.csv", Some(tab), None),
        older: page
            .next_cursor
            .map(|cursor| query.address("/", None, Some(&cursor))),
        newest: cursor.map(|_| query.address("/", None, None)),
    })
}

/// How many calls came before from the numbers of these leads; numbers that nobody can be told by count as none.
async fn earlier(app: &AppState, leads: &[Lead]) -> Result<Vec<u32>, ApiError> {
    let known: Vec<&Lead> = leads
        .iter()
        .filter(|lead| !NumberView::of(&lead.phone).withheld)
        .collect();
    let mut counts = app
        .leads
        .earlier(&known)
        .await
        .map_err(ApiError::Store)?
        .into_iter();
    let mut known = known.into_iter().peekable();
    Ok(leads
        .iter()
        .map(
            |lead| match known.next_if(|next| next.call_sid == lead.call_sid) {
                Some(_) => counts.next().unwrap_or_default(),
                None => 0,
            },
        )
        .collect())
}

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    f: Frame,
    q: QueueView,
}

#[derive(Template)]
#[template(path = "rows_fragment.html")]
struct RowsFragment {
    f: Frame,
    q: QueueView,
}

/// `GET /`
pub(crate) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = PageQuery::parse(query.as_deref(), &app.timezone)?;
    // Before the rows: what changes in between is told again, which is harmless.
    let f = Frame::live(&app, &viewer, app.position().await?);
    let q = read_queue(&app, &query, &f).await?;
    Ok(html(&ListPage { f, q })?.into_response())
}

/// `GET /fragments/list`: the rows alone, for live updates. Who has them already is told so (`ETag`).
pub(crate) async fn fragment(
    State(app): State<App>,
    viewer: Viewer,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = PageQuery::parse(query.as_deref(), &app.timezone)?;
    let f = Frame::still(&app, &viewer);
    let q = read_queue(&app, &query, &f).await?;
    Ok(unless_known(&headers, html(&RowsFragment { f, q })?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;
    use crate::words::Language;

    fn page(query: &str) -> PageQuery {
        PageQuery::parse(Some(query), &TimeZone::UTC).unwrap()
    }

    fn wanted(query: &str) -> LeadFilter {
        let viewer = Viewer {
            language: Language::Hebrew,
            person: Some("dana".to_owned()),
            who: None,
        };
        page(query).wanted(&viewer).filter
    }

    #[test]
    fn the_first_list_is_what_needs_doing_and_a_search_looks_everywhere() {
        assert_eq!(wanted("").disposition, [Disposition::Open]);
        assert_eq!(wanted("from=2026-11-22").disposition, [Disposition::Open]);
        assert!(wanted("q=dana").disposition.is_empty());
        assert_eq!(wanted("q=dana&tab=new").disposition, [Disposition::Open]);
        assert_eq!(wanted("status=failed").status, [Status::Failed]);
        assert!(wanted("status=failed").disposition.is_empty());
        let mine = wanted("tab=mine&q=dana");
        assert_eq!(mine.assignee.as_deref(), Some("dana"));
        assert_eq!(mine.disposition, [Disposition::Open, Disposition::CalledBack]);
        assert_eq!(wanted("tab=all"), LeadFilter::default());
        assert!(PageQuery::parse(Some("tab=other"), &TimeZone::UTC).is_err());
    }

    #[test]
    fn the_address_of_a_list_says_what_it_shows() {
        for query in [
            "",
            "tab=mine",
            "tab=all&q=%D7%93+%26&from=2026-11-22&to=2026-11-23",
            "phone=%2B97250&status=new,failed&disposition=open&assignee=a&seen=false&cursor=abc",
        ] {
            let page = page(query);
            let address = page.address("/", None, page.list.cursor.as_deref());
            let given = address.strip_prefix("/?").unwrap_or_default();
            assert_eq!(
                PageQuery::parse(Some(given), &TimeZone::UTC).unwrap(),
                page,
                "{query}"
            );
        }
    }
}
