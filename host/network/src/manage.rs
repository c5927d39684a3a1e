//! Networks are made and removed.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use super::firewall::Firewall;
use super::link::Links;
use super::record::{self, Addresses, Network, NetworkId};
use super::tap::NAME_LENGTH;
use super::{NetworkError, Networks, subnet};
use moat_records::format::Format;
use moat_records::record::write;

/// Names that mean something else than a network.
const RESERVED: [&str; 4] = [record::DEFAULT, "host", "none", "default"];

/// What a user says about a new network.
#[derive(Debug, Clone, Default)]
pub struct CreateNetwork {
    /// Its name.
    pub name: String,
    /// Its addresses: at most one subnet of each family; a free one of IPv4 when there is none.
    pub subnets: Vec<IpNet>,
    /// Those that are given out.
    pub ranges: Vec<IpNet>,
    /// The host's addresses, the first of each subnet when not said.
    pub gateways: Vec<IpAddr>,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Whether nothing outside can be reached.
    pub internal: bool,
    /// Free words about it.
    pub labels: BTreeMap<String, String>,
    /// Docker's options, see [`record`].
    pub options: BTreeMap<String, String>,
}

impl Networks {
    /// Makes a network. Nothing of it is on the host before its first container.
    ///
    /// # Errors
    /// When the name is taken, or the addresses are.
    pub fn create(&self, wanted: CreateNetwork) -> Result<Network, NetworkError> {
        if RESERVED.contains(&wanted.name.as_str()) {
            return Err(match wanted.name.as_str() {
                record::DEFAULT => NetworkError::NameTaken(wanted.name),
                name => NetworkError::Invalid(format!(
                    "operation is not permitted on predefined {name} network: choose another name"
                )),
            });
        }
        if !is_valid_name(&wanted.name) {
            return Err(NetworkError::Invalid(format!(
                "{} includes invalid characters for a network name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed",
                if wanted.name.is_empty() { "\"\"" } else { &wanted.name }
            )));
        }
        self.prepare()?;
        let _lock = self.lock()?;
        self.create_locked(wanted)
    }

    /// The default network, made when it is not there.
    pub(super) fn ensure_default(&self) -> Result<Network, NetworkError> {
        if let Some(network) = self.list()?.into_iter().find(Network::is_default) {
            return Ok(network);
        }
        self.prepare()?;
        let _lock = self.lock()?;
        self.ensure_default_locked()
    }

    /// The same for a caller that holds the lock.
    pub(super) fn ensure_default_locked(&self) -> Result<Network, NetworkError> {
        match self.list()?.into_iter().find(Network::is_default) {
            Some(network) => Ok(network),
            None => self.create_locked(CreateNetwork {
                name: record::DEFAULT.to_owned(),
                ..CreateNetwork::default()
            }),
        }
    }

    /// Makes the directories.
    pub(super) fn prepare(&self) -> Result<(), NetworkError> {
        for directory in [self.records(), self.attached()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(NetworkError::host("make the directory of the networks"))?;
        }
        Ok(())
    }

    fn create_locked(&self, wanted: CreateNetwork) -> Result<Network, NetworkError> {
        let existing = self.list()?;
        if existing.iter().any(|network| network.name == wanted.name) {
            return Err(NetworkError::NameTaken(wanted.name));
        }
        let id = NetworkId::random()
            .map_err(|e| NetworkError::Host { action: "choose a network id", source: e.into() })?;
        let bridge = self.bridge_name(&wanted, &id, &existing)?;
        check_options(&wanted.options)?;
        let routes = Links::open()
            .and_then(|links| links.routes())
            .map_err(NetworkError::host("look at the host's routes"))?;
        let (ipv4, ipv6) = addresses(&wanted, &existing, &routes)?;
        let network = Network {
            format: Format,
            id,
            name: wanted.name,
            created: Timestamp::now(),
            bridge,
            ipv4,
            ipv6,
            internal: wanted.internal,
            labels: wanted.labels,
            options: wanted.options,
        };
        write(&self.records().join(network.id.as_str()), &network)?;
        Ok(network)
    }

    fn bridge_name(
        &self,
        wanted: &CreateNetwork,
        id: &NetworkId,
        existing: &[Network],
    ) -> Result<String, NetworkError> {
        if let Some(name) = wanted.options.get(record::BRIDGE_NAME_OPTION) {
            let usable = (1..NAME_LENGTH).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                && !name.starts_with('.');
            if !usable {
                return Err(NetworkError::Invalid(format!("'{name}' cannot be an interface's name")));
            }
            if super::link::exists(name) || existing.iter().any(|network| network.bridge == *name) {
                return Err(NetworkError::Invalid(format!("the host has an interface '{name}' already")));
            }
            return Ok(name.clone());
        }
        // Other root directories have default networks of their own.
        let well_known = wanted.name == record::DEFAULT && self.is_default_root;
        Ok(if well_known { "moat0".to_owned() } else { format!("mb-{}", id.short()) })
    }

