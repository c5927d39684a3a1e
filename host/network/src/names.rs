//! Who a container's neighbours are, as the name server asks it.

use std::cell::RefCell;
use std::fs;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::Networks;
use super::endpoint::{Attachment, Endpoint};
use super::record::DEFAULT;
use crate::dns::{self, Directory, Network};
use moat_records::id::ContainerId;

/// A directory that was changed this long ago has another time of change with the next change: the steps of the
/// host's clock are shorter.
const SETTLED: Duration = Duration::from_secs(1);

/// The containers on the networks of one.
pub struct Neighbours {
    networks: Networks,
    container: ContainerId,
    /// What was found when the records were last changed at that time.
    known: RefCell<Option<(SystemTime, Vec<Network>)>>,
}

impl Neighbours {
    /// The neighbours of `container`.
    pub fn new(networks: Networks, container: ContainerId) -> Self {
        Self { networks, container, known: RefCell::new(None) }
    }
}

impl Directory for Neighbours {
    /// A guest can ask as often as it likes: the records are read again only after one of them has changed, which
    /// changes their directory.
    fn networks(&self) -> Vec<Network> {
        let changed = fs::metadata(self.networks.attached()).and_then(|it| it.modified()).ok();
        if let Some((of, found)) = &*self.known.borrow()
            && Some(*of) == changed
        {
            return found.clone();
        }
        let found = match self.networks.attachments() {
            Ok(all) => around(&self.container, &all),
            Err(e) => {
                tracing::warn!("{e}");
                return Vec::new();
            }
        };
        let is_settled = |changed: &SystemTime| changed.elapsed().is_ok_and(|age| age >= SETTLED);
        *self.known.borrow_mut() = changed.filter(is_settled).map(|changed| (changed, found.clone()));
        found
    }
}

/// The networks of a container in its order, and who is on them.
fn around(container: &ContainerId, all: &[Attachment]) -> Vec<Network> {
    let own = all.iter().find(|attachment| attachment.container == *container);
    let networks = own.map(|own| own.endpoints.as_slice()).unwrap_or_default().iter();
    networks
        .map(|own| {
            let mut endpoints = Vec::new();
            // As with Docker there are no names on the default network.
            if own.network_name != DEFAULT {
                for attachment in all {
                    let there =
                        attachment.endpoints.iter().filter(|endpoint| endpoint.network == own.network);
                    endpoints.extend(there.map(|endpoint| known_as(attachment, endpoint)));
                }
            }
            Network { name: own.network_name.clone(), internal: own.internal, endpoints }
        })
        .collect()
}

fn known_as(attachment: &Attachment, endpoint: &Endpoint) -> dns::Endpoint {
    let fixed = [attachment.name.as_str(), attachment.container.short()];
    let addresses = [Some(IpAddr::from(endpoint.ipv4.addr())), endpoint.ipv6.map(|v6| v6.addr().into())];
    dns::Endpoint {
        names: fixed.into_iter().map(str::to_owned).chain(endpoint.aliases.iter().cloned()).collect(),
        addresses: addresses.into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::NetworkId;
    use moat_records::root::Root;

    fn id(digit: char) -> ContainerId {
        digit.to_string().repeat(64).parse().unwrap()
    }

    fn endpoint(network: char, name: &str, last: u8) -> Endpoint {
        Endpoint {
            network: network.to_string().repeat(64).parse::<NetworkId>().unwrap(),
            network_name: name.to_owned(),
            number: 0,
            id: "0".repeat(64),
            tap: "tap".to_owned(),
            bridge: "bridge".to_owned(),
            mac: moat_protocol::MacAddress([2; 6]),
            ipv4: format!("10.0.0.{last}/24").parse().unwrap(),
            gateway4: [10, 0, 0, 1].into(),
            ipv6: Some(format!("fd00::{last}/64").parse().unwrap()),
            gateway6: None,
            aliases: vec![format!("alias{last}")],
            mtu: 1500,
            internal: name == "back",
            masquerade: true,
        }
    }

    fn attachment(container: char, name: &str, endpoints: Vec<Endpoint>) -> Attachment {
        let (name, hostname) = (name.to_owned(), "host".to_owned());
        Attachment {
            format: moat_records::format::Format,
            container: id(container),
            name,
            hostname,
            endpoints,
            ports: Vec::new(),
            host_access: false,
        }
    }

    #[test]
    fn neighbours_are_those_on_the_same_networks() {
        let all = [
            attachment('1', "web", vec![endpoint('a', "front", 2), endpoint('b', "bridge", 3)]),
            attachment('2', "db", vec![endpoint('c', "back", 4), endpoint('a', "front", 5)]),
            attachment('3', "other", vec![endpoint('b', "bridge", 6), endpoint('c', "back", 7)]),
        ];
        let found = around(&id('1'), &all);
        assert_eq!(
            found.iter().map(|it| (it.name.as_str(), it.internal)).collect::<Vec<_>>(),
            [("front", false), ("bridge", false)]
        );
        let names: Vec<_> = found[0].endpoints.iter().map(|it| it.names.join(" ")).collect();
        assert_eq!(names, ["web 111111111111 alias2", "db 222222222222 alias5"]);
        assert_eq!(
            found[0].endpoints[1].addresses,
            ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]
        );
        // No container has a name on the default network.
        assert!(found[1].endpoints.is_empty());
        assert!(around(&id('2'), &all)[0].internal);
        assert!(around(&id('9'), &all).is_empty());
    }

    #[test]
    fn a_change_of_the_records_is_seen_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let networks = Networks::of(&Root::open(directory.path()).unwrap());
        fs::create_dir_all(networks.attached()).unwrap();
        let neighbours = Neighbours::new(networks.clone(), id('1'));
        assert!(neighbours.networks().is_empty());
        for last in 2..20 {
            let record = attachment('1', "web", vec![endpoint('a', "front", last)]);
            moat_records::record::write(&networks.attachment_path(&id('1')), &record).unwrap();
            let found = neighbours.networks();
            assert_eq!(found[0].endpoints[0].addresses[0], IpAddr::from([10, 0, 0, last]));
        }
    }
}
