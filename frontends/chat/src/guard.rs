//! Who may ask: a page of ours in a browser on this machine, and nobody else.
//!
//! Any web page can make a browser talk to a port of this machine, and a name that its owner points
//! here makes such a page count as one of ours (DNS rebinding). So the `Host` must be ours, and for
//! everything that is not a fixed file, the `Origin` too, and the secret must be there, which only
//! the address holds that the program printed.

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq;

/// Where everything lives that needs the secret.
const CALLS: &str = "/api/";

const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

pub(crate) struct Guard {
    hosts: [String; 2],
    secret: String,
}

impl Guard {
    /// For a page on this port of the loopback interface.
    pub(crate) fn new(port: u16) -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let hosts = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{port}"));
        Ok(Self { hosts, secret: BASE64URL_NOPAD.encode(&secret) })
    }

    /// The address to open. What stands behind `#` stays in the browser: it is in no request line, no
    /// log and no `Referer`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/#{}", self.hosts[0], self.secret)
    }

    fn check(&self, request: &Request) -> Result<(), (StatusCode, &'static str)> {
        let headers = request.headers();
        let host = the_only(headers, header::HOST).filter(|host| self.hosts.iter().any(|ours| ours == host));
        let Some(host) = host.filter(|_| request.uri().authority().is_none()) else {
            return Err((StatusCode::FORBIDDEN, "this address is not served here"));
        };
        if !request.uri().path().starts_with(CALLS) {
            return Ok(());
        }
        // Browsers name the origin of every POST, that of the same page too.
        if request.method() != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "calls are made by POST"));
        }
        let origin = the_only(headers, header::ORIGIN);
        if origin.and_then(|origin| origin.strip_prefix("http://")) != Some(host) {
            return Err((StatusCode::FORBIDDEN, "only the page served here may call"));
        }
        let told = the_only(headers, header::AUTHORIZATION).and_then(|told| told.strip_prefix("Bearer "));
        let known = told.is_some_and(|told| told.as_bytes().ct_eq(self.secret.as_bytes()).into());
        if known { Ok(()) } else { Err((StatusCode::UNAUTHORIZED, "open the address that burdock chat printed")) }
    }
}

/// A header that is there once.
fn the_only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// Lets a request through or not, and puts the headers on every answer.
pub(crate) async fn guard(State(guard): State<std::sync::Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
