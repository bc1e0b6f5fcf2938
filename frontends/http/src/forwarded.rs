//! Who a request is from and what it called us, past the proxies we were told to trust.
//!
//! **Promises.** Forwarding headers count only where the other end of the connection is in a trusted
//! network; with none configured (the default) they are never read. The client is the first address,
//! from the right, that is not itself a trusted proxy: what stands left of it, its client wrote.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// The longest host, with its port.
const MAX_HOST: usize = 255;

/// The longest chain of proxies that is followed.
const MAX_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The networks whose forwarding headers are believed. Empty by default.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Believes peers of these networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether what `address` says of others is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Where a request came from that `peer` delivered; `tls` tells whether that connection was
    /// encrypted, `host` what it named as the host (the URI's authority, or the Host header).
    pub fn origin(
        &self,
        peer: SocketAddr,
        tls: bool,
        host: Option<&str>,
        headers: &HeaderMap,
    ) -> Origin {
        let mut origin = Origin {
            client: peer.ip().to_canonical(),
            scheme: if tls { Scheme::Https } else { Scheme::Http },
            host: host.filter(|host| host.len() <= MAX_HOST).map(str::to_owned),
            via_proxy: false,
        };
        if !self.trusts(peer.ip()) {
            return origin;
        }
        origin.via_proxy = true;
        let (chain, scheme, host) = if headers.contains_key(header::FORWARDED) {
            forwarded(headers)
        } else {
            x_forwarded(headers)
        };
        for hop in chain.iter().rev().take(MAX_HOPS) {
            // An unreadable hop (`unknown`, `_hidden`) hides all that is left of it.
            let Some(address) = hop else { break };
            origin.client = address.to_canonical();
            if !self.trusts(*address) {
                break;
            }
        }
        origin.scheme = scheme.unwrap_or(origin.scheme);
        origin.host = host.or(origin.host);
        origin
    }
}

/// The scheme of the URL that the client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Not encrypted.
    Http,
    /// Encrypted.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            t if t.eq_ignore_ascii_case("https") => Some(Self::Https),
            t if t.eq_ignore_ascii_case("http") => Some(Self::Http),
            _ => None,
        }
    }
}

/// Where a request came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    client: IpAddr,
    scheme: Scheme,
    /// Looked at where it is asked for: most requests name it in vain.
    host: Option<String>,
    via_proxy: bool,
}

impl Origin {
    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// The scheme that the client used.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, and port if any, that the client named; `None` where it named none that is one.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref().filter(|host| is_host(host))
    }

    /// Whether a trusted proxy delivered the request.
    pub fn via_proxy(&self) -> bool {
        self.via_proxy
    }

    /// `scheme://host`, to build absolute URLs for this client.
    pub fn base_url(&self) -> Option<String> {
        self.host().map(|host| format!("{}://{host}", self.scheme.as_str()))
    }
}

type Claims = (Vec<Option<IpAddr>>, Option<Scheme>, Option<String>);

/// All elements of a list header, over all its lines, left to right.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.to_str().unwrap_or("unknown").split(','))
        .map(str::trim)
}

fn x_forwarded(headers: &HeaderMap) -> Claims {
    let chain = elements(headers, &X_FORWARDED_FOR).map(node_address).collect();
    // The rightmost is what the proxy next to us saw or decided.
    let scheme = elements(headers, &X_FORWARDED_PROTO).last().and_then(Scheme::parse);
    let host = elements(headers, &X_FORWARDED_HOST).last().and_then(valid_host);
    (chain, scheme, host)
}

/// RFC 7239: `for=…;proto=…;host=…, for=…`.
fn forwarded(headers: &HeaderMap) -> Claims {
    let (mut chain, mut scheme, mut host) = (Vec::new(), None, None);
    for element in elements(headers, &header::FORWARDED) {
        let mut hop = None;
        for pair in element.split(';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim() {
                n if n.eq_ignore_ascii_case("for") => hop = node_address(value),
                n if n.eq_ignore_ascii_case("proto") => scheme = Scheme::parse(value).or(scheme),
                n if n.eq_ignore_ascii_case("host") => host = valid_host(value).or(host),
                _ => {}
            }
        }
        chain.push(hop);
    }
    (chain, scheme, host)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// A host and port that may stand in a URL that we build: no user, no path, no odd byte.
fn is_host(text: &str) -> bool {
    let fit =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    let read = |text: &str| text.parse::<http::uri::Authority>().ok();
    text.len() <= MAX_HOST
        && text.bytes().all(fit)
        && read(text).is_some_and(|authority| !authority.host().is_empty())
}

fn valid_host(text: &str) -> Option<String> {
    is_host(text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1:999";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn seen(peer: &str, lines: &[(&'static str, &str)]) -> Origin {
        let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
        proxies.origin(peer.parse().unwrap(), false, Some("own.example:5000"), &headers(lines))
    }

    #[test]
    fn threat_a13_a_peer_that_is_no_trusted_proxy_is_not_believed() {
        let spoofed = [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=127.0.0.1;proto=https;host=evil.example"),
        ];
        for peer in ["192.0.2.7:1", "[2001:db8::7]:1"] {
            let origin = seen(peer, &spoofed);
            assert_eq!(origin.client(), peer.parse::<SocketAddr>().unwrap().ip());
            assert_eq!(origin.base_url().unwrap(), "http://own.example:5000");
            assert!(!origin.via_proxy());
        }
        let trusting_nobody = TrustedProxies::default();
        let origin =
            trusting_nobody.origin(PROXY.parse().unwrap(), false, None, &headers(&spoofed));
        assert_eq!(origin.client().to_string(), "10.0.0.1");
    }

    #[test]
    fn a_trusted_proxy_tells_client_scheme_and_host() {
        let origin = seen(
            PROXY,
            &[
                ("x-forwarded-for", "192.0.2.7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "reg.example"),
            ],
        );
        assert_eq!(origin.client().to_string(), "192.0.2.7");
        assert_eq!(origin.base_url().unwrap(), "https://reg.example");
    }

    #[test]
    fn threat_a13_what_the_client_wrote_left_of_the_proxys_entry_is_not_believed() {
        let origin = seen(PROXY, &[("x-forwarded-for", "127.0.0.1, 192.0.2.7, 10.0.0.2")]);
        assert_eq!(origin.client().to_string(), "192.0.2.7");
        let origin = seen(PROXY, &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "junk")]);
        assert_eq!(origin.client().to_string(), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_goes_before_the_older_ones() {
        let origin = seen(
            PROXY,
            &[
                ("forwarded", "for=\"[2001:db8::7]:4711\";proto=https;host=reg.example"),
                ("x-forwarded-for", "192.0.2.9"),
            ],
        );
        assert_eq!(origin.client().to_string(), "2001:db8::7");
        assert_eq!(origin.base_url().unwrap(), "https://reg.example");
    }

    #[test]
    fn threat_c16_a_host_that_could_break_out_of_a_url_is_none() {
        for bad in ["a/b", "user@evil", "a b", "a\"b", "", "a,b", "a?b", "a#b", "a\\b"] {
            assert_eq!(valid_host(bad), None, "{bad}");
        }
        for good in ["localhost", "reg.example:443", "[::1]:5000", "127.0.0.1"] {
            assert_eq!(valid_host(good).as_deref(), Some(good));
        }
    }
}