    /// Removes a network.
    ///
    /// # Errors
    /// When a running container is on it, or it is the default one.
    pub fn remove(&self, network: &Network) -> Result<(), NetworkError> {
        if network.is_default() {
            return Err(NetworkError::Predefined(network.name.clone()));
        }
        let _lock = self.lock()?;
        // Another command may have removed it since it was looked up.
        let network = self.find_locked(network.id.as_str())?;
        self.sweep()?;
        let users: Vec<String> = (self.attachments()?.iter())
            .filter(|attachment| attachment.endpoints.iter().any(|endpoint| endpoint.network == network.id))
            .map(|attachment| format!("name:\"{}\" id:\"{}\"", attachment.name, attachment.container.short()))
            .collect();
        if !users.is_empty() {
            return Err(NetworkError::InUse { name: network.name, users: users.join(", ") });
        }
        network.dismantle()?;
        std::fs::remove_file(self.records().join(network.id.as_str()))
            .map_err(NetworkError::host("remove the network's record"))
    }
}

impl Network {
    /// Removes its bridge. The caller holds the lock, and no container is on it.
    pub(super) fn dismantle(&self) -> Result<(), NetworkError> {
        let dismantle = || {
            Links::open()?.remove(&self.bridge)?;
            Firewall::open()?.forget_bridge(&self.bridge)
        };
        dismantle().map_err(NetworkError::host("remove the network's bridge"))
    }
}

fn check_options(options: &BTreeMap<String, String>) -> Result<(), NetworkError> {
    let value = |key: &str| options.get(key).map(String::as_str);
    if let Some(mtu) = value(record::MTU_OPTION)
        && !mtu.parse::<u16>().is_ok_and(|mtu| mtu >= 68)
    {
        return Err(NetworkError::Invalid(format!("the MTU is a number from 68 to 65535, not '{mtu}'")));
    }
    if let Some(wrong) = value(record::MASQUERADE_OPTION).filter(|value| record::truth(value).is_none()) {
        return Err(NetworkError::Invalid(format!(
            "{} is true or false, not '{wrong}'",
            record::MASQUERADE_OPTION
        )));
    }
    Ok(())
}

type Families = (Addresses<Ipv4Net, std::net::Ipv4Addr>, Option<Addresses<Ipv6Net, std::net::Ipv6Addr>>);

fn addresses(
    wanted: &CreateNetwork,
    existing: &[Network],
    routes: &[IpNet],
) -> Result<Families, NetworkError> {
    let mut used: Vec<IpNet> = existing.iter().map(|network| network.ipv4.subnet.into()).collect();
    used.extend(existing.iter().filter_map(|network| Some(IpNet::from(network.ipv6?.subnet))));
    let (mut v4, mut v6) = (None, None);
    for &subnet in &wanted.subnets {
        let subnet = subnet.trunc();
        let of_another = used.iter().copied().find(|&other| subnet::overlap(subnet, other));
        if let Some(other) = of_another.or_else(|| subnet::taken_by(subnet, routes)) {
            return Err(NetworkError::Overlap { subnet, other });
        }
        let again = match subnet {
            IpNet::V4(net) => v4.replace(net).is_some(),
            IpNet::V6(net) => v6.replace(net).is_some(),
        };
        if again {
            return Err(NetworkError::Invalid(
                "a network has at most one subnet of IPv4 and one of IPv6".to_owned(),
            ));
        }
    }
    if v6.is_none() && wanted.ipv6 {
        let random = subnet::random_v6();
        v6 = Some(random.map_err(|e| NetworkError::Host { action: "choose a subnet", source: e.into() })?);
    }
    used.extend(routes);
    let v4 = v4.or_else(|| subnet::choose(&used)).ok_or(NetworkError::NoSubnet)?;
    let mut subnets = vec![IpNet::from(v4)];
    subnets.extend(v6.map(IpNet::from));
    for (kind, net) in wanted.ranges.iter().map(|&range| ("--ip-range", range)) {
        if !subnets.iter().any(|subnet| subnet.contains(&net)) {
            return Err(NetworkError::Invalid(format!("{kind} {net} is not in the network's subnet")));
        }
    }
    for gateway in &wanted.gateways {
        if !subnets.iter().any(|&subnet| subnet::is_host(subnet, *gateway)) {
            return Err(NetworkError::Invalid(format!(
                "no matching subnet for gateway {gateway}: it is not a host's address in the network's subnet"
            )));
        }
    }
    let gateway = |subnet: IpNet| {
        let said = wanted.gateways.iter().copied().find(|gateway| subnet.contains(gateway));
        said.or_else(|| subnet::first_host(subnet))
            .ok_or_else(|| NetworkError::Invalid(format!("the subnet {subnet} has no room for a gateway")))
    };
    let range = |subnet: IpNet| wanted.ranges.iter().copied().find(|range| subnet.contains(range));
    let v4 = match (gateway(v4.into())?, range(v4.into())) {
        (IpAddr::V4(gateway), range) => Addresses { subnet: v4, range: range.and_then(only_v4), gateway },
        (IpAddr::V6(_), _) => return Err(NetworkError::NoSubnet),
    };
    let v6 = match v6 {
        None => None,
        Some(net) => match gateway(net.into())? {
            IpAddr::V6(gateway) => {
                Some(Addresses { subnet: net, range: range(net.into()).and_then(only_v6), gateway })
            }
            IpAddr::V4(_) => return Err(NetworkError::NoSubnet),
        },
    };
    Ok((v4, v6))
}

fn only_v4(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

fn only_v6(net: IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V6(net) => Some(net),
        IpNet::V4(_) => None,
    }
}

/// Whether a network may have this name. Unlike a container's, it may be a single letter or digit.
fn is_valid_name(name: &str) -> bool {
    let is_one = name.len() == 1 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_one || moat_records::id::is_valid_name(name)
}
