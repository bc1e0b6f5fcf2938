//! Trusted publishing: the token that an issuer signed for one run becomes a short token of ours, at the
//! two addresses that twine, uv and the others ask for it.
//!
//! They ask at the top of the host, whatever the address of the uploads; there the only registry with a
//! rule for the token is meant. Below a registry that one is meant, where several have rules. What an
//! address says of a registry is nothing that can be seen: without a rule for the very token, one that is
//! there answers as one that is not. All answers are JSON, the refusals too, for that is what clients read.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_http::auth::Secret;
use strongroom_http::{Body, RequestBody, RequestContext};
use strongroom_identity::workload::{self, WorkloadError, Workloads};
use strongroom_identity::{IdentityError, gate};

use crate::Inner;
use crate::error::{Failure, OUTAGE, Reply};
use crate::routes::Place;

/// The largest body: a token.
const MAX_BODY: usize = 32 << 10;

/// Who exchanges tokens, and for whom their issuers have to make them.
#[derive(Debug, Clone)]
pub struct TrustedPublishing {
    /// The rules.
    pub workloads: Workloads,
    /// What clients are told to ask their issuer's token for (`aud`). It should be this installation's
    /// alone: a token made for another is then no good here.
    pub audience: String,
}

#[derive(Deserialize)]
struct Asked {
    token: String,
}

/// `GET _/oidc/audience`
pub(crate) fn audience(service: &Inner) -> Result<Reply, Failure> {
    let trusted = service.settings.trusted_publishing.as_ref().ok_or_else(Failure::absent)?;
    Ok(reply(StatusCode::OK, &json!({ "audience": trusted.audience })))
}

/// `POST _/oidc/mint-token`
pub(crate) async fn mint(
    service: &Inner,
    place: Option<&Place>,
    headers: &HeaderMap,
    body: RequestBody,
    context: &RequestContext,
) -> Result<Reply, Failure> {
    let trusted = service.settings.trusted_publishing.as_ref().ok_or_else(Failure::absent)?;
    let body = match body.collect_limited(MAX_BODY).await {
        Ok(body) => body,
        Err(error) => return Ok(refused(error.status(), "invalid-payload", &error.to_string())),
    };
    let Ok(Asked { token }) = serde_json::from_slice(&body) else {
        let why = "send {\"token\": \"…\"}, the token that your issuer signed";
        return Ok(refused(StatusCode::UNPROCESSABLE_ENTITY, "invalid-payload", why));
    };
    let place = place.map(|Place { organisation, registry }| workload::Place {
        organisation: organisation.clone(),
        registry: registry.clone(),
    });
    let origin = gate::origin(headers, context);
    match trusted.workloads.exchange(&Secret::new(token), place.as_ref(), &origin).await {
        Ok(given) => {
            let now = service.records.seconds().await?;
            let body = json!({
                "success": true,
                "token": given.token.expose(),
                "expires": now.saturating_add(given.expires_in),
            });
            Ok(reply(StatusCode::OK, &body))
        }
        Err(error) => Ok(not_exchanged(&error)),
    }
}

fn not_exchanged(error: &WorkloadError) -> Reply {
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    let why = error.to_string();
    match error {
        WorkloadError::Identity(IdentityError::TooMany { retry_after }) => {
            let mut reply = refused(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", &why);
            let wait = HeaderValue::from(retry_after.as_secs().saturating_add(1));
            reply.headers_mut().insert(RETRY_AFTER, wait);
            reply
        }
        WorkloadError::Identity(IdentityError::Unavailable(_)) => away(error),
        WorkloadError::Identity(_) => refused(
            unprocessable,
            "invalid-token",
            "the token is malformed, expired, or of no issuer that is trusted here",
        ),
        WorkloadError::Used => refused(unprocessable, "invalid-reuse-token", &why),
        WorkloadError::NoRule { .. } => refused(unprocessable, "invalid-publisher", &why),
        WorkloadError::Ambiguous { .. } => refused(
            unprocessable,
            "ambiguous-publisher",
            "several registries have rules for this token: ask below the one you mean, at \
             /pypi/ORGANISATION/REGISTRY/_/oidc/mint-token",
        ),
        WorkloadError::Invalid(_) => refused(unprocessable, "invalid-token", &why),
        WorkloadError::Unknown { .. }
        | WorkloadError::Accounts(_)
        | WorkloadError::Damaged(_)
        | WorkloadError::Engine(_)
        // They may grow: until one has its arm here, it is nobody's fault outside.
        | _ => away(error),
    }
}

fn away(error: &WorkloadError) -> Reply {
    let error = strongroom_http::log::chain(error);
    tracing::error!(error, "a workload's token could not be exchanged");
    let why = "no token can be exchanged now; try again";
    let mut reply = refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily-unavailable", why);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(OUTAGE.as_secs()));
    reply
}

/// A refusal with one reason, as clients show it.
fn refused(status: StatusCode, code: &str, description: &str) -> Reply {
    let errors = json!([{ "code": code, "description": description }]);
    reply(status, &json!({ "message": "Token request failed", "errors": errors }))
}

fn reply(status: StatusCode, body: &Value) -> Reply {
    let mut reply = Response::new(Body::from(body.to_string()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
