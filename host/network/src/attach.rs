//! A container joins its networks before its VM starts, and leaves them after it has ended.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::endpoint::{Attachment, Endpoint};
use super::firewall::{Firewall, TAP_PREFIX};
use super::link::{self, Bridge, Links};
use super::port::{ContainerPort, PortRequest, PublishedPort};
use super::publish::{HeldPort, publish};
use super::record::{DEFAULT, Network};
use super::request::{Join, Member, NetworkRequest};
use super::{NetworkError, Networks, conntrack, forwarding, mac, subnet, tap};
use moat_records::failpoint;
use moat_records::format::Format;
use moat_records::id::{ContainerId, random_hex};
use moat_records::record::write;

/// How many networks a container can join: as many cards as its VM has room for beside two disks. The monitor, which
/// knows both, checks that this is so.
pub const MAX_NETWORKS: usize = 14;

/// What a running container has of networks, and what holds it.
#[derive(Debug)]
pub struct Attached {
    /// What is recorded.
    pub attachment: Attachment,
    /// The published ports.
    pub held: Vec<HeldPort>,
    /// What passes on connections for ports whose sockets it has; it ends with this.
    pub relays: Vec<AbortHandle>,
    /// The address that it passes them on to: the one at which the container is reached from outside.
    pub reached_at: watch::Sender<Option<Ipv4Addr>>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.relays.iter().for_each(AbortHandle::abort);
    }
}

impl Attached {
    fn new(attachment: Attachment, held: Vec<HeldPort>) -> Self {
        let reached_at = watch::Sender::new(None);
        let mut attached =
            Self { attachment: attachment.clone(), held: Vec::new(), relays: Vec::new(), reached_at };
        attached.change(attachment, held);
        attached
    }

    /// The container is now on these networks, and `held` came to what it publishes. Without a network that leads out it
    /// publishes nothing.
    pub fn change(&mut self, attachment: Attachment, held: Vec<HeldPort>) {
        self.reached_at.send_replace(attachment.public().map(|endpoint| endpoint.ipv4.addr()));
        if attachment.ports.is_empty() {
            self.held.clear();
            self.relays.drain(..).for_each(|relay| relay.abort());
        }
        self.held.extend(held);
        self.attachment = attachment;
    }

    /// Opens the tap of each interface, see [`Endpoint::open_tap`].
    ///
    /// # Errors
    /// When the host refuses.
    pub fn open_taps(&self, queues: u8) -> Result<Vec<Vec<OwnedFd>>, NetworkError> {
        self.attachment.endpoints.iter().map(|endpoint| endpoint.open_tap(queues)).collect()
    }
}

impl Endpoint {
    /// Opens the tap, with `queues` queues, and attaches it to its bridge. The interface is there for as long as the
    /// descriptors are.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn open_tap(&self, queues: u8) -> Result<Vec<OwnedFd>, NetworkError> {
        let taps = tap::open(&self.tap, queues).map_err(NetworkError::host("make a tap"))?;
        Links::open()
            .and_then(|links| links.attach(&self.tap, &self.bridge, self.mtu.into()))
            .map_err(NetworkError::host("attach a tap to its bridge"))?;
        Ok(taps)
    }
}

impl Networks {
    /// Joins `container` to the networks that it asks for: addresses, bridges, published ports, firewall. The caller holds
    /// the container's lock. Nothing when it asks for none.
    ///
    /// # Errors
    /// When something is taken or the host refuses; nothing is left then.
    pub fn attach(&self, member: &Member<'_>) -> Result<Option<Attached>, NetworkError> {
        self.release(member.id)?;
        let request = member.request;
        if request.networks.is_empty() {
            return Ok(None);
        }
        self.prepare()?;
        let (attachment, held) = {
            let _lock = self.lock()?;
            self.sweep()?;
            let networks = self.wanted(request, |name| self.find_locked(name))?;
            let leads_out = networks.iter().any(|network| !network.internal);
            let held = if leads_out { self.hold_ports(member)? } else { Vec::new() };
            let networks = networks.into_iter().map(|network| self.ensure_bridge(network));
            let networks = networks.collect::<Result<Vec<_>, _>>()?;
            let attachment = Attachment {
                format: Format,
                container: member.id.clone(),
                name: member.name.to_owned(),
                hostname: member.hostname.to_owned(),
                endpoints: self.reserve(member.id, &networks, request)?,
                ports: in_order(&held),
                host_access: request.wants_host(),
            };
            write(&self.attachment_path(member.id), &attachment)?;
            (attachment, held)
        };
        failpoint::hit("network.reserved");
        if let Err(e) = self.admit(&attachment) {
            // The error that matters is the first.
            let _ = self.release(member.id);
            return Err(e);
        }
        failpoint::hit("network.admitted");
        Ok(Some(Attached::new(attachment, held)))
    }

