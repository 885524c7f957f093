//! The page over HTTP: fixed files, a few calls, and a stream of events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use burdock_tokio::gallery;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};

use crate::connections::Seat;
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

async fn connect(State(shared): State<Shared>, body: Bytes) -> Result<Response, Problem> {
    let Connect { link } = read(&body)?;
    let conversation = shared.hub.connect(&link)?;
    Ok(answer(StatusCode::OK, &json!({ "conversation": conversation })))
}

async fn send(State(shared): State<Shared>, body: Bytes) -> Result<Response, Problem> {
    let Send { conversation, text } = read(&body)?;
    shared.hub.send(conversation, &text)?;
    Ok(answer(StatusCode::OK, &json!({})))
}

async fn act(State(shared): State<Shared>, body: Bytes) -> Result<Response, Problem> {
    let Do { conversation, action } = read(&body)?;
    shared.hub.act(conversation, action)?;
    Ok(answer(StatusCode::OK, &json!({})))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Why a call was not done, for the page to show.
struct Problem(StatusCode, String);

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Link(_) | Refused::Send(_) | Refused::Empty => StatusCode::BAD_REQUEST,
            Refused::Unknown => StatusCode::NOT_FOUND,
            Refused::Connect(_) | Refused::Over | Refused::Open | Refused::NoLink | Refused::Full => {
                StatusCode::CONFLICT
            }
        };
        Self(status, refused.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        answer(self.0, &json!({ "error": self.1 }))
    }
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
}

impl Page {
    fn new(hub: Arc<Hub>) -> Self {
        let (snapshot, news) = hub.listen();
        Self { hub, snapshot: Some(snapshot), news }
    }

