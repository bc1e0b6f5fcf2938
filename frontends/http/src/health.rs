//! `/healthz`: the process answers. `/readyz`: it can do its work.
//!
//! Anybody may ask, so a question costs at most one check in `FRESH`, however many ask: the others
//! get the answer of the one before, or wait for the one that is being found.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::body::Body;

/// How long an answer of `/readyz` is given again.
const FRESH: Duration = Duration::from_secs(1);

/// Whether the process can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It serves all requests, but something behind them keeps failing: 200, and what it is. To take
    /// such a process out of service would make things worse; somebody should look at it.
    Ailing(String),
    /// It can't: 503, and what is missing.
    Away(String),
}

type Check = dyn Fn() -> BoxFuture<'static, Readiness> + Send + Sync;

/// Answers the two questions.
#[derive(Clone)]
pub struct Health {
    check: Arc<Check>,
    last: Arc<Mutex<Option<(Instant, Readiness)>>>,
}

impl Health {
    /// Ready while `check` says so. What it says else is shown to whoever asks, so let it name
    /// the part that is missing and no more.
    pub fn new<F, R>(check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Readiness> + Send + 'static,
    {
        Self { check: Arc::new(move || Box::pin(check())), last: Arc::default() }
    }

    /// The answer of `/healthz`.
    pub fn alive() -> Response<Body> {
        plain(StatusCode::OK, "alive\n".into())
    }

    /// The answer of `/readyz`.
    pub async fn ready(&self) -> Response<Body> {
        match self.readiness().await {
            Readiness::Ready => plain(StatusCode::OK, "ready\n".into()),
            Readiness::Ailing(what) => plain(StatusCode::OK, format!("ready, but {what}\n").into()),
            Readiness::Away(missing) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n").into())
            }
        }
    }

    async fn readiness(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((at, readiness)) = &*last
            && at.elapsed() < FRESH
        {
            return readiness.clone();
        }
        let readiness = (self.check)().await;
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health")
    }
}

fn plain(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    async fn told(readiness: Readiness) -> (StatusCode, String) {
        let health = Health::new(move || std::future::ready(readiness.clone()));
        let response = health.ready().await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn not_ready_is_503_and_names_what_is_missing() {
        let away = Readiness::Away("the metadata store does not answer".to_owned());
        let said = "not ready: the metadata store does not answer\n".to_owned();
        assert_eq!(told(away).await, (StatusCode::SERVICE_UNAVAILABLE, said));
        assert_eq!(Health::alive().status(), StatusCode::OK);
        assert_eq!(told(Readiness::Ready).await, (StatusCode::OK, "ready\n".to_owned()));
        let ailing = Readiness::Ailing("collection keeps failing".to_owned());
        let said = "ready, but collection keeps failing\n".to_owned();
        assert_eq!(told(ailing).await, (StatusCode::OK, said));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_the_stores_are_asked_once_a_second() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let health = Health::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Readiness::Ready
            }
        });
        futures::future::join_all((0..100).map(|_| health.ready())).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(FRESH).await;
        health.ready().await;
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