    /// Takes the ports that a container publishes.
    pub(super) fn hold_ports(&self, member: &Member<'_>) -> Result<Vec<HeldPort>, NetworkError> {
        let mut ports = member.request.ports.clone();
        if member.request.publish_all {
            ports.extend(exposed(member.exposed_ports, &ports));
        }
        publish(&ports, &self.attachments()?)
    }

    /// Whether a container could have what it asks for, as far as that can be told before it starts.
    ///
    /// # Errors
    /// When a network is not there, or cannot give it.
    pub fn check(&self, request: &NetworkRequest) -> Result<(), NetworkError> {
        // The default network appears with its first start.
        match request.networks.as_slice() {
            [only] if only.network == DEFAULT && *only == Join::new(DEFAULT) => Ok(()),
            _ => self.wanted(request, |name| self.find(name)).map(drop),
        }
    }

    fn wanted(
        &self,
        request: &NetworkRequest,
        find: impl Fn(&str) -> Result<Network, NetworkError>,
    ) -> Result<Vec<Network>, NetworkError> {
        if request.networks.len() > MAX_NETWORKS {
            return Err(NetworkError::TooMany);
        }
        let networks = request.networks.iter().map(|join| find(&join.network));
        let networks = networks.collect::<Result<Vec<_>, _>>()?;
        for (network, join) in networks.iter().zip(&request.networks) {
            check(network, join)?;
        }
        let different: BTreeSet<_> = networks.iter().map(|network| &network.id).collect();
        if different.len() < networks.len() {
            return Err(NetworkError::Invalid("a container joins a network once".to_owned()));
        }
        Ok(networks)
    }

    /// Lets a container communicate as recorded. First the rules, then forwarding: at no moment
    /// does the host pass on packets that are not a container's.
    pub(super) fn admit(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        let with_v6 =
            attachment.endpoints.iter().any(|endpoint| endpoint.ipv6.is_some() && !endpoint.internal);
        let closed = {
            let _lock = self.lock()?;
            self.closed(with_v6)?
        };
        let others = || {
            let mut others = self.attachments().unwrap_or_default();
            others.retain(|other| other.container != attachment.container);
            others
        };
        Firewall::open()
            .and_then(|firewall| firewall.admit(attachment, others, closed))
            .map_err(NetworkError::host("let the container into the firewall (nf_tables)"))?;
        forwarding::enable(with_v6)?;
        conntrack::forget_detours(attachment);
        Ok(())
    }

