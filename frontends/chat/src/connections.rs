//! The connections of browsers, and of whatever else on this machine opens some.
//!
//! Their number is bounded, and whoever comes is let in: the one that came first makes room, unless it is a page that
//! looks on. So those that say nothing, or say it slowly, stop nobody else, and leave the program the files that it may
//! have open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, warn};

/// Connections at once. Those that look on are fewer, so one can always make room.
const MAX_CONNECTIONS: usize = 4 * crate::server::MAX_PAGES;
/// How long a request's head may take to come, or the next request on a connection that is kept.
pub(crate) const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Before connections are taken in again, when the system refused to.
const PAUSE: Duration = Duration::from_millis(100);

/// Those that can make room, by their age.
type Idle = Arc<Mutex<BTreeMap<u64, AbortHandle>>>;

fn lock(idle: &Idle) -> MutexGuard<'_, BTreeMap<u64, AbortHandle>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's place, which a request has among its extensions.
#[derive(Clone)]
pub(crate) struct Seat {
    number: u64,
    idle: Idle,
}

impl Seat {
    /// From now on it makes room for nobody.
    pub(crate) fn keep(&self) {
        lock(&self.idle).remove(&self.number);
    }
}

/// Takes in one connection after the other. They end when this is dropped.
pub(crate) async fn serve(listener: TcpListener, router: Router, head_deadline: Duration) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_deadline);
    let idle = Idle::default();
    let mut tasks = JoinSet::new();
    let mut number = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection to the page was not taken in");
                make_room(&idle);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        while tasks.len() >= MAX_CONNECTIONS && make_room(&idle) {
            tasks.join_next().await;
        }
        number += 1;
        let seat = Seat { number, idle: Arc::clone(&idle) };
        let service = TowerToHyperService::new(router.clone().layer(Extension(seat.clone())));
        let connection = http.serve_connection(TokioIo::new(stream), service);
        // Nothing of it runs before it is known here.
        let mut known = lock(&idle);
        let task = tasks.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection to the page ended");
            }
            seat.keep();
        });
        known.insert(number, task);
    }
}

/// Ends the oldest that can make room, if there is one.
fn make_room(idle: &Idle) -> bool {
    lock(idle).pop_first().inspect(|(_, task)| task.abort()).is_some()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    // Mutation: leaving out `header_read_timeout` makes this fail.
    #[tokio::test]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        let serving = tokio::spawn(serve(listener, router, Duration::from_millis(1)));
        for said in ["", "GET / HTTP/1.1\r\nHost: "] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // Nothing takes this long, unless it never comes.
            let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await;
            ended.expect("it is let go of").unwrap();
            assert!(!answer.contains("here"), "{answer}");
        }
        serving.abort();
    }
}
