//! HTTP in both directions: how clients are made, how routers are served, and what every process answers.

use std::sync::Once;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::health::Health;
use crate::lifecycle::{BoxError, Lifecycle};
use crate::metric::Metrics;

pub mod answer;

/// How long a connection to another server may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Chooses the TLS implementation of the process, once.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the process chose one before: that one serves as well.
        if rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
        {
            tracing::debug!("a TLS provider was installed before");
        }
    });
}

/// A client that does not follow redirects and gives up on a connection in time. Callers bound the whole request.
pub fn client_builder() -> reqwest::ClientBuilder {
    install_tls();
    #[expect(clippy::disallowed_methods, reason = "the one place where clients are made")]
    let builder = reqwest::Client::builder();
    builder
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("callfold/", env!("CARGO_PKG_VERSION")))
}

/// Serves until the soft stop, then lets requests in hand finish. The hard stop only ends the waiting for them: each
/// connection has a task of its own, which goes on until the process ends and takes it along.
pub async fn serve(listener: TcpListener, router: Router, lifecycle: Lifecycle) -> Result<(), BoxError> {
    let soft = lifecycle.soft();
    let hard = lifecycle.hard();
    let served = axum::serve(
        listener,
        router.into_make_service_with_connect_info::<std::net::SocketAddr>(),
    )
    .with_graceful_shutdown(async move { soft.cancelled().await });
    tokio::select! {
        // Dropping the server stops listening; connections that are left end with the process.
        ended = std::future::IntoFuture::into_future(served) => ended.map_err(Into::into),
        () = hard.cancelled() => Ok(()),
    }
}

#[derive(Clone)]
struct Ops {
    health: Health,
    metrics: Metrics,
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn ops_router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Ops { health, metrics })
}

async fn readyz(State(ops): State<Ops>) -> Response {
    let readiness = ops.health.readiness();
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness)).into_response()
}

async fn render(State(ops): State<Ops>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], ops.metrics.render()).into_response()
}