    /// Puts back what another program has removed of the firewall since the container was let in: its elements, or the rules
    /// with the elements of all that run. Without a lock when nothing is missing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn refresh(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        let is_whole = Firewall::open()
            .and_then(|firewall| firewall.refresh(attachment))
            .map_err(NetworkError::host("look after the firewall (nf_tables)"))?;
        if is_whole { Ok(()) } else { self.admit(attachment) }
    }

    /// Makes the bridge of a network if it is not there, or not whole: at its first container, and again after the host
    /// was booted.
    pub(super) fn ensure_bridge(&self, mut network: Network) -> Result<Network, NetworkError> {
        let links = Links::open().map_err(NetworkError::host("use the host's links"))?;
        if !link::exists(&network.bridge) {
            let routes = links.routes().map_err(NetworkError::host("look at the host's routes"))?;
            network = self.clear_of(network, &routes)?;
        }
        let mut addresses = vec![IpNet::new(network.ipv4.gateway.into(), network.ipv4.subnet.prefix_len())];
        if let Some(v6) = &network.ipv6 {
            addresses.push(IpNet::new(v6.gateway.into(), v6.subnet.prefix_len()));
        }
        let addresses: Vec<IpNet> = addresses.into_iter().flatten().collect();
        let bridge = Bridge {
            name: &network.bridge,
            mac: mac::derived(network.ipv4.gateway),
            mtu: network.mtu().into(),
            addresses: &addresses,
        };
        links.ensure_bridge(&bridge).map_err(NetworkError::host("make the network's bridge"))?;
        Ok(network)
    }

    /// The network with addresses that the host has not come to use otherwise. The default network can have any; others
    /// have what their maker said.
    fn clear_of(&self, network: Network, routes: &[IpNet]) -> Result<Network, NetworkError> {
        let subnet = IpNet::from(network.ipv4.subnet);
        if network.is_default() {
            let is_clear = !routes.iter().any(|&route| subnet::overlap(subnet, route));
            return if is_clear { Ok(network) } else { self.move_away(network, routes) };
        }
        match subnet::taken_by(subnet, routes) {
            Some(other) => Err(NetworkError::Overlap { subnet, other }),
            None => Ok(network),
        }
    }

    fn move_away(&self, mut network: Network, routes: &[IpNet]) -> Result<Network, NetworkError> {
        let mut used: Vec<IpNet> = self.list()?.iter().map(|other| other.ipv4.subnet.into()).collect();
        used.extend(routes);
        let subnet = subnet::choose(&used).ok_or(NetworkError::NoSubnet)?;
        let Some(IpAddr::V4(gateway)) = subnet::first_host(subnet.into()) else {
            return Err(NetworkError::NoSubnet);
        };
        network.ipv4 = super::record::Addresses { subnet, range: None, gateway };
        write(&self.records().join(network.id.as_str()), &network)?;
        Ok(network)
    }

    /// Finds addresses for a container. The caller holds the lock and records them.
    fn reserve(
        &self,
        container: &ContainerId,
        networks: &[Network],
        request: &NetworkRequest,
    ) -> Result<Vec<Endpoint>, NetworkError> {
        let others = self.attachments()?;
        let pairs = networks.iter().zip(&request.networks);
        pairs.zip(0..).map(|((network, join), at)| endpoint(container, at, network, join, &others)).collect()
    }
}

/// Interface `number` of a container. `others` are those whose addresses are taken.
pub(super) fn endpoint(
    container: &ContainerId,
    number: u8,
    network: &Network,
    join: &Join,
    others: &[Attachment],
) -> Result<Endpoint, NetworkError> {
    let ipv4 = match address(network, join.ipv4.map(Into::into), others, false)? {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(_) => return Err(NetworkError::Full(network.name.clone())),
    };
    let prefix4 = network.ipv4.subnet.prefix_len();
    let ipv6 = match &network.ipv6 {
        None => None,
        Some(addresses) => match address(network, join.ipv6.map(Into::into), others, true)? {
            IpAddr::V6(v6) => Ipv6Net::new(v6, addresses.subnet.prefix_len()).ok(),
            IpAddr::V4(_) => None,
        },
    };
    let id = random_hex(32).map_err(|e| NetworkError::Host { action: "choose an id", source: e.into() })?;
    Ok(Endpoint {
        network: network.id.clone(),
        network_name: network.name.clone(),
        id,
        number,
        tap: format!("{TAP_PREFIX}{}{number:x}", &container.as_str()[..11]),
        bridge: network.bridge.clone(),
        mac: join.mac.unwrap_or_else(|| mac::derived(ipv4)),
        ipv4: Ipv4Net::new(ipv4, prefix4).map_err(|_| NetworkError::Full(network.name.clone()))?,
        gateway4: network.ipv4.gateway,
        ipv6,
        gateway6: network.ipv6.map(|addresses| addresses.gateway),
        aliases: join.aliases.clone(),
        mtu: network.mtu(),
        internal: network.internal,
        masquerade: network.masquerades(),
    })
}

