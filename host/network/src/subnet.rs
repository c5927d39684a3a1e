//! Which addresses networks and containers get.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::record::Addresses;

/// Where networks get their addresses from by default, as with Docker.
fn pools() -> impl Iterator<Item = Ipv4Net> {
    let large = (17..=31).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|part| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, part * 16, 0), 20));
    large.chain(small)
}

/// Whether two networks have addresses in common.
pub fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The route of the host that leads into a subnet. One that leads to more than the subnet is no obstacle: the bridge's
/// own is the more specific one.
pub fn taken_by(subnet: IpNet, routes: &[IpNet]) -> Option<IpNet> {
    routes.iter().copied().find(|route| subnet.contains(route))
}

/// The first of Docker's pools that has no address in common with those that are in use.
pub fn choose(used: &[IpNet]) -> Option<Ipv4Net> {
    pools().find(|&pool| !used.iter().any(|&other| overlap(pool.into(), other)))
}

/// A network of local IPv6 addresses that no other site has (RFC 4193).
///
/// # Errors
/// When the host has no randomness.
pub fn random_v6() -> Result<Ipv6Net, getrandom::Error> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets[1..8])?;
    octets[0] = 0xfd;
    Ok(Ipv6Net::new_assert(Ipv6Addr::from(octets), 64))
}

/// The network's first address for hosts.
pub fn first_host(subnet: IpNet) -> Option<IpAddr> {
    let mut hosts = candidates(subnet);
    hosts.next()
}

/// The addresses that a host can have, the lowest first.
fn candidates(subnet: IpNet) -> Box<dyn Iterator<Item = IpAddr>> {
    match subnet {
        IpNet::V4(v4) => Box::new(v4.hosts().map(IpAddr::from)),
        // The first one is every router's (RFC 4291, section 2.6.1).
        IpNet::V6(v6) => Box::new(v6.hosts().skip(1).map(IpAddr::from)),
    }
}

/// Whether a host can have the address.
pub fn is_host(subnet: IpNet, address: IpAddr) -> bool {
    let ends = match subnet {
        IpNet::V4(v4) if v4.prefix_len() < 31 => {
            address == IpAddr::from(v4.network()) || address == IpAddr::from(v4.broadcast())
        }
        IpNet::V4(_) => false,
        IpNet::V6(v6) => address == IpAddr::from(v6.network()),
    };
    subnet.contains(&address) && !ends
}

/// A free address: `preferred` if that is one, else the lowest. `taken` are those in use.
pub fn allocate<N, A>(
    addresses: &Addresses<N, A>,
    taken: &BTreeSet<IpAddr>,
    preferred: Option<IpAddr>,
) -> Option<IpAddr>
where
    N: Copy + Into<IpNet>,
    A: Copy + Into<IpAddr>,
{
    let subnet: IpNet = addresses.subnet.into();
    let gateway: IpAddr = addresses.gateway.into();
    let free =
        |address: &IpAddr| *address != gateway && !taken.contains(address) && is_host(subnet, *address);
    let range = addresses.range.map_or(subnet, Into::into);
    preferred.filter(free).or_else(|| candidates(range).find(free)).or_else(|| {
        // A range that is smaller than the subnet may have hosts at its ends, too.
        [range.network(), range.broadcast()].into_iter().find(free)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn subnets_stay_clear_of_others() {
        assert_eq!(choose(&[]).unwrap().to_string(), "172.17.0.0/16");
        let used = ["172.17.5.0/24", "172.16.0.0/14", "10.0.0.0/8"].map(|net| net.parse().unwrap());
        assert_eq!(choose(&used).unwrap().to_string(), "172.20.0.0/16");
        let all = ["172.16.0.0/12", "192.168.0.0/17"].map(|net| net.parse().unwrap());
        assert_eq!(choose(&all).unwrap().to_string(), "192.168.128.0/20");
        assert_eq!(choose(&["0.0.0.0/1".parse().unwrap(), "128.0.0.0/1".parse().unwrap()]), None);
        assert_eq!(random_v6().unwrap().network().octets()[0], 0xfd);
    }

    #[test]
    fn wider_routes_are_no_obstacle() {
        let [subnet, wider, same, inside] =
            ["10.5.0.0/24", "10.0.0.0/8", "10.5.0.0/24", "10.5.0.7/32"].map(|net| net.parse().unwrap());
        assert_eq!(taken_by(subnet, &[wider]), None);
        assert_eq!(taken_by(subnet, &[wider, same]), Some(same));
        assert_eq!(taken_by(subnet, &[inside]), Some(inside));
    }

    proptest! {
        #[test]
        fn nobody_gets_anothers_address(prefix in 24u8..=30, count in 1usize..300, preferred in any::<u8>()) {
            let subnet = Ipv4Net::new(Ipv4Addr::new(10, 9, 8, 0), prefix).unwrap();
            let addresses = Addresses { subnet, range: None, gateway: Ipv4Addr::new(10, 9, 8, 1) };
            let mut taken = BTreeSet::new();
            let room = subnet.hosts().count() - 1;
            for number in 0..count {
                let preferred = Some(Ipv4Addr::new(10, 9, 8, preferred).into());
                match allocate(&addresses, &taken, preferred) {
                    Some(address) => {
                        prop_assert!(address != IpAddr::from(addresses.gateway));
                        // Which it is only if it is in the subnet.
                        prop_assert!(is_host(subnet.into(), address));
                        prop_assert!(taken.insert(address));
                    }
                    None => prop_assert_eq!(number, room),
                }
                if taken.len() == room { break; }
            }
        }
    }
}
