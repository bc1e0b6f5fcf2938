//! The token endpoint of the Docker token specification: `GET` with Basic, and the OAuth2 `POST`
//! with a password or a refresh token.
//!
//! **Promises.** Answers are never cached; a body is bounded; a secret in a query is never read
//! (queries end up in logs of proxies), only those in the header or in the body of a `POST`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::json;
use strongroom_engine::seam::Timestamp;
use strongroom_http::auth::{Credentials, Secret};
use strongroom_http::{Body, RequestBody, RequestBodyError, RequestContext};

use crate::embedded::{ExchangeError, Exchanged, Grant};
use crate::provider::IdentityError;
use crate::scope::{self, Resource, Scope};
use crate::{Identity, challenge, gate};

/// Where the endpoint is.
pub const PATH: &str = "/v2/token";

/// The largest form.
const MAX_FORM: usize = 64 * 1024;
/// What is written on a refresh token of a client that does not say what it is.
const UNNAMED: &str = "unnamed client";

/// What a request asks for.
struct Asked {
    grant: Grant,
    scopes: Vec<Scope>,
    offline: Option<String>,
}

/// Why a request is no good.
enum Bad {
    /// What it asks: OAuth2's word for it, and a sentence.
    Request(&'static str, String),
    /// What it says of who sends it can't be read: as wrong as a wrong password.
    Credentials,
    /// Its body.
    Body(RequestBodyError),
}

/// Answers a request to [`PATH`].
pub async fn answer(
    provider: &Identity,
    request: Request<RequestBody>,
    context: &Arc<RequestContext>,
) -> Response<Body> {
    context.set_route("token");
    let origin = gate::origin(request.headers(), context);
    let asked = if request.method() == Method::GET {
        from_query(&request)
    } else if request.method() == Method::POST {
        from_form(request).await
    } else {
        let mut response =
            refused(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "GET or POST");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return response;
    };
    let Asked { grant, scopes, offline } = match asked {
        Ok(asked) => asked,
        Err(Bad::Request(error, why)) => return refused(StatusCode::BAD_REQUEST, error, &why),
        Err(Bad::Credentials) => return not_vouched(&IdentityError::Wrong),
        Err(Bad::Body(error)) => {
            return refused(error.status(), "invalid_request", &error.to_string());
        }
    };
    match provider.exchange(&grant, &scopes, offline.as_deref(), &origin).await {
        Ok(given) => granted(&given),
        Err(ExchangeError::Identity(error)) => not_vouched(&error),
        Err(ExchangeError::Accounts(error)) => {
            let error = strongroom_http::log::chain(&error);
            tracing::error!(error, "no token could be made");
            not_now("try again later")
        }
    }
}

fn from_query(request: &Request<RequestBody>) -> Result<Asked, Bad> {
    let credentials =
        Credentials::from_headers(request.headers()).map_err(|_unread| Bad::Credentials)?;
    let fields = fields(request.uri().query().unwrap_or_default().as_bytes());
    let offline = (field(&fields, "offline_token") == Some("true"))
        .then(|| field(&fields, "client_id").unwrap_or(UNNAMED).to_owned());
    Ok(Asked { grant: Grant::Credentials(credentials), scopes: scopes(&fields)?, offline })
}

async fn from_form(request: Request<RequestBody>) -> Result<Asked, Bad> {
    let form = request.into_body().collect_limited(MAX_FORM).await.map_err(Bad::Body)?;
    let fields = fields(&form);
    let need = |name: &str| {
        let absent = || Bad::Request("invalid_request", format!("the form has no field {name}"));
        field(&fields, name).ok_or_else(absent)
    };
    let grant = match need("grant_type")? {
        "password" => {
            let credentials = Credentials::basic(need("username")?, need("password")?);
            Grant::Credentials(credentials.map_err(|_unread| Bad::Credentials)?)
        }
        "refresh_token" => Grant::Refresh(Secret::new(need("refresh_token")?)),
        _ => {
            let why = "the grant type is neither password nor refresh_token";
            return Err(Bad::Request("unsupported_grant_type", why.to_owned()));
        }
    };
    let offline = (field(&fields, "access_type") == Some("offline"))
        .then(|| field(&fields, "client_id").unwrap_or(UNNAMED).to_owned());
    Ok(Asked { grant, scopes: scopes(&fields)?, offline })
}

type Fields = Vec<(String, String)>;

fn fields(encoded: &[u8]) -> Fields {
    form_urlencoded::parse(encoded).into_owned().collect()
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn scopes(fields: &Fields) -> Result<Vec<Scope>, Bad> {
    let asked = fields.iter().filter(|(key, _)| key == "scope").map(|(_, value)| value.as_str());
    scope::parse(asked).map_err(|error| Bad::Request("invalid_scope", error.to_string()))
}

fn granted(given: &Exchanged) -> Response<Body> {
    let scope: Vec<_> = given
        .scopes
        .iter()
        .filter(|scope| !scope.actions.is_empty() || scope.resource == Resource::Catalog)
        .map(Scope::to_string)
        .collect();
    let mut body = json!({
        // Two names for the same, since clients read either.
        "token": given.issued.token,
        "access_token": given.issued.token,
        "token_type": "Bearer",
        "expires_in": given.issued.expires_in,
        "issued_at": rfc3339(Timestamp(given.issued.issued_at.saturating_mul(1_000))),
        "scope": scope.join(" "),
    });
    if let (Some(refresh), Some(fields)) = (&given.refresh, body.as_object_mut()) {
        fields.insert("refresh_token".to_owned(), refresh.expose().into());
    }
    reply(StatusCode::OK, &body)
}

fn rfc3339(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
}

pub(crate) fn not_vouched(error: &IdentityError) -> Response<Body> {
    match error {
        IdentityError::Wrong | IdentityError::ActFirst(_) => {
            let mut response =
                refused(StatusCode::UNAUTHORIZED, "invalid_grant", &error.to_string());
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge::basic("strongroom"));
            response
        }
        IdentityError::TooMany { retry_after } => {
            let why = error.to_string();
            waiting(refused(StatusCode::TOO_MANY_REQUESTS, "slow_down", &why), *retry_after)
        }
        IdentityError::Unavailable(why) => {
            tracing::error!(
                error = &*strongroom_http::log::clean(why),
                "nobody can be vouched for"
            );
            not_now("nobody can be vouched for now; try again later")
        }
    }
}

/// What is needed for an answer is away.
pub(crate) fn not_now(why: &str) -> Response<Body> {
    let response = refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", why);
    waiting(response, Duration::from_secs(1))
}

fn waiting(mut response: Response<Body>, wait: Duration) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    response
}

/// An error that both kinds of clients read: OAuth2's, and the distribution specification's.
pub(crate) fn refused(status: StatusCode, error: &str, why: &str) -> Response<Body> {
    let code = match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::PAYLOAD_TOO_LARGE => "SIZE_INVALID",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
        _ => "UNSUPPORTED",
    };
    let body = json!({
        "error": error,
        "error_description": why,
        "errors": [{ "code": code, "message": why }],
    });
    reply(status, &body)
}

pub(crate) fn reply(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
