//! Which part answers which path. There is nothing here but these, and each declares what it
//! demands of its caller: one that did not would not compile.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use strongroom_admin::Admin;
use strongroom_http::health::Health;
use strongroom_http::metrics::Metrics;
use strongroom_http::server::Refusal;
use strongroom_http::{Body, Handler, RequestBody, RequestContext};
use strongroom_identity::{Access, Embedded, endpoint};
use strongroom_oci::Oci;

/// All that is served.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    pub(crate) oci: Oci,
    pub(crate) admin: Admin,
    pub(crate) identity: Embedded,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
}

/// The paths beside those of the frontends, which have routes and a gate of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Token,
    Healthz,
    Readyz,
    Metrics,
}

impl Route {
    const ALL: [Self; 4] = [Self::Token, Self::Healthz, Self::Readyz, Self::Metrics];

    const fn path(self) -> &'static str {
        match self {
            Self::Token => endpoint::PATH,
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
        }
    }

    /// What the route demands of its caller.
    const fn access(self) -> Access {
        match self {
            // Of a token, credentials are the question itself; the rest are counts and states of the
            // whole, nothing of anybody's.
            Self::Token | Self::Healthz | Self::Readyz | Self::Metrics => Access::Open,
        }
    }

    fn of(method: &Method, path: &str) -> Option<Self> {
        let looks = matches!(*method, Method::GET | Method::HEAD);
        let route = Self::ALL.into_iter().find(|route| route.path() == path)?;
        match route {
            // Answers other methods itself.
            Self::Token => Some(route),
            Self::Healthz | Self::Readyz | Self::Metrics => looks.then_some(route),
        }
    }
}

// Nobody is asked for here who they are. A route that demands more than nothing belongs behind a
// gate, and does not compile before it is.
const _: () = {
    let mut routes = Route::ALL.as_slice();
    while let [route, rest @ ..] = routes {
        assert!(matches!(route.access(), Access::Open), "this route has no gate");
        routes = rest;
    }
};

impl Handler for Router {
    fn refuse(&self, path: &str, refusal: Refusal) -> Response<Body> {
        if Oci::owns(path) {
            self.oci.refuse(path, refusal)
        } else if Admin::owns(path) {
            self.admin.refuse(path, refusal)
        } else {
            refusal.into_plain()
        }
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> Response<Body> {
        let path = request.uri().path();
        let Some(route) = Route::of(request.method(), path) else {
            if Oci::owns(path) {
                return self.oci.handle(request, context).await;
            }
            if Admin::owns(path) {
                return self.admin.handle(request, context).await;
            }
            return absent();
        };
        match route {
            Route::Token => endpoint::answer(&self.identity, request, &context).await,
            Route::Healthz => {
                context.set_route("healthz");
                Health::alive()
            }
            Route::Readyz => {
                context.set_route("readyz");
                self.health.ready().await
            }
            Route::Metrics => {
                context.set_route("metrics");
                self.metrics.response()
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_its_very_path() {
        for route in Route::ALL {
            assert_eq!(Route::of(&Method::GET, route.path()), Some(route));
            for other in [format!("{}/", route.path()), format!("/{}", route.path())] {
                assert_eq!(Route::of(&Method::GET, &other), None, "{other}");
            }
        }
        assert_eq!(Route::of(&Method::POST, "/metrics"), None);
        assert_eq!(Route::of(&Method::POST, endpoint::PATH), Some(Route::Token));
    }
}
