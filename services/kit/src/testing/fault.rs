//! Servers that misbehave: an answer can come late, in half, or not at all.
//!
//! A double of somebody's server is a router in a [`TestServer`]. Its handlers answer as the real one does;
//! [`Fault::on`] marks an answer with what happens to it on its way. That is done below HTTP, so the client meets what
//! it meets on a bad line.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use futures::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Largest answer that is cut in the middle, in bytes.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What happens to an answer on its way.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection ends before a byte of the answer.
    CutBeforeHead,
    /// The head announces the whole body; the connection ends after half of it.
    CutInBody,
    /// Half of the body is all there is, and the answer ends as if that were right.
    HalfBody,
    /// Nothing comes for as long as the client waits.
    Hang,
    /// The head and half of the body come, then nothing for as long as the client waits.
    StallInBody,
    /// The answer comes whole when the token is cancelled.
    Held(CancellationToken),
}

impl Fault {
    /// Marks an answer. Only a [`TestServer`] acts on it.
    pub fn on(self, answer: impl IntoResponse) -> Response {
        let mut answer = answer.into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

/// A server on a free port of the loopback interface, gone with this value: then also the connections break that
/// clients kept.
pub struct TestServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    served: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    down: AtomicBool,
    in_flight: AtomicUsize,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shared.down.store(true, Ordering::SeqCst);
        self.served.abort();
    }
}

impl TestServer {
    /// Serves `router`. Panics where there is no free port.
    pub async fn start(router: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::<Shared>::default();
        let router = router.layer(from_fn_with_state(Arc::clone(&shared), meet));
        let listener = Lines {
            listener,
            shared: Arc::clone(&shared),
        };
        let served = tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<Line>();
            axum::serve(listener, service)
                .await
                .expect("serving does not end");
        });
        Self {
            address,
            shared,
            served,
        }
    }

    /// `http://127.0.0.1:…`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests that are neither answered nor given up by their clients.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }
}

/// Counts a request as long as it lives; hyper drops the work on a request whose client went away.
struct InFlight(Arc<Shared>);

impl InFlight {
    fn new(shared: Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn meet(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
    next: Next,
) -> Response {
    let in_flight = InFlight::new(shared);
    let mut answer = next.run(request).await;
    let Some(fault) = answer.extensions_mut().remove::<Fault>() else {
        return answer;
    };
    match fault {
        Fault::CutBeforeHead => {
            line.cut.store(true, Ordering::SeqCst);
            answer
        }
        Fault::Hang => std::future::pending().await,
        Fault::Held(released) => {
            released.cancelled().await;
            answer
        }
        Fault::HalfBody => {
            let (mut answer, half, _) = halved(answer).await;
            *answer.body_mut() = Body::from(half);
            answer
        }
        Fault::CutInBody => {
            let (mut answer, half, whole) = halved(answer).await;
            let cut = stream::once(async {
                // What came before is on the wire when this goes on.
                tokio::task::yield_now().await;
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            });
            *answer.body_mut() = Body::from_stream(stream::iter([Ok(half)]).chain(cut));
            answer.headers_mut().insert(header::CONTENT_LENGTH, whole);
            answer
        }
        Fault::StallInBody => {
            let (mut answer, half, whole) = halved(answer).await;
            let stall = stream::once(async move {
                let _counted = in_flight;
                std::future::pending::<Result<Bytes, Infallible>>().await
            });
            *answer.body_mut() = Body::from_stream(stream::iter([Ok(half)]).chain(stall));
            answer.headers_mut().insert(header::CONTENT_LENGTH, whole);
            answer
        }
    }
}

/// The answer without its body, the first half of the body, and the length of the whole.
async fn halved(answer: Response) -> (Response, Bytes, HeaderValue) {
    let (mut head, body) = answer.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX)
        .await
        .expect("a test's own answer is there");
    head.headers.remove(header::CONTENT_LENGTH);
    let half = body.slice(..body.len() / 2);
    (
        Response::from_parts(head, Body::empty()),
        half,
        HeaderValue::from(body.len()),
    )
}

/// The far end of one connection.
#[derive(Clone)]
struct Line {
    cut: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Line {
    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst) || self.shared.down.load(Ordering::SeqCst)
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().line.clone()
    }
}

struct Lines {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Listener for Lines {
    type Io = LineIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LineIo, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let line = Line {
            cut: Arc::default(),
            shared: Arc::clone(&self.shared),
        };
        (LineIo { stream, line }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that takes nothing any more once it is cut; hyper then drops it.
struct LineIo {
    stream: TcpStream,
    line: Line,
}

impl AsyncRead for LineIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LineIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.line.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use axum::extract::Path;
    use axum::routing::get;

    use super::*;
    use crate::testing::{PATIENCE, wait_for};

    async fn server() -> (TestServer, reqwest::Client, CancellationToken) {
        let release = CancellationToken::new();
        let held = release.clone();
        let answer = move |Path(fault): Path<String>| async move {
            let fault = match fault.as_str() {
                "head" => Fault::CutBeforeHead,
                "body" => Fault::CutInBody,
                "half" => Fault::HalfBody,
                "hang" => Fault::Hang,
                "stall" => Fault::StallInBody,
                "held" => Fault::Held(held),
                _ => return "0123456789".into_response(),
            };
            fault.on("0123456789")
        };
        let server = TestServer::start(Router::new().route("/{fault}", get(answer))).await;
        let http = crate::http::client_builder().timeout(PATIENCE).build().unwrap();
        (server, http, release)
    }

    #[tokio::test]
    async fn each_fault_is_met_on_the_wire() {
        let (server, http, release) = server().await;
        let ask = |fault: &str| http.get(format!("{}/{fault}", server.url())).send();
        assert_eq!(ask("none").await.unwrap().text().await.unwrap(), "0123456789");
        assert!(ask("head").await.unwrap_err().is_request());
        let mut cut = ask("body").await.unwrap();
        assert_eq!(cut.content_length(), Some(10));
        assert_eq!(cut.chunk().await.unwrap().unwrap(), "01234");
        cut.chunk().await.unwrap_err();
        assert_eq!(ask("half").await.unwrap().text().await.unwrap(), "01234");
        let held = tokio::spawn(ask("held"));
        wait_for("the held request", async || {
            (server.in_flight() == 1).then_some(())
        })
        .await;
        assert!(!held.is_finished());
        release.cancel();
        assert_eq!(held.await.unwrap().unwrap().text().await.unwrap(), "0123456789");
    }

    #[tokio::test]
    async fn a_client_that_gives_up_is_noticed() {
        let (server, http, _) = server().await;
        for fault in ["hang", "stall"] {
            let ask = http.get(format!("{}/{fault}", server.url()));
            let waiting = tokio::spawn(async move { ask.send().await?.bytes().await });
            wait_for("the request", async || (server.in_flight() == 1).then_some(())).await;
            waiting.abort();
            wait_for("the end of it", async || (server.in_flight() == 0).then_some(())).await;
        }
        let url = format!("{}/hang", server.url());
        let asked = http.get(&url).timeout(Duration::from_millis(50)).send().await;
        assert!(asked.unwrap_err().is_timeout());
        drop(server);
        http.get(url).send().await.unwrap_err();
    }
}
