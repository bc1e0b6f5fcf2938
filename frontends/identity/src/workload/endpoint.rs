//! The exchange over HTTP: `POST` with `{"token": …}`, and `{"token": …, "expires_in": …}` back.

use std::str::FromStr as _;
use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_http::auth::Secret;
use strongroom_http::{Body, RequestBody, RequestContext};

use super::{Place, WorkloadError, Workloads};
use crate::endpoint::{not_now, not_vouched, refused, reply};
use crate::gate::origin;

/// Where it is.
pub const PATH: &str = "/token/workload";

/// The largest body: a token and a name.
const MAX_BODY: usize = 32 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    token: String,
    /// `ORGANISATION/REGISTRY`, where rules of several are for the token.
    registry: Option<String>,
}

/// Answers a request to [`PATH`].
pub async fn answer(
    workloads: &Workloads,
    request: Request<RequestBody>,
    context: &Arc<RequestContext>,
) -> Response<Body> {
    context.set_route("workload");
    if request.method() != Method::POST {
        let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "POST only");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let origin = origin(request.headers(), context);
    let body = match request.into_body().collect_limited(MAX_BODY).await {
        Ok(body) => body,
        Err(error) => return refused(error.status(), "invalid_request", &error.to_string()),
    };
    let bad = |why: &str| refused(StatusCode::BAD_REQUEST, "invalid_request", why);
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return bad(
            "send {\"token\": \"…\"}, and \"registry\": \"ORGANISATION/REGISTRY\" where needed",
        );
    };
    let place = match asked.registry.as_deref().map(place) {
        Some(None) => return bad("write the registry as ORGANISATION/REGISTRY"),
        Some(place) => place,
        None => None,
    };
    match workloads.exchange(&Secret::new(asked.token), place.as_ref(), &origin).await {
        Ok(given) => {
            let body = json!({
                "token": given.token.expose(),
                "expires_in": given.expires_in,
                "registry": given.rule.grants.place().to_string(),
            });
            reply(StatusCode::OK, &body)
        }
        Err(error) => not_exchanged(&error),
    }
}

fn place(text: &str) -> Option<Place> {
    let (organisation, registry) = text.split_once('/')?;
    Some(Place {
        organisation: OrganisationName::from_str(organisation).ok()?,
        registry: RegistryName::from_str(registry).ok()?,
    })
}

fn not_exchanged(error: &WorkloadError) -> Response<Body> {
    let why = error.to_string();
    match error {
        WorkloadError::Identity(error) => not_vouched(error),
        WorkloadError::Used => refused(StatusCode::UNAUTHORIZED, "invalid_grant", &why),
        WorkloadError::NoRule { .. } => refused(StatusCode::FORBIDDEN, "access_denied", &why),
        WorkloadError::Ambiguous { .. } | WorkloadError::Invalid(_) => {
            refused(StatusCode::BAD_REQUEST, "invalid_request", &why)
        }
        WorkloadError::Unknown { .. }
        | WorkloadError::Accounts(_)
        | WorkloadError::Damaged(_)
        | WorkloadError::Engine(_) => {
            let error = strongroom_http::log::chain(error);
            tracing::error!(error, "a workload's token could not be exchanged");
            not_now("try again later")
        }
    }
}
