//! Which part answers which path. There is nothing here but these.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use strongroom_http::health::Health;
use strongroom_http::metrics::Metrics;
use strongroom_http::{Body, Handler, RequestBody, RequestContext};
use strongroom_identity::{Embedded, endpoint};
use strongroom_oci::Oci;

/// All that is served.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    pub(crate) oci: Oci,
    pub(crate) identity: Embedded,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
}

impl Handler for Router {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> Response<Body> {
        let looks = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            endpoint::PATH => endpoint::answer(&self.identity, request, &context).await,
            path if Oci::owns(path) => self.oci.handle(request, context).await,
            "/healthz" if looks => {
                context.set_route("healthz");
                Health::alive()
            }
            "/readyz" if looks => {
                context.set_route("readyz");
                self.health.ready().await
            }
            "/metrics" if looks => {
                context.set_route("metrics");
                self.metrics.response()
            }
            _ => absent(),
        }
    }
}

fn absent() -> Response<Body> {
    let mut response = Response::new(Body::from("there is nothing here\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
