//! `/healthz`: the process answers. `/readyz`: it can do its work.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use crate::body::Body;

type Check = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// Answers the two questions.
#[derive(Clone)]
pub struct Health(Arc<Check>);

impl Health {
    /// Ready while `check` says so. What it says when not is shown to whoever asks, so let it name
    /// the part that is missing and no more; it should be quick, since it is asked often.
    pub fn new<F, R>(check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(check())))
    }

    /// The answer of `/healthz`.
    pub fn alive() -> Response<Body> {
        plain(StatusCode::OK, "alive\n".into())
    }

    /// The answer of `/readyz`: 200, or 503 and what is missing.
    pub async fn ready(&self) -> Response<Body> {
        match (self.0)().await {
            Ok(()) => plain(StatusCode::OK, "ready\n".into()),
            Err(missing) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n").into())
            }
        }
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
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn not_ready_is_503_and_names_what_is_missing() {
        let health = Health::new(|| async { Err("the metadata store does not answer".to_owned()) });
        let response = health.ready().await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "not ready: the metadata store does not answer\n");
        assert_eq!(Health::alive().status(), StatusCode::OK);
        assert_eq!(Health::new(|| async { Ok(()) }).ready().await.status(), StatusCode::OK);
    }
}
