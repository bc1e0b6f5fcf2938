//! What the operator may set.

use std::time::Duration;

use ipnet::IpNet;

/// How deliveries are made; the defaults are a public service's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Networks that may be reached although they are not public.
    pub allowed_networks: Vec<IpNet>,
    /// Whether a hook's address may be `http://`.
    pub allow_http: bool,
    /// How long one delivery may take, from the name's look-up to the end of the answer.
    pub timeout: Duration,
    /// How many deliveries are under way at once, of all hooks together.
    pub concurrency: usize,
    /// After how many failures on end a hook counts as failing.
    pub attempts: u32,
    /// The wait after the first failure; it doubles for each further one …
    pub back_off: Duration,
    /// … up to this.
    pub max_back_off: Duration,
    /// How long a hook may fail before it is switched off.
    pub disable_after: Duration,
    /// How often the trail is looked at for what other processes wrote.
    pub poll: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allowed_networks: Vec::new(),
            allow_http: false,
            timeout: Duration::from_secs(10),
            concurrency: 16,
            attempts: 8,
            back_off: Duration::from_secs(5),
            max_back_off: Duration::from_hours(1),
            disable_after: Duration::from_hours(5 * 24),
            poll: Duration::from_secs(5),
        }
    }
}
