//! The few requests that we make ourselves: to key sets of issuers, and to Cognito.
//!
//! **Promises.** A redirect is an answer like any other and never followed, so that what is sent to a
//! configured host goes nowhere else (THREATS A16); an answer has at most [`MAX_ANSWER`] bytes and
//! comes within [`TIMEOUT`], or is an error. No secret stands in an address, and no error holds what was sent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The most bytes of an answer: key sets and tokens take a few kilobytes.
pub const MAX_ANSWER: usize = 256 * 1024;
/// How long a request may take, from the look-up of the host to the answer's last byte.
pub const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);

/// Why there is no answer. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// It took too long.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// It could not be sent, or the answer broke off or was too large.
    #[error("{0}")]
    Broken(String),
}

/// Sends requests. The seam at which tests count and answer them.
#[async_trait]
pub trait Web: Send + Sync + fmt::Debug {
    /// Sends one request and reads the answer whole, whatever its status.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, WebError>;
}

/// A client over HTTP/1.1, with TLS where the address says so. It follows no redirect.
pub type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts whom the system trusts; fails where it trusts nobody.
pub fn client() -> Result<HttpsClient, WebError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| {
            WebError::Broken(format!("the system's certificates can't be used: {error}"))
        })?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// Asks nobody: for where nothing is configured that could be asked, so that no certificates are
/// needed.
#[derive(Debug)]
pub struct NoWeb;

#[async_trait]
impl Web for NoWeb {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Bytes>, WebError> {
        Err(WebError::Broken("nothing is configured that could be asked".to_owned()))
    }
}

/// Sends them by a [`client`].
pub struct HttpsWeb(HttpsClient);

impl HttpsWeb {
    /// Trusts whom the system trusts; fails where it trusts nobody.
    pub fn new() -> Result<Self, WebError> {
        client().map(Self)
    }
}

impl fmt::Debug for HttpsWeb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsWeb").finish_non_exhaustive()
    }
}

#[async_trait]
impl Web for HttpsWeb {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, WebError> {
        let work = async {
            let answer = self.0.request(request.map(Full::new)).await;
            let answer =
                answer.map_err(|error| WebError::Broken(strongroom_http::log::chain(&error)))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| WebError::Broken(error.to_string()))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(TIMEOUT, work).await.map_err(|_| WebError::Timeout)?
    }
}

/// The address is none that may be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is no address to ask: write https://HOST/…, or http:// for this very machine")]
pub struct AddressError {
    /// What was given.
    pub address: String,
}

/// Reads an address of the settings. Without TLS only this machine is asked: what else stands between
/// could answer with its own keys, or read passwords.
pub fn address(text: &str) -> Result<Uri, AddressError> {
    let bad = || AddressError { address: text.chars().take(200).collect() };
    let uri: Uri = text.parse().map_err(|_| bad())?;
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let named = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    match uri.scheme_str() {
        Some("https") if named && !host.is_empty() => Ok(uri),
        Some("http") if named && here => Ok(uri),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes, and says what came.
    async fn answering(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/keys", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut count = 0;
            while let Ok(Ok((mut stream, _))) =
                tokio::time::timeout(Duration::from_millis(500), listener.accept()).await
            {
                count += 1;
                let mut buffer = [0; 4096];
                let _request = stream.read(&mut buffer).await;
                let _cut = stream.write_all(&answer).await;
            }
            count
        });
        (address, served)
    }

    fn get(address: &str) -> Request<Bytes> {
        Request::get(address).body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn threat_a16_a_redirect_is_not_followed() {
        let (elsewhere, not_asked) = answering(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).await;
        let redirect =
            format!("HTTP/1.1 307 x\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
        let (address, asked) = answering(redirect.into_bytes()).await;
        let answer = HttpsWeb::new().unwrap().send(get(&address)).await.unwrap();
        assert_eq!(answer.status(), 307);
        assert_eq!((asked.await.unwrap(), not_asked.await.unwrap()), (1, 0));
    }

    #[tokio::test]
    async fn threat_a7_an_answer_has_a_bound() {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        for (size, fits) in [(MAX_ANSWER, true), (MAX_ANSWER + 1, false)] {
            let (address, _served) = answering([head.clone(), vec![b'x'; size]].concat()).await;
            // Whoever writes ends by closing.
            let answer = HttpsWeb::new().unwrap().send(get(&address)).await;
            assert_eq!(answer.is_ok(), fits, "{size}");
        }
    }

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for good in
            ["https://a.example/x", "http://127.0.0.1:1/", "http://localhost", "http://[::1]:1/"]
        {
            address(good).unwrap();
        }
        for bad in
            ["http://a.example/", "https://good@evil.example/", "ftp://a", "/x", "https://", "x"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
