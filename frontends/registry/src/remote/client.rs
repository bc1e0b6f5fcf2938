//! One server's API, as one caller: requests out, JSON or a problem back.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use strongroom_http::auth::Secret;
use strongroom_identity::web::{self, HttpsClient};

use crate::failure::Failure;

/// The most of an answer that is read whole, in bytes; exports are read as they come.
const MAX_ANSWER: usize = 16 << 20;
/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_mins(1);
/// What stands in a segment of a path as it is.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'+').remove(b':');

/// Where a server is: `https://HOST[:PORT]`, or `http://` for this machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl(String);

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = "a server is https://HOST[:PORT]";
        let uri: Uri = text.parse().map_err(|_| right.to_owned())?;
        let authority = uri.authority().ok_or(right)?;
        if authority.as_str().contains('@')
            || !matches!(uri.path(), "" | "/")
            || uri.query().is_some()
        {
            return Err(right.to_owned());
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_here(authority.host()) => {}
            Some("http") => {
                return Err(
                    "a password or token would travel unencrypted: write https://; http:// is \
                            for this machine alone"
                        .to_owned(),
                );
            }
            _ => return Err(right.to_owned()),
        }
        let scheme = uri.scheme_str().unwrap_or("https");
        Ok(Self(format!("{scheme}://{authority}").to_ascii_lowercase()))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_here(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// How a caller signs in.
#[derive(Debug, Clone)]
pub(crate) enum SignIn {
    Password { username: String, password: Secret },
    Token(Secret),
}

/// A caller at a server.
pub(crate) struct Client {
    http: HttpsClient,
    server: ServerUrl,
    authorization: HeaderValue,
}

/// A segment of a path.
pub(crate) fn segment(text: impl fmt::Display) -> String {
    utf8_percent_encode(&text.to_string(), SEGMENT).to_string()
}

/// Why a request was not done: the server's problem, or none came.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: Option<StatusCode>,
    /// The last part of the problem's type.
    pub(crate) kind: String,
    pub(crate) failure: Failure,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        refused.failure
    }
}

impl Client {
    pub(crate) fn new(server: &ServerUrl, sign_in: &SignIn) -> Result<Self, Failure> {
        let http = web::client().map_err(|error| Failure::failed(error.to_string()))?;
        let text = match sign_in {
            SignIn::Password { username, password } => {
                let pair = format!("{username}:{}", password.expose());
                format!("Basic {}", STANDARD.encode(pair))
            }
            SignIn::Token(token) => format!("Bearer {}", token.expose()),
        };
        let mut authorization = HeaderValue::from_str(&text).map_err(|_| {
            Failure::usage("what was given to sign in has characters that can't be sent")
        })?;
        authorization.set_sensitive(true);
        Ok(Self { http, server: server.clone(), authorization })
    }

    fn away(&self, why: impl fmt::Display) -> Refused {
        let failure = Failure::away(format!(
            "{} does not answer: {why}; is it running, and is the address right?",
            self.server
        ));
        Refused { status: None, kind: String::new(), failure }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<http::Response<hyper::body::Incoming>, Refused> {
        let body = body.map(Value::to_string);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.server))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(USER_AGENT, concat!("strongroom/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default()));
        let request = request.map_err(|error| self.away(error))?;
        let answer = tokio::time::timeout(PATIENCE, self.http.request(request)).await;
        let answer = answer.map_err(|_| self.away("it takes too long"))?;
        answer.map_err(|error| self.away(strongroom_http::log::chain(&error)))
    }

    /// Sends a request; JSON, or null where there is no body.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let answer = self.ask(method, path, body).await?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let bytes = bytes.map_err(|error| self.away(error))?.to_bytes();
        if status.is_success() {
            if bytes.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&bytes).map_err(|_| self.strange(status));
        }
        Err(self.refused(status, &bytes))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Refused> {
        self.send(Method::GET, path, None).await
    }

    /// All items of a list, page by page, at most `most`.
    pub(crate) async fn all(&self, path: &str, most: usize) -> Result<Vec<Value>, Refused> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let limit = most.saturating_sub(items.len()).clamp(1, 1_000);
            let next = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = self.get(&format!("{path}{joint}limit={limit}{next}")).await?;
            let Some(more) = page.get("items").and_then(Value::as_array) else {
                return Err(self.strange(StatusCode::OK));
            };
            items.extend(more.iter().cloned());
            cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() || items.len() >= most {
                items.truncate(most);
                return Ok(items);
            }
        }
    }

    /// Hands the pieces of an answer on as they come.
    pub(crate) async fn stream(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let answer = self.ask(Method::GET, path, None).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            let bytes = Limited::new(body, MAX_ANSWER).collect().await;
            let bytes = bytes.map_err(|error| self.away(error))?.to_bytes();
            return Err(self.refused(status, &bytes).into());
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Failure::away(format!("the answer broke off, so it is not whole: {error}"))
            })?;
            if let Some(bytes) = frame.data_ref() {
                each(bytes)?;
            }
        }
        Ok(())
    }

    fn strange(&self, status: StatusCode) -> Refused {
        let why =
            format!("{} answered {status} with what is no answer of Strongroom's", self.server);
        Refused { status: Some(status), kind: String::new(), failure: Failure::failed(why) }
    }

    fn refused(&self, status: StatusCode, bytes: &[u8]) -> Refused {
        let problem: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let text = |name| problem.get(name).and_then(Value::as_str);
        let (Some(kind), Some(detail)) = (text("type"), text("detail")) else {
            return self.strange(status);
        };
        let kind = kind.rsplit(':').next().unwrap_or_default().to_owned();
        let next = match kind.as_str() {
            "unauthorized" => format!("; sign in with `strongroom --server {} login`", self.server),
            "password-needed" => "; give the same verb with --ask-password".to_owned(),
            "too-many" | "away" | "under-way" => "; try again in a moment".to_owned(),
            _ => String::new(),
        };
        let message = format!("{}{next}", strongroom_http::log::clean(detail));
        let away = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let failure = if away { Failure::away(message) } else { Failure::failed(message) };
        Refused { status: Some(status), kind, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_c25_credentials_travel_encrypted_or_not_at_all() {
        for good in [
            "https://reg.example",
            "https://reg.example:5000/",
            "http://127.0.0.1:5000",
            "http://localhost",
            "http://[::1]:5000",
        ] {
            let url: ServerUrl = good.parse().unwrap();
            assert_eq!(url.to_string(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "reg.example",
            "http://reg.example",
            "ftp://x",
            "https://u:p@x",
            "https://x/y",
            "https://x/?y",
            "http://127.0.0.1.evil.example",
        ] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("a/b?c#d e"), "a%2Fb%3Fc%23d%20e");
        assert_eq!(segment("robot:acme+ci"), "robot:acme+ci");
    }
}
