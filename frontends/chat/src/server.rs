//! The page over HTTP: fixed files, a few calls, and a stream of events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use burdock_tokio::gallery;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::guard::{Guard, guard};
use crate::hub::{Act, Event, Hub, MAX_TEXT, Refused};

/// The longest body of a call: a message whose every byte is written as `\u0000`, and the rest of it.
pub(crate) const MAX_BODY: usize = 6 * MAX_TEXT + 1024;
/// Pages that may look on at once.
pub(crate) const MAX_PAGES: usize = 16;
/// A stream without news says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Clone)]
struct Shared {
    hub: Arc<Hub>,
    pages: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Connect {
    link: String,
}

#[derive(Deserialize)]
struct Send {
    conversation: u64,
    text: String,
}

#[derive(Deserialize)]
struct Do {
    conversation: u64,
    action: Act,
}

pub(crate) fn router(hub: Arc<Hub>, gate: Guard) -> Router {
    let calls = Router::new()
        .route("/api/connect", post(connect))
        .route("/api/send", post(send))
        .route("/api/act", post(act))
        .route("/api/events", post(events))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let mut router = Router::new().merge(calls).route("/gallery.json", get(cards));
    for (path, kind, text) in FILES {
        router = router.route(path, get(move || async move { ([(header::CONTENT_TYPE, kind)], text) }));
    }
    let shared = Shared { hub, pages: Arc::new(Semaphore::new(MAX_PAGES)) };
    router.layer(from_fn_with_state(Arc::new(gate), guard)).with_state(shared)
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What needs no secret, as it holds none.
pub(crate) const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("../assets/index.html")),
    ("/app.js", SCRIPT, include_str!("../assets/app.js")),
    ("/words.js", SCRIPT, include_str!("../assets/words.js")),
    ("/style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
    ("/gallery", HTML, include_str!("../assets/gallery.html")),
    ("/gallery.js", SCRIPT, include_str!("../assets/gallery.js")),
];

async fn cards() -> Response {
    answer(StatusCode::OK, &gallery::cards())
}

async fn connect(State(shared): State<Shared>, body: Bytes) -> Result<Response, Response> {
    let Connect { link } = read(&body)?;
    let conversation = shared.hub.connect(&link).map_err(refuse)?;
    Ok(answer(StatusCode::OK, &json!({ "conversation": conversation })))
}

async fn send(State(shared): State<Shared>, body: Bytes) -> Result<Response, Response> {
    let Send { conversation, text } = read(&body)?;
    done(shared.hub.send(conversation, &text))
}

async fn act(State(shared): State<Shared>, body: Bytes) -> Result<Response, Response> {
    let Do { conversation, action } = read(&body)?;
    done(shared.hub.act(conversation, action))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|error| problem(StatusCode::BAD_REQUEST, &error.to_string()))
}

fn done(result: Result<(), Refused>) -> Result<Response, Response> {
    result.map(|()| answer(StatusCode::OK, &json!({}))).map_err(refuse)
}

fn refuse(refused: Refused) -> Response {
    let status = match refused {
        Refused::Link(_) | Refused::Send(_) | Refused::Empty => StatusCode::BAD_REQUEST,
        Refused::Unknown => StatusCode::NOT_FOUND,
        Refused::Connect(_) | Refused::Over | Refused::Open | Refused::NoLink | Refused::Full => StatusCode::CONFLICT,
    };
    problem(status, &refused.to_string())
}

fn problem(status: StatusCode, error: &str) -> Response {
    answer(status, &json!({ "error": error }))
}

fn answer(status: StatusCode, value: &impl serde::Serialize) -> Response {
    let text = serde_json::to_string(value).expect("answers have string keys alone");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// A page that looks on.
struct Page {
    hub: Arc<Hub>,
    /// To be sent before what comes next.
    snapshot: Option<Event>,
    news: broadcast::Receiver<Arc<Event>>,
    _permit: OwnedSemaphorePermit,
}

impl Page {
    async fn next(mut self) -> Option<(Result<Sent, Infallible>, Self)> {
        let sent = match self.snapshot.take() {
            Some(snapshot) => sent(&snapshot),
            None => match self.news.recv().await {
                Ok(event) => sent(&event),
                Err(RecvError::Lagged(missed)) => {
                    let (snapshot, news) = self.hub.listen();
                    (self.snapshot, self.news) = (Some(snapshot), news);
                    Sent::default().event("lagged").data(json!({ "missed": missed }).to_string())
                }
                Err(RecvError::Closed) => return None,
            },
        };
        Some((Ok(sent), self))
    }
}

fn sent(event: &Event) -> Sent {
    Sent::default().id(event.seq.to_string()).event(event.name).data(&event.data)
}

/// A snapshot, then every change by its number. Whoever is too slow hears `lagged`, and a snapshot.
async fn events(State(shared): State<Shared>) -> Result<Response, Response> {
    let Ok(permit) = shared.pages.try_acquire_owned() else {
        return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close one"));
    };
    let (snapshot, news) = shared.hub.listen();
    let page = Page { hub: shared.hub, snapshot: Some(snapshot), news, _permit: permit };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(unfold(page, Page::next)).keep_alive(keep_alive).into_response())
}
