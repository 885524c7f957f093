//! Who may ask the page's server, over raw sockets.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use burdock_chat::{Chat, Door, config};
use burdock_tokio::{AcceptPolicy, Endpoint, Identity, Link};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(n: u8) -> Chat {
    let identity = Identity::from_bytes([n; 32]);
    let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), config(), identity).await.unwrap();
    let link = Link::direct(endpoint.public_key(), endpoint.local_addr().expect("it listens"));
    Chat::start(endpoint, Door::new(AcceptPolicy::anyone(), link, "Anyone."), 0).await.unwrap()
}

fn secret(chat: &Chat) -> &str {
    chat.url().split_once('#').unwrap().1
}

/// Sends these bytes and returns the status and the whole answer.
async fn raw(chat: &Chat, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(chat.local_addr()).await.unwrap();
    // The server may answer, and close, before it has read all.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap();
    (status, answer)
}

struct Call<'a> {
    method: &'a str,
    path: &'a str,
    host: String,
    origin: Option<String>,
    bearer: Option<String>,
    body: String,
}

impl<'a> Call<'a> {
    /// One as our own page makes it.
    fn own(chat: &Chat, path: &'a str, body: &str) -> Self {
        let host = chat.local_addr().to_string();
        let origin = Some(format!("http://{host}"));
        Self { method: "POST", path, host, origin, bearer: Some(secret(chat).to_owned()), body: body.to_owned() }
    }

