//! Every path, in one list: the router is made of it, and a test holds the description against it.

pub(crate) mod events;
pub(crate) mod language;
pub(crate) mod leads;
pub(crate) mod openapi;
pub(crate) mod signin;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use callfold_kit::chain::chain;
use callfold_kit::metric::{CounterName, HistogramName};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use crate::app::App;
use crate::error::ApiError;
use crate::{assets, auth, page};

/// Nothing inline, nothing from elsewhere, in nobody's frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The API: path and handler. The order is that of the description.
pub(crate) fn api_routes() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/api/v1/leads", get(leads::list::list)),
        ("/api/v1/leads.csv", get(leads::export::export)),
        (
            "/api/v1/leads/{call_sid}",
            get(leads::get::lead)
                .patch(leads::patch::patch)
                .delete(leads::delete::erase),
        ),
        ("/api/v1/leads/{call_sid}/events", get(leads::events::story)),
        ("/api/v1/leads/{call_sid}/compare", get(leads::compare::compare)),
        (
            "/api/v1/leads/{call_sid}/reprocess",
            post(leads::reprocess::reprocess),
        ),
        (
            "/api/v1/leads/{call_sid}/recordings/{recording_sid}",
            get(leads::recording::recording),
        ),
        ("/api/v1/events", get(events::follow)),
        ("/api/v1/operation", get(page::operation::json)),
        ("/api/openapi.json", get(openapi::description)),
    ]
}

/// Pages and fragments, for people.
fn page_routes() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/", get(page::list)),
        ("/fragments/list", get(page::list_fragment)),
        ("/leads.csv", get(page::export)),
        ("/leads/{call_sid}", get(page::detail)),
        ("/leads/{call_sid}/card", get(page::card_fragment)),
        ("/leads/{call_sid}/change", post(page::change)),
        ("/leads/{call_sid}/rerun", post(page::rerun)),
        (
            "/leads/{call_sid}/erase",
            get(page::ask_to_erase).post(page::erase),
        ),
        ("/leads/{call_sid}/story", get(page::story)),
        ("/leads/{call_sid}/compare", get(page::compare)),
        (
            "/leads/{call_sid}/recordings/{recording_sid}/peaks",
            get(page::peaks),
        ),
        ("/signout", post(signin::sign_out)),
        ("/operation", get(page::operation::show)),
        ("/operation/rerun", post(page::operation::rerun)),
        ("/people", get(page::people::list)),
        ("/people/add", post(page::people::add)),
        ("/people/role", post(page::people::role)),
        ("/people/password", post(page::people::password)),
        ("/people/remove", post(page::people::remove)),
        ("/people/link", post(page::people::link)),
        ("/people/sessions/end", post(page::people::end_session)),
        ("/settings", get(page::settings::show)),
        ("/settings/choices", post(page::settings::choices)),
        ("/settings/password", post(page::settings::password)),
        ("/settings/sessions/end", post(page::settings::end_session)),
        ("/settings/push", post(page::settings::subscribe)),
        ("/settings/push/remove", post(page::settings::unsubscribe)),
    ]
}

/// The whole router.
pub(crate) fn router(app: App) -> Router {
    let with = |routes: Vec<(&'static str, MethodRouter<App>)>| {
        routes.into_iter().fold(Router::new(), |router, (path, handler)| {
            router.route(path, handler)
        })
    };
    let signed_in = middleware::from_fn_with_state(Arc::clone(&app), auth::require);
    let own_forms = middleware::from_fn_with_state(Arc::clone(&app), auth::own_forms_only);
    let as_page = middleware::from_fn_with_state(Arc::clone(&app), page::as_page);

    let api = with(api_routes())
        .route("/api/{*rest}", axum::routing::any(no_such_path))
        .route_layer(signed_in.clone())
        // A session's cookie comes with requests that other sites send.
        .route_layer(own_forms.clone())
        .method_not_allowed_fallback(method_not_allowed);
    let pages = with(page_routes())
        .route_layer(signed_in)
        .route("/signin", get(signin::show).post(signin::sign_in))
        .route("/language", post(language::choose))
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(own_forms)
        .fallback(no_such_path)
        .layer(as_page);
    Router::new()
        .merge(api)
        .merge(pages)
        .route("/assets/{name}", get(assets::serve))
        .route("/sw.js", get(assets::service_worker))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), observe))
        .layer(compressed())
        .with_state(app)
}

/// Answers are compressed, but for audio, which is, and for live updates, which would wait in the compressor.
///
/// An answer's length tells nothing of what lets somebody in: that stands in cookies and in links that were used. The token
/// of forms stands in pages, beside what a stranger may choose; it is a second lock, behind where a form comes from.
fn compressed() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().compress_when(DefaultPredicate::new().and(NotForContentType::const_new("audio/")))
}

async fn no_such_path() -> ApiError {
    ApiError::NotFound("There is no such path.")
}

async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// Around everything: security headers, metrics, and one line for each answer that failed for a reason of ours.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let call_id = call_id(request.uri().path()).to_owned();
    let started = Instant::now();
    let mut response = next.run(request).await;

    let status = response.status();
    let class = format!("{}xx", status.as_u16() / 100);
    app.metrics
        .count(CounterName::ApiRequests, &[("route", &route), ("status", &class)]);
    app.metrics.observe(
        HistogramName::ApiSeconds,
        &[("route", &route)],
        started.elapsed().as_secs_f64(),
    );
    if let Some(error) = response.extensions_mut().remove::<Arc<ApiError>>()
        && status.is_server_error()
    {
        tracing::error!(call.id = call_id, route, status = status.as_u16(), error = %chain(&*error), "request failed");
    }

    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    // With `no-referrer` browsers send `Origin: null` with the forms of a page, and the check of where a form comes
    // from would refuse our own; `same-origin` tells other sites just as little.
    set(
        header::REFERRER_POLICY,
        if is_page { "same-origin" } else { "no-referrer" },
    );
    if !headers
        .get(header::CACHE_CONTROL)
        .is_some_and(|value| value.as_bytes().ends_with(b"immutable"))
    {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The call that a path is about, for the log; empty where there is none.
fn call_id(path: &str) -> &str {
    let behind = path.split_once("/leads/").map_or("", |(_, rest)| rest);
    let segment = behind.split('/').next().unwrap_or_default();
    if callfold_schema::CallSid::parse(segment).is_ok() {
        segment
    } else {
        ""
    }
}