    async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(snapshot) = self.snapshot.take() {
            return Some(Arc::new(snapshot));
        }
        match self.news.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => {
                *self = Self::new(Arc::clone(&self.hub));
                let data = json!({ "missed": missed }).to_string();
                Some(Arc::new(Event { seq: 0, name: "lagged", data }))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

fn sent(event: &Event) -> Sent {
    let sent = Sent::default().event(event.name).data(&event.data);
    if event.seq > 0 { sent.id(event.seq.to_string()) } else { sent }
}

/// A snapshot, then every change by its number. Whoever is too slow hears `lagged`, and a snapshot.
async fn events(State(shared): State<Shared>, Extension(seat): Extension<Seat>) -> Result<Response, Problem> {
    let Ok(permit) = shared.pages.try_acquire_owned() else {
        return Err(Problem(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close one".to_owned()));
    };
    seat.keep();
    let stream = unfold((Page::new(shared.hub), permit), async |(mut page, permit)| {
        let event = page.next().await?;
        Some((Ok::<_, Infallible>(sent(&event)), (page, permit)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

#[cfg(test)]
mod tests {
    use burdock_tokio::{AcceptPolicy, Endpoint, Identity, Link};
    use serde_json::Value;

    use super::*;
    use crate::door::Door;
    use crate::room::{MAX_BYTES, MAX_ENTRIES};

    async fn hub(n: u8) -> (Arc<Hub>, Link) {
        let addr = "127.0.0.1:0".parse().unwrap();
        let endpoint = Endpoint::bind(addr, crate::config(), Identity::from_bytes([n; 32])).await.unwrap();
        let link = Link::direct(endpoint.public_key(), endpoint.local_addr().expect("it listens"));
        (Hub::new(endpoint, Door::new(AcceptPolicy::anyone(), link.clone(), "Anyone.")), link)
    }

    fn read(event: &Event) -> Value {
        serde_json::from_str(&event.data).unwrap()
    }

    // Mutation: going on with `news` after a lag, without a snapshot, makes this fail.
    #[tokio::test]
    async fn a_slow_page_is_told_and_begins_anew_and_nobody_waits_for_it() {
        let (hub, link) = hub(1).await;
        let mut page = Page::new(Arc::clone(&hub));
        let snapshot = page.next().await.unwrap();
        assert_eq!((snapshot.name, read(&snapshot)["seq"].as_u64()), ("snapshot", Some(0)));
        for n in 1..=1000 {
            hub.set_link(Link { udp_port: Some(n), ..link.clone() });
        }
        let lagged = page.next().await.unwrap();
        assert_eq!((lagged.name, read(&lagged)["missed"].as_u64()), ("lagged", Some(1000 - 256)));
        let snapshot = page.next().await.unwrap();
        assert_eq!((snapshot.name, read(&snapshot)["seq"].as_u64()), ("snapshot", Some(1000)));
        assert!(read(&snapshot)["me"]["link"].as_str().unwrap().contains(":1000?"), "{}", snapshot.data);
        hub.set_link(link);
        let next = page.next().await.unwrap();
        assert_eq!((next.name, next.seq), ("me", 1001));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let (hub, _) = hub(1).await;
        let nobody = Link::direct(Identity::from_bytes([9; 32]).public_key(), "127.0.0.1:9".parse().unwrap());
        let id = hub.connect(&nobody.to_string()).unwrap();
        let kept = |hub: &Hub| {
            let view = read(&hub.listen().0);
            let entries = view["conversations"][0]["entries"].as_array().unwrap().clone();
            let bytes: usize = entries.iter().map(|entry| entry["text"].as_str().unwrap().len()).sum();
            (entries.len(), bytes)
        };
        for _ in 0..MAX_ENTRIES + 100 {
            hub.send(id, "x").unwrap();
        }
        assert_eq!(kept(&hub), (MAX_ENTRIES, MAX_ENTRIES));
        let long = "x".repeat(MAX_TEXT);
        for _ in 0..100 {
            hub.send(id, &long).unwrap();
        }
        assert_eq!(kept(&hub), (MAX_BYTES / MAX_TEXT, MAX_BYTES));
        assert!(matches!(hub.send(id, &format!("{long}x")), Err(Refused::Send(_))));
        assert!(matches!(hub.send(id, " \n"), Err(Refused::Empty)));
    }

    // Mutation: `oldest` of `entry` itself, or of 0, in `Room::news` makes this fail.
    #[tokio::test]
    async fn a_page_shows_the_lines_that_are_kept_and_each_gets_its_end() {
        let (hub, _) = hub(1).await;
        let nobody = Link::direct(Identity::from_bytes([9; 32]).public_key(), "127.0.0.1:9".parse().unwrap());
        let id = hub.connect(&nobody.to_string()).unwrap();
        let mut page = Page::new(Arc::clone(&hub));
        page.next().await.unwrap();
        let mut shown = std::collections::BTreeMap::new();
        // By the number of lines first, then by their bytes.
        for text in std::iter::repeat_n("x".to_owned(), MAX_ENTRIES + 100).chain((0..60).map(|_| "x".repeat(MAX_TEXT)))
        {
            hub.send(id, &text).unwrap();
            loop {
                let event = page.next().await.unwrap();
                if event.name == "entry" {
                    follow(&mut shown, &event);
                    break;
                }
            }
        }
        assert_eq!(shown.len(), MAX_BYTES / MAX_TEXT);
        assert!(shown.values().all(|state| state == "sending"));
        hub.act(id, Act::Cancel).unwrap();
        let mut seq = 0;
        while shown.values().any(|state| state == "sending") {
            let event = page.next().await.unwrap();
            seq = event.seq;
            if event.name == "entry" {
                follow(&mut shown, &event);
            }
        }
        let snapshot = hub.listen().0;
        while seq < snapshot.seq {
            let event = page.next().await.unwrap();
            seq = event.seq;
            if event.name == "entry" {
                follow(&mut shown, &event);
            }
        }
        let kept = read(&snapshot)["conversations"][0]["entries"].as_array().unwrap().clone();
        assert!(kept.iter().map(|entry| entry["id"].as_u64().unwrap()).eq(shown.into_keys()));
    }

    /// What the page does with a line.
    fn follow(shown: &mut std::collections::BTreeMap<u64, String>, event: &Event) {
        let news = read(event);
        let entry = &news["entry"];
        shown.insert(entry["id"].as_u64().unwrap(), entry["state"].as_str().unwrap_or("note").to_owned());
        *shown = shown.split_off(&news["oldest"].as_u64().unwrap());
    }

    #[tokio::test]
    async fn a_link_is_never_told_to_pages_but_ours() {
        let (hub, _) = hub(1).await;
        let invite = burdock_tokio::Invite::new([7; 8], [8; 32]);
        let key = Identity::from_bytes([9; 32]).public_key();
        let link = Link::direct(key, "127.0.0.1:9".parse().unwrap()).with_invite(invite.clone());
        hub.connect(&link.to_string()).unwrap();
        let view = hub.listen().0;
        assert!(view.data.contains(&key.to_string()));
        assert!(!view.data.contains(&invite.to_string()));
    }

    #[tokio::test]
    async fn an_invite_is_for_one_and_a_fresh_one_follows() {
        let (host, link) = hub(1).await;
        let door = Door::new(AcceptPolicy::nobody(), link, "One.").with_invites().unwrap();
        let host = Hub::new(host.endpoint().clone(), door);
        let welcoming = tokio::spawn(Arc::clone(&host).welcome());
        let mut page = Page::new(Arc::clone(&host));
        let mut shown = read(&page.next().await.unwrap())["me"]["link"].as_str().unwrap().to_owned();
        for n in 2..5 {
            let (guest, _) = hub(n).await;
            guest.connect(&shown).unwrap();
            let fresh = loop {
                let event = page.next().await.unwrap();
                if event.name == "me" {
                    break read(&event)["link"].as_str().unwrap().to_owned();
                }
            };
            assert_ne!(fresh, shown);
            shown = fresh;
            guest.stop();
        }
        welcoming.abort();
        host.stop();
    }
}