    async fn make(&self, chat: &Chat) -> (u16, String) {
        let Self { method, path, host, body, .. } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        if let Some(origin) = &self.origin {
            head += &format!("Origin: {origin}\r\n");
        }
        if let Some(bearer) = &self.bearer {
            head += &format!("Authorization: Bearer {bearer}\r\n");
        }
        raw(chat, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await
    }
}

const NOTHING: &str = r#"{"conversation":1,"text":"hello"}"#;

#[tokio::test]
async fn our_own_page_is_answered_and_only_on_loopback() {
    let chat = start(1).await;
    assert_eq!(chat.local_addr().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (status, answer) = Call::own(&chat, "/api/send", NOTHING).make(&chat).await;
    assert_eq!(status, 404, "{answer}");
    assert!(answer.ends_with(r#"{"error":"there is no such conversation; it was taken off the screen"}"#), "{answer}");
    let port = chat.local_addr().port();
    let by_name = Call {
        host: format!("localhost:{port}"),
        origin: Some(format!("http://localhost:{port}")),
        ..Call::own(&chat, "/api/send", NOTHING)
    };
    assert_eq!(by_name.make(&chat).await.0, 404);
}

// Mutation: `let known = true` in `Guard::check` makes this fail.
#[tokio::test]
async fn without_the_secret_nothing_is_told_or_done() {
    let (chat, other) = (start(1).await, start(2).await);
    let right = secret(&chat);
    assert_eq!(right.len(), 43, "256 bits");
    let wrong = [
        None,
        Some(String::new()),
        Some(right[..42].to_owned()),
        Some(format!("{right}A")),
        Some(right.to_lowercase()),
        Some(secret(&other).to_owned()),
    ];
    for bearer in wrong {
        for path in ["/api/send", "/api/connect", "/api/act", "/api/events", "/api/none"] {
            let call = Call { bearer: bearer.clone(), ..Call::own(&chat, path, NOTHING) };
            assert_eq!(call.make(&chat).await.0, 401, "{path} with {bearer:?}");
        }
    }
    // In the address it does not count: there it would reach logs.
    let path = format!("/api/send?secret={right}");
    assert_eq!(Call { bearer: None, ..Call::own(&chat, &path, NOTHING) }.make(&chat).await.0, 401);
}

// Mutation: `if origin.is_some_and(..)` instead of `!= Some(host)` in `Guard::check` makes this fail.
#[tokio::test]
async fn a_foreign_origin_is_refused_whatever_it_knows() {
    let chat = start(1).await;
    let port = chat.local_addr().port();
    let foreign = [
        None,
        Some("null".to_owned()),
        Some("https://example.com".to_owned()),
        Some(format!("https://127.0.0.1:{port}")),
        Some("http://127.0.0.1".to_owned()),
        Some(format!("http://127.0.0.1:{}", port ^ 1)),
        // Ours, but of the other name.
        Some(format!("http://localhost:{port}")),
        Some(format!("http://127.0.0.1:{port}.example.com")),
    ];
    for origin in foreign {
        for path in ["/api/send", "/api/events"] {
            let call = Call { origin: origin.clone(), ..Call::own(&chat, path, NOTHING) };
            assert_eq!(call.make(&chat).await.0, 403, "{path} from {origin:?}");
        }
    }
}

/// DNS rebinding: a foreign name points at this machine, so that a foreign page counts as ours.
// Mutation: returning early for paths that are no calls, before the host is looked at, makes this fail.
#[tokio::test]
async fn a_foreign_host_is_refused_everywhere() {
    let chat = start(1).await;
    let port = chat.local_addr().port();
    let foreign = ["example.com".to_owned(), format!("example.com:{port}"), "127.0.0.1".to_owned(), String::new()];
    for host in foreign {
        let origin = Some(format!("http://{host}"));
        let call = Call { host: host.clone(), origin, ..Call::own(&chat, "/api/send", NOTHING) };
        assert_eq!(call.make(&chat).await.0, 403, "{host}");
        for path in ["/", "/app.js", "/gallery", "/none"] {
            let page = Call { method: "GET", host: host.clone(), ..Call::own(&chat, path, "") };
            assert_eq!(page.make(&chat).await.0, 403, "{path} at {host}");
        }
    }
    let own = chat.local_addr();
    let absolute = format!("GET http://example.com/ HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n");
    assert_eq!(raw(&chat, absolute.as_bytes()).await.0, 403);
    let twice = format!("GET / HTTP/1.1\r\nHost: {own}\r\nHost: example.com\r\nConnection: close\r\n\r\n");
    assert!([400, 403].contains(&raw(&chat, twice.as_bytes()).await.0));
}

#[tokio::test]
async fn calls_are_made_by_post_alone() {
    let chat = start(1).await;
    for method in ["GET", "PUT", "OPTIONS", "HEAD"] {
        let call = Call { method, ..Call::own(&chat, "/api/send", "") };
        assert_eq!(call.make(&chat).await.0, 405, "{method}");
    }
}

// Mutation: leaving out `DefaultBodyLimit::max` makes this fail.
#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_largest_message_is_not() {
    let chat = start(1).await;
    let largest = format!(r#"{{"conversation":1,"text":"{}"}}"#, r"\u0061".repeat(16 * 1024));
    assert_eq!(Call::own(&chat, "/api/send", &largest).make(&chat).await.0, 404, "no such conversation");
    let more = format!(r#"{{"conversation":1,"text":"{}"}}"#, "a".repeat(16 * 1024 + 1));
    let (status, answer) = Call::own(&chat, "/api/send", &more).make(&chat).await;
    assert_eq!(status, 400);
    assert!(answer.contains("at most 16384 are allowed"), "{answer}");
    let too_large = "a".repeat(6 * 16 * 1024 + 1025);
    assert_eq!(Call::own(&chat, "/api/send", &too_large).make(&chat).await.0, 413);
}

#[tokio::test]
async fn nonsense_is_a_bad_request() {
    let chat = start(1).await;
    for body in
        ["", "{}", "[]", "null", r#"{"conversation":-1,"text":""}"#, r#"{"conversation":1,"action":"fly"}"#, "\0"]
    {
        for path in ["/api/send", "/api/act", "/api/connect"] {
            assert_eq!(Call::own(&chat, path, body).make(&chat).await.0, 400, "{path} {body:?}");
        }
    }
    let (status, answer) = Call::own(&chat, "/api/connect", r#"{"link":"http://example.com"}"#).make(&chat).await;
    assert!(status == 400 && answer.contains("a link starts with burdock://"), "{answer}");
}

/// Of every answer: what is refused, what is there and what is not.
// Mutation: `return refused.into_response()` in `guard` makes this fail.
#[tokio::test]
async fn every_answer_is_locked_down() {
    let chat = start(1).await;
    let get = |path| Call { method: "GET", ..Call::own(&chat, path, "") };
    let foreign = Call { host: "example.com".to_owned(), ..get("/") };
    for (call, expected) in [
        (get("/"), 200),
        (get("/app.js"), 200),
        (get("/words.js"), 200),
        (get("/style.css"), 200),
        (get("/icon.svg"), 200),
        (get("/gallery"), 200),
        (get("/gallery.js"), 200),
        (get("/gallery.json"), 200),
        (get("/none"), 404),
        (foreign, 403),
        (Call { bearer: None, ..Call::own(&chat, "/api/send", NOTHING) }, 401),
        (Call::own(&chat, "/api/send", "x"), 400),
    ] {
        let (status, answer) = call.make(&chat).await;
        assert_eq!(status, expected, "{}", call.path);
        let head = answer.split_once("\r\n\r\n").unwrap().0.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(header), "{} lacks {header}: {head}", call.path);
        }
        assert!(!head.contains("access-control"), "{head}");
        assert!(!answer.contains(secret(&chat)), "{} tells the secret", call.path);
    }
}

/// The head of a call for the stream of events.
fn looking_on(chat: &Chat) -> String {
    let (host, secret) = (chat.local_addr(), secret(chat));
    format!(
        "POST /api/events HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nAuthorization: Bearer {secret}\r\n\r\n"
    )
}

// Mutation: `while false` around `make_room` in `serve`, or leaving out `seat.keep()` in `events`, makes this fail.
#[tokio::test]
async fn silent_connections_make_room_and_those_that_look_on_stay() {
    let chat = start(1).await;
    let mut page = TcpStream::connect(chat.local_addr()).await.unwrap();
    page.write_all(looking_on(&chat).as_bytes()).await.unwrap();
    let mut status = [0; 12];
    page.read_exact(&mut status).await.unwrap();
    assert_eq!(status, *b"HTTP/1.1 200");
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(chat.local_addr()).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        }
        silent.push(stream);
    }
    let call = Call { method: "GET", ..Call::own(&chat, "/", "") };
    assert_eq!(call.make(&chat).await.0, 200);
    // Nothing takes this long, unless it never comes.
    let patience = Duration::from_secs(60);
    for stream in &mut silent[..100] {
        let end = tokio::time::timeout(patience, stream.read(&mut [0])).await;
        assert!(!matches!(end.expect("it had to make room"), Ok(1..)), "it was answered");
    }
    chat.set_router("News.");
    let news = async {
        let mut told = String::new();
        while !told.contains("News.") {
            let mut piece = [0; 4096];
            let len = page.read(&mut piece).await.unwrap();
            assert!(len > 0, "it had to make room: {told}");
            told += std::str::from_utf8(&piece[..len]).unwrap();
        }
    };
    tokio::time::timeout(patience, news).await.expect("it is told");
}

// Mutation: dropping the permit at once, instead of with the stream, makes this fail.
#[tokio::test]
async fn pages_that_look_on_are_bounded() {
    let chat = start(1).await;
    let (host, head) = (chat.local_addr(), looking_on(&chat));
    let mut pages = Vec::new();
    for n in 1..=17 {
        let mut page = TcpStream::connect(host).await.unwrap();
        page.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        page.read_exact(&mut status).await.unwrap();
        let expected = if n <= 16 { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
        assert_eq!(std::str::from_utf8(&status), Ok(expected), "page {n}");
        pages.push(page);
    }
}
