//! How much of the server one client may hold.
//!
//! **Promises.** Every bound of the transport is a field of [`Limits`], with its reason; [`Shares`]
//! counts what each client holds, by its address or by its name, and gives it back when the [`Share`]
//! is dropped, however the holder ends. A whole IPv6 /64 counts as one client: it costs its owner nothing to use another
//! address of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The bounds of the transport.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// From the accepting of a connection to its first byte, TLS included. hyper watches nothing
    /// before the first line.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// Between two requests of one connection.
    pub idle_timeout: Duration,
    /// How long a response may stand still because its reader does not read; over HTTP/2, each of
    /// them.
    pub stall_timeout: Duration,
    /// How long a request's body may stand still because its sender does not send.
    pub body_idle_timeout: Duration,
    /// How long what a client still sends is read after its request was refused, so that it gets to
    /// see the answer.
    pub linger_timeout: Duration,
    /// The largest request header, in bytes; beyond it is 431.
    pub max_header_size: usize,
    /// The most header fields of an HTTP/1.1 request; beyond it is 431.
    pub max_headers: usize,
    /// The most connections at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// The most connections of one client address; further ones are closed at once. Trusted proxies
    /// are exempt: they speak for many clients.
    pub max_connections_per_address: usize,
    /// The most requests at once; further ones are answered 503.
    pub max_requests: usize,
    /// The most requests at once of one client address; further ones are answered 429.
    pub max_requests_per_address: usize,
    /// The most requests at once of somebody who signed in, from all addresses together; further
    /// ones are answered 429.
    pub max_requests_per_principal: usize,
    /// The most streams at once of one HTTP/2 connection.
    pub max_streams: u32,
    /// The most streams of one HTTP/2 connection that were reset before the server took them up
    /// (the "rapid reset" flood); beyond it the connection is closed.
    pub max_pending_resets: usize,
    /// How long a shutdown waits for running requests.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_mins(1),
            body_idle_timeout: Duration::from_mins(1),
            linger_timeout: Duration::from_secs(10),
            max_header_size: 32 * 1024,
            max_headers: 100,
            max_connections: 10_000,
            max_connections_per_address: 256,
            max_requests: 4_096,
            max_requests_per_address: 512,
            max_requests_per_principal: 512,
            max_streams: 128,
            max_pending_resets: 20,
            shutdown_grace: Duration::from_mins(1),
        }
    }
}

impl Limits {
    /// The shortest of the times after which a connection is cut: looking this often misses none.
    pub(crate) fn shortest(&self) -> Duration {
        self.first_byte_timeout
            .min(self.header_timeout)
            .min(self.idle_timeout)
            .min(self.stall_timeout)
    }
}

/// The address that stands for a client: an IPv4 address, or the /64 of an IPv6 address.
pub fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Counts what the clients hold at once.
#[derive(Debug, Clone)]
pub struct Shares<K>(Arc<Mutex<Counts<K>>>);

#[derive(Debug)]
struct Counts<K> {
    total: usize,
    by_client: HashMap<K, usize>,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Counts { total: 0, by_client: HashMap::new() })))
    }
}

/// Why no share was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// All of them are taken: whoever asks, wait.
    #[error("all {limit} places are taken")]
    Full {
        /// The bound.
        limit: usize,
    },
    /// This client holds as many as one client may.
    #[error("this client holds {limit} places already, as many as one client may")]
    Client {
        /// The bound.
        limit: usize,
    },
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// Takes one place for `client` (an address goes through [`client_key`] first), if fewer than
    /// `limit` are taken in all, and fewer than `client_limit` by this client.
    pub fn take(
        &self,
        client: K,
        limit: usize,
        client_limit: usize,
    ) -> Result<Share<K>, ShareError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= limit {
            return Err(ShareError::Full { limit });
        }
        match counts.by_client.get_mut(&client) {
            Some(held) if *held >= client_limit => {
                return Err(ShareError::Client { limit: client_limit });
            }
            Some(held) => *held += 1,
            None if client_limit == 0 => return Err(ShareError::Client { limit: client_limit }),
            None => drop(counts.by_client.insert(client.clone(), 1)),
        }
        counts.total += 1;
        Ok(Share { shares: self.clone(), client })
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

/// One place held; dropping it gives it back.
#[derive(Debug)]
pub struct Share<K: Hash + Eq> {
    shares: Shares<K>,
    client: K,
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        let mut counts = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(1);
        if let Some(held) = counts.by_client.get_mut(&self.client) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                // The table holds those who hold something, so it is as bounded as they are.
                counts.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_whole_v6_64_is_one_client_and_a_mapped_v4_is_its_v4() {
        assert_eq!(client_key(address("2001:db8::1")), client_key(address("2001:db8::ffff:1")));
        assert_ne!(client_key(address("2001:db8::1")), client_key(address("2001:db8:0:1::1")));
        assert_eq!(client_key(address("::ffff:10.0.0.1")), address("10.0.0.1"));
        assert_ne!(client_key(address("10.0.0.1")), client_key(address("10.0.0.2")));
    }

    #[test]
    fn a_client_at_its_bound_is_refused_while_others_are_served() {
        let shares = Shares::default();
        let one = shares.take(client_key(address("2001:db8::1")), 10, 1).unwrap();
        let refused = shares.take(client_key(address("2001:db8::2")), 10, 1).unwrap_err();
        assert_eq!(refused, ShareError::Client { limit: 1 });
        let _other = shares.take(address("10.0.0.1"), 10, 1).unwrap();
        drop(one);
        assert!(shares.take(client_key(address("2001:db8::2")), 10, 1).is_ok());
    }

    #[test]
    fn what_was_dropped_leaves_nothing_behind() {
        let shares = Shares::default();
        let held: Vec<_> =
            (0..5).map(|n| shares.take(address(&format!("10.0.0.{n}")), 5, 1).unwrap()).collect();
        let refused = shares.take(address("10.0.0.9"), 5, 1).unwrap_err();
        assert_eq!(refused, ShareError::Full { limit: 5 });
        drop(held);
        assert_eq!(shares.taken(), 0);
        assert!(shares.0.lock().unwrap().by_client.is_empty());
    }
}
