//! The few plain HTTP calls the tests make themselves, where no client can be made to do them.

use std::io::Read;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{Request, Response, header};
use ureq::{Agent, Body, SendBody};

/// Calls one registry as one user.
pub struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

impl Client {
    /// Signs in to the registry at `address` with every request.
    pub fn new(address: &str, user: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{user}:{password}"));
        Self { authorization: Some(format!("Basic {credentials}")), ..Self::anonymous(address) }
    }

    /// Says nothing of who it is.
    pub fn anonymous(address: &str) -> Self {
        // A status is an answer to look at, whatever it is.
        let config = Agent::config_builder().http_status_as_error(false).build();
        Self {
            agent: Agent::new_with_config(config),
            base: format!("http://{address}"),
            authorization: None,
        }
    }

    /// The same client, to whom a redirect is an answer.
    pub fn without_redirects(self) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Self { agent: Agent::new_with_config(config), ..self }
    }

    /// GET of a path or of an address the registry gave.
    pub fn get(&self, path: &str) -> Result<Response<Body>> {
        self.send("GET", path, &[], SendBody::none())
    }

    /// Any request. A body that is a reader needs its `Content-Length` among the headers, or it
    /// is sent chunked.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: SendBody<'_>,
    ) -> Result<Response<Body>> {
        // The spec lets a `Location` be relative or absolute.
        let address =
            if path.starts_with('/') { format!("{}{path}", self.base) } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(&address);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.agent.run(request.body(body)?).with_context(|| format!("{method} {address}"))
    }
}

/// Fails with what the registry said unless it answered as wanted.
pub fn expect(mut response: Response<Body>, wanted: u16) -> Result<Response<Body>> {
    if response.status() != wanted {
        let status = response.status();
        let body = response.body_mut().read_to_string().unwrap_or_default();
        bail!("answered {status}, not {wanted}: {body}");
    }
    Ok(response)
}

/// A header that has to be there.
pub fn header<'r>(response: &'r Response<Body>, name: &str) -> Result<&'r str> {
    let value = response.headers().get(name);
    value.and_then(|value| value.to_str().ok()).with_context(|| format!("the answer has no {name}"))
}

/// Reads on from `inner`, and calls `then` once as soon as `after` bytes were read.
pub struct Tripwire<R, F> {
    inner: R,
    left: u64,
    then: Option<F>,
}

impl<R: Read, F: FnOnce()> Tripwire<R, F> {
    /// Arms it.
    pub fn new(inner: R, after: u64, then: F) -> Self {
        Self { inner, left: after, then: Some(then) }
    }
}

impl<R: Read, F: FnOnce()> Read for Tripwire<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if self.left == 0
            && let Some(then) = self.then.take()
        {
            then();
        }
        Ok(read)
    }
}
