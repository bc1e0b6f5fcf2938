//! The keys of one issuer, kept while it is away.
//!
//! Life of a set: there is none until the first token asks; from then on known keys answer at once. Old
//! ones ([`Policy::refresh_after`]) are looked for anew by whoever comes first, and nobody waits for that;
//! an unknown name waits for one look, and no other look begins for [`Policy::look_each`]. What a look
//! brings replaces the set; where it fails, the set goes on until [`Policy::max_age`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::keys::{self, Key};
use super::{Policy, Signing, Trusted};
use crate::web::{self, AddressError, Web};

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAt {
    /// At this address.
    Url(String),
    /// Where its discovery document says (`OpenID` Connect Discovery 1.0, section 4).
    Discovery,
}

/// Why there is no key.
#[derive(Debug)]
pub(super) enum KeyError {
    /// The issuer has none of that name.
    Unknown,
    /// It can't be asked, and what it said before is too old.
    Away(String),
}

pub(super) struct Source {
    issuer: String,
    at: KeysAt,
    signing: &'static [Signing],
    held: ArcSwapOption<Held>,
    /// The last look, held while one is under way.
    looked: Mutex<Option<Look>>,
}

struct Held {
    keys: HashMap<String, Arc<Key>>,
    since: Instant,
}

struct Look {
    at: Instant,
    failed: Option<String>,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    pub(super) fn new(trusted: Trusted) -> Result<Self, AddressError> {
        let Trusted { issuer, keys, signing } = trusted;
        match &keys {
            KeysAt::Url(url) => web::address(url)?,
            KeysAt::Discovery => web::address(&issuer)?,
        };
        Ok(Self {
            issuer,
            at: keys,
            signing,
            held: ArcSwapOption::empty(),
            looked: Mutex::new(None),
        })
    }

    /// The key of this name, as the issuer has it now or had it lately enough.
    pub(super) async fn key(
        &self,
        name: &str,
        policy: &Policy,
        web: &dyn Web,
    ) -> Result<Arc<Key>, KeyError> {
        if let Some(key) = self.held(name, policy.refresh_after) {
            return Ok(key);
        }
        if self.held(name, policy.max_age).is_some() {
            // Old, and good: one looks, the others go on.
            if let Ok(mut looked) = self.looked.try_lock() {
                self.look(&mut looked, policy.look_each, web).await;
            }
        } else {
            let mut looked = self.looked.lock().await;
            // Unless the one before has brought it.
            if self.held(name, policy.refresh_after).is_none() {
                self.look(&mut looked, policy.look_each, web).await;
            }
            if let Some(reason) = looked.as_ref().and_then(|look| look.failed.clone())
                && self.held(name, policy.max_age).is_none()
            {
                return Err(KeyError::Away(reason));
            }
        }
        self.held(name, policy.max_age).ok_or(KeyError::Unknown)
    }

    /// The key of this name, where the set is younger than that.
    fn held(&self, name: &str, age: Duration) -> Option<Arc<Key>> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| held.since.elapsed() < age)?;
        held.keys.get(name).cloned()
    }

    /// Asks the issuer, unless somebody just did.
    async fn look(&self, looked: &mut Option<Look>, each: Duration, web: &dyn Web) {
        if looked.as_ref().is_some_and(|look| look.at.elapsed() < each) {
            return;
        }
        // Written down first: a look that is given up in the middle counts, too.
        let pending = Some("a look for them was given up".to_owned());
        *looked = Some(Look { at: Instant::now(), failed: pending });
        let failed = match self.fetch(web).await {
            Ok(keys) => {
                self.held.store(Some(Arc::new(Held { keys, since: Instant::now() })));
                None
            }
            Err(reason) => {
                let issuer = self.issuer.as_str();
                tracing::warn!(
                    issuer,
                    reason,
                    "the keys of an issuer can't be had; known ones stay"
                );
                Some(reason)
            }
        };
        *looked = Some(Look { at: Instant::now(), failed });
    }

    async fn fetch(&self, web: &dyn Web) -> Result<HashMap<String, Arc<Key>>, String> {
        let url = match &self.at {
            KeysAt::Url(url) => url.clone(),
            KeysAt::Discovery => {
                let at = format!(
                    "{}/.well-known/openid-configuration",
                    self.issuer.trim_end_matches('/')
                );
                let found: Discovered = serde_json::from_slice(&get(&at, web).await?)
                    .map_err(|_| format!("{at} is no discovery document"))?;
                if found.issuer != self.issuer {
                    return Err(format!("{at} is of another issuer"));
                }
                web::address(&found.jwks_uri).map_err(|error| error.to_string())?;
                found.jwks_uri
            }
        };
        let set = get(&url, web).await?;
        keys::parse(&set, self.signing).map_err(|error| format!("{url}: {error}"))
    }
}

async fn get(url: &str, web: &dyn Web) -> Result<Bytes, String> {
    let request = Request::get(url).header("accept", "application/json").body(Bytes::new());
    let request = request.map_err(|error| format!("{url}: {error}"))?;
    let answer = web.send(request).await.map_err(|error| format!("{url}: {error}"))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("{url} answers {}", answer.status()));
    }
    if answer.body().len() > web::MAX_ANSWER {
        return Err(format!("{url} answers too much"));
    }
    Ok(answer.into_body())
}
