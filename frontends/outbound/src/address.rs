//! Which addresses a request made for a tenant may go to.
//!
//! Whoever manages a registry chooses where its hooks go and where its packages come from, and the machine
//! that connects stands inside of
//! networks that a tenant has no business in: its own loopback, its neighbours, the metadata service of
//! its cloud. So only what is public is reached, and what the operator allowed besides. For IPv6 that is
//! said the other way round: one block is public, less the parts of it that lead elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What is not public of IPv4 (the special-purpose registry of RFC 6890, and multicast).
const NOT_PUBLIC: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The public block of IPv6.
const PUBLIC: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What is not public in it: protocols' own (Teredo is one), documentation, and 6to4, which leads to
/// any address of IPv4.
const NOT_PUBLIC_6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address may be connected to: it is public, or in one of the `allowed` networks.
pub fn may_reach(address: IpAddr, allowed: &[IpNet]) -> bool {
    // An address of IPv4 in the clothes of IPv6 is what it is.
    let address = address.to_canonical();
    allowed.iter().any(|network| network.contains(&address)) || is_public(address)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !NOT_PUBLIC.iter().any(|(first, bits)| holds_4(*first, *bits, address))
        }
        IpAddr::V6(address) => {
            holds_6(PUBLIC.0, PUBLIC.1, address)
                && !NOT_PUBLIC_6.iter().any(|(first, bits)| holds_6(*first, *bits, address))
        }
    }
}

fn holds_4(first: Ipv4Addr, bits: u8, address: Ipv4Addr) -> bool {
    Ipv4Net::new(first, bits).is_ok_and(|network| network.contains(&address))
}

fn holds_6(first: Ipv6Addr, bits: u8, address: Ipv6Addr) -> bool {
    Ipv6Net::new(first, bits).is_ok_and(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_c20_what_is_not_public_is_not_reached() {
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!may_reach(address.parse().unwrap(), &[]), "{address}");
        }
    }

    #[test]
    fn what_is_public_or_was_allowed_is_reached() {
        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "223.255.255.255", "2606:4700::1"] {
            assert!(may_reach(address.parse().unwrap(), &[]), "{address}");
        }
        let allowed: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (address, reached) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("fd00::1", true), ("127.0.0.1", false)]
        {
            assert_eq!(may_reach(address.parse().unwrap(), &allowed), reached, "{address}");
        }
    }

    #[test]
    fn no_block_is_written_so_that_it_holds_nothing() {
        for (first, bits) in NOT_PUBLIC {
            assert!(holds_4(first, bits, first), "{first}/{bits}");
        }
        for (first, bits) in NOT_PUBLIC_6 {
            assert!(holds_6(first, bits, first), "{first}/{bits}");
        }
    }
}
