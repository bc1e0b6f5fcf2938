//! The gate before what is for operators alone.
//!
//! Whoever has not signed in is asked to; somebody else is told that it takes an operator. What is
//! behind the gate is not asked for before.

use std::time::Duration;

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use strongroom_engine::Engine;
use strongroom_engine::access::{Action, Principal};
use strongroom_http::auth::Credentials;
use strongroom_http::server::Refusal;
use strongroom_http::{Body, RequestContext};
use strongroom_identity::gate::origin;
use strongroom_identity::{Identity, IdentityError, IdentityProvider, challenge};

/// Lets operators pass to `route`; for others, what they are told. Who is known leaves a line in the trail.
pub(crate) async fn admit(
    identity: &Identity,
    engine: &Engine,
    route: &str,
    headers: &HeaderMap,
    context: &RequestContext,
) -> Result<(), Response<Body>> {
    let credentials = Credentials::from_headers(headers).map_err(|_unread| sign_in())?;
    let vouched = identity.authenticate(&credentials, origin(headers, context)).await;
    let caller = match vouched {
        Ok(vouched) => vouched.caller,
        Err(IdentityError::Wrong | IdentityError::ActFirst(_)) => return Err(sign_in()),
        Err(IdentityError::TooMany { retry_after }) => {
            let response =
                refused(StatusCode::TOO_MANY_REQUESTS, "too many attempts; wait a moment");
            return Err(waiting(response, retry_after));
        }
        Err(error) => {
            let error = error.to_string();
            tracing::error!(error = &*strongroom_http::log::clean(&error), "nobody is vouched for");
            let why = "nobody can be vouched for now; try again later";
            let response = refused(StatusCode::SERVICE_UNAVAILABLE, why);
            return Err(waiting(response, Duration::from_secs(1)));
        }
    };
    context.set_principal(caller.principal.as_str());
    match &caller.principal {
        Principal::Anonymous => Err(sign_in()),
        Principal::Known(_) if caller.operator => Ok(()),
        Principal::Known(_) => {
            engine.note_refusal(&caller, Action::Manage, None, route);
            Err(refused(StatusCode::FORBIDDEN, "it takes an operator, signed in with the password"))
        }
    }
}

fn sign_in() -> Response<Body> {
    let mut response = refused(StatusCode::UNAUTHORIZED, "sign in as an operator");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge::basic("strongroom"));
    response
}

fn waiting(mut response: Response<Body>, wait: Duration) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    response
}

fn refused(status: StatusCode, why: &'static str) -> Response<Body> {
    Refusal { status, why }.into_plain()
}
