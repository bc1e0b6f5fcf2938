//! Which part answers which path. There is nothing here but these, and each declares what it
//! demands of its caller: one that did not would not compile.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use strongroom_admin::Admin;
use strongroom_engine::Engine;
use strongroom_http::health::Health;
use strongroom_http::metrics::Metrics;
use strongroom_http::server::Refusal;
use strongroom_http::{Body, Handler, RequestBody, RequestContext};
use strongroom_identity::workload::{self, Workloads};
use strongroom_identity::{Access, Identity, endpoint};
use strongroom_oci::Oci;
use strongroom_pypi::Pypi;

use crate::operator;

/// All that is served.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    pub(crate) oci: Oci,
    pub(crate) admin: Admin,
    pub(crate) pypi: Pypi,
    pub(crate) identity: Identity,
    pub(crate) workloads: Workloads,
    pub(crate) engine: Engine,
    pub(crate) health: Health,
    /// Absent where it has an address of its own.
    pub(crate) metrics: Option<Metrics>,
}

/// Hands what a frontend owns to it, with its own form of a refusal: one line each.
macro_rules! frontends {
    ($($field:ident: $frontend:ty),+ $(,)?) => {
        impl Router {
            /// The answer of the frontend whose path it is: as large as that frontend makes it, not as
            /// the largest of all does.
            async fn by_frontend(
                &self,
                request: Request<RequestBody>,
                context: Arc<RequestContext>,
            ) -> Response<Body> {
                $(if <$frontend>::owns(request.uri().path()) {
                    return Box::pin(self.$field.handle(request, context)).await;
                })+
                absent()
            }

            fn refuse_as_frontend(&self, path: &str, refusal: Refusal) -> Response<Body> {
                $(if <$frontend>::owns(path) {
                    return self.$field.refuse(path, refusal);
                })+
                refusal.into_plain()
            }
        }
    };
}

frontends! {
    oci: Oci,
    admin: Admin,
    pypi: Pypi,
}

/// The paths beside those of the frontends, which have routes and a gate of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Token,
    Workload,
    Healthz,
    Readyz,
    Metrics,
}

impl Route {
    const ALL: [Self; 5] =
        [Self::Token, Self::Workload, Self::Healthz, Self::Readyz, Self::Metrics];

    const fn path(self) -> &'static str {
        match self {
            Self::Token => endpoint::PATH,
            Self::Workload => workload::endpoint::PATH,
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Metrics => METRICS,
        }
    }

    /// What the route demands of its caller.
    const fn access(self) -> Access {
        match self {
            // Of a token, credentials are the question itself, whoever issued them; the others are
            // states of the whole, nothing of anybody's.
            Self::Token | Self::Workload | Self::Healthz | Self::Readyz => Access::Open,
            // How much is done here, and when, is the operators' business.
            Self::Metrics => Access::Operator,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Workload => "workload",
            Self::Healthz => "healthz",
            Self::Readyz => "readyz",
            Self::Metrics => "metrics",
        }
    }

    fn of(method: &Method, path: &str) -> Option<Self> {
        let looks = matches!(*method, Method::GET | Method::HEAD);
        let route = Self::ALL.into_iter().find(|route| route.path() == path)?;
        match route {
            // They answer other methods themselves.
            Self::Token | Self::Workload => Some(route),
            Self::Healthz | Self::Readyz | Self::Metrics => looks.then_some(route),
        }
    }
}

/// Where Prometheus reads.
const METRICS: &str = "/metrics";

// There are two gates here, none and the operators'. A route that demands anything else belongs behind
// one of its own, and does not compile before it is.
const _: () = {
    let mut routes = Route::ALL.as_slice();
    while let [route, rest @ ..] = routes {
        assert!(
            matches!(route.access(), Access::Open | Access::Operator),
            "this route has no gate"
        );
        routes = rest;
    }
};

impl Router {
    /// Lets operators pass to `route`.
    async fn admit(
        &self,
        route: Route,
        headers: &HeaderMap,
        context: &RequestContext,
    ) -> Result<(), Response<Body>> {
        operator::admit(&self.identity, &self.engine, route.path(), headers, context).await
    }
}

impl Handler for Router {
    fn refuse(&self, path: &str, refusal: Refusal) -> Response<Body> {
        self.refuse_as_frontend(path, refusal)
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> Response<Body> {
        let Some(route) = Route::of(request.method(), request.uri().path()) else {
            return self.by_frontend(request, context).await;
        };
        context.set_route(route.label());
        if route == Route::Metrics && self.metrics.is_none() {
            return absent();
        }
        if route.access() == Access::Operator
            && let Err(refused) = self.admit(route, request.headers(), &context).await
        {
            return refused;
        }
        match route {
            Route::Token => Box::pin(endpoint::answer(&self.identity, request, &context)).await,
            Route::Workload => {
                Box::pin(workload::endpoint::answer(&self.workloads, request, &context)).await
            }
            Route::Healthz => Health::alive(),
            Route::Readyz => self.health.ready().await,
            Route::Metrics => self.metrics.as_ref().map_or_else(absent, Metrics::response),
        }
    }
}

/// The address that is for metrics alone.
#[derive(Debug, Clone)]
pub(crate) struct MetricsAlone(pub(crate) Metrics);

impl Handler for MetricsAlone {
    fn refuse(&self, _: &str, refusal: Refusal) -> Response<Body> {
        refusal.into_plain()
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> Response<Body> {
        match Route::of(request.method(), request.uri().path()) {
            Some(route @ Route::Metrics) => {
                context.set_route(route.label());
                self.0.response()
            }
            _ => absent(),
        }
    }
}

fn absent() -> Response<Body> {
    Refusal { status: StatusCode::NOT_FOUND, why: "there is nothing here" }.into_plain()
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
        assert_eq!(Route::of(&Method::POST, workload::endpoint::PATH), Some(Route::Workload));
    }
}