/// The address `wanted`, or the lowest free one.
fn address(
    network: &Network,
    wanted: Option<IpAddr>,
    others: &[Attachment],
    v6: bool,
) -> Result<IpAddr, NetworkError> {
    let mut taken = BTreeSet::new();
    for other in others {
        for endpoint in other.endpoints.iter().filter(|endpoint| endpoint.network == network.id) {
            let addresses =
                [Some(IpAddr::from(endpoint.ipv4.addr())), endpoint.ipv6.map(|v6| v6.addr().into())];
            for address in addresses.into_iter().flatten() {
                if Some(address) == wanted {
                    return Err(NetworkError::AddressTaken { address, holder: other.name.clone() });
                }
                taken.insert(address);
            }
        }
    }
    let found = match &network.ipv6 {
        Some(addresses) if v6 => subnet::allocate(addresses, &taken, wanted),
        _ => subnet::allocate(&network.ipv4, &taken, wanted),
    };
    found.ok_or_else(|| NetworkError::Full(network.name.clone()))
}

/// Whether a network can give what is asked of it.
pub(crate) fn check(network: &Network, join: &Join) -> Result<(), NetworkError> {
    let invalid = |text: String| Err(NetworkError::Invalid(text));
    let own = join.ipv4.is_some() || join.ipv6.is_some() || !join.aliases.is_empty();
    if network.is_default() && own {
        return invalid(
            "user specified IP address and network-scoped aliases are supported on user defined networks only"
                .to_owned(),
        );
    }
    if let Some(ip) = join.ipv4 {
        check_address(network, ip.into(), network.ipv4.subnet.into(), network.ipv4.gateway.into())?;
    }
    match (join.ipv6, &network.ipv6) {
        (None, _) => Ok(()),
        (Some(ip), Some(v6)) => check_address(network, ip.into(), v6.subnet.into(), v6.gateway.into()),
        (Some(ip), None) => invalid(format!("network {} has no IPv6, so it cannot give {ip}", network.name)),
    }
}

fn check_address(network: &Network, ip: IpAddr, subnet: IpNet, gateway: IpAddr) -> Result<(), NetworkError> {
    if ip == gateway {
        return Err(NetworkError::AddressTaken { address: ip, holder: "the gateway".to_owned() });
    }
    if subnet::is_host(subnet, ip) {
        return Ok(());
    }
    Err(NetworkError::Invalid(format!(
        "no configured subnet contains IP address {ip}: network {} has {subnet}",
        network.name
    )))
}

/// Ports in the order in which they are shown. A port that is left to chance is what it was, also to those who look at the
/// record later.
pub(super) fn in_order(held: &[HeldPort]) -> Vec<PublishedPort> {
    let mut ports: Vec<_> = held.iter().map(|held| held.port).collect();
    ports.sort_by_key(|port| (port.container(), port.host_ip.is_ipv6(), port.host_port));
    ports
}

/// A request for each port that is exposed and not published otherwise.
fn exposed<'a>(texts: impl IntoIterator<Item = &'a String>, published: &[PortRequest]) -> Vec<PortRequest> {
    let published: BTreeSet<ContainerPort> = published.iter().map(|request| request.container).collect();
    let exposed = texts.into_iter().flat_map(|text| super::port::parse_exposed(text));
    let exposed: BTreeSet<ContainerPort> =
        exposed.flatten().filter(|port| !published.contains(port)).collect();
    let any = |container| PortRequest { container, host_ip: None, host_ports: None };
    exposed.into_iter().map(any).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_exposed_and_not_published_is_published() {
        let port = |text: &str| super::super::port::parse_exposed(text).unwrap().remove(0);
        let texts = ["80/tcp", "53/udp", "80", "9000-9001/tcp", "nonsense"].map(str::to_owned);
        let exposed = exposed(&texts, &PortRequest::parse("8080:9000").unwrap());
        let ports: Vec<_> = exposed.iter().map(|request| request.container).collect();
        assert_eq!(ports, [port("53/udp"), port("80"), port("9001")]);
        assert!(exposed.iter().all(|request| request.host_ip.is_none() && request.host_ports.is_none()));
    }
}
