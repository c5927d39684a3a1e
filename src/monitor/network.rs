//! The container's networks for as long as its monitor lives: joined before the first boot, kept over restarts, left at
//! the end.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::rc::Rc;

use moat_protocol::{HostsEntry, Interface, InterfaceAddress, MAX_DNS_ENTRIES, NetworkSpec};
use moat_vmm::config::{Fd, MAX_QUEUE_PAIRS, MacAddress, NetworkCard, NetworkConfig};
use moat_vmm::launch::Launch;
use tokio::task::spawn_local;

use super::{Monitor, names, relay};
use crate::engine::config::ContainerConfig;
use crate::names::{Directory, Endpoint, HOST_RESOLV_CONF, Network, ResolvConf, Resolver, Servers, shown};
use crate::network::attach::Attached;
use crate::network::endpoint::Attachment;
use crate::network::record::DEFAULT;
use crate::network::{NetworkError, Networks};

/// The port of name servers.
const DNS_PORT: u16 = 53;

impl Monitor {
    /// Joins the container's networks, unless that was done for an earlier boot.
    ///
    /// # Errors
    /// When something is taken or the host refuses.
    pub(super) fn join_networks(&self) -> Result<(), NetworkError> {
        if self.network.borrow().is_some() {
            return Ok(());
        }
        let networks = Networks::of(self.engine.root());
        let Some(mut attached) = networks.attach(&self.container.borrow().config)? else { return Ok(()) };
        relay::serve(&mut attached);
        *self.network.borrow_mut() = Some(Rc::new(attached));
        Ok(())
    }

    /// Leaves the container's networks: all of it is gone when this returns.
    pub(super) fn leave_networks(&self) {
        let Some(attached) = self.network.borrow_mut().take() else { return };
        let networks = Networks::of(self.engine.root());
        if let Err(e) = networks.release(&attached.attachment.container) {
            // The next command sweeps.
            tracing::warn!("{e}");
        }
    }

    /// What the container's interfaces are, for those who look at it.
    pub(super) fn attachment(&self) -> Option<Attachment> {
        self.network.borrow().as_ref().map(|attached| attached.attachment.clone())
    }

    /// Answers the container's questions about names until its connection ends.
    pub(super) fn answer_names(&self, connection: StdUnixStream) {
        let container = self.container.borrow();
        let dns = &container.config.network.dns;
        let servers = match dns.as_slice() {
            [] => Servers::File(HOST_RESOLV_CONF.into()),
            own => Servers::Fixed(own.iter().map(|&ip| SocketAddr::new(ip, DNS_PORT)).collect()),
        };
        let Some(own) = self.attachment() else { return };
        let directory = Neighbours { networks: Networks::of(self.engine.root()), own };
        let resolver = Rc::new(Resolver::new(directory, servers));
        spawn_local(async move {
            if let Err(e) = names::serve(connection, resolver).await {
                tracing::warn!("names are no longer answered: {e}");
            }
        });
    }
}

/// The containers that run on the same networks.
struct Neighbours {
    networks: Networks,
    own: Attachment,
}

impl Directory for Neighbours {
    fn networks(&self) -> Vec<Network> {
        let everybody = self.networks.attachments().unwrap_or_else(|e| {
            tracing::warn!("the names of containers are not known: {e}");
            Vec::new()
        });
        let network = |own: &crate::network::endpoint::Endpoint| {
            let mut network =
                Network { name: own.network_name.clone(), internal: own.internal, endpoints: Vec::new() };
            if own.network_name == DEFAULT {
                return network;
            }
            for other in &everybody {
                let on_it = other.endpoints.iter().filter(|endpoint| endpoint.network == own.network);
                network.endpoints.extend(on_it.map(|endpoint| neighbour(other, endpoint)));
            }
            network
        };
        self.own.endpoints.iter().map(network).collect()
    }
}

fn neighbour(of: &Attachment, endpoint: &crate::network::endpoint::Endpoint) -> Endpoint {
    let mut names = vec![of.name.clone()];
    names.extend(endpoint.aliases.iter().cloned());
    names.push(of.container.short().to_owned());
    let addresses = [Some(IpAddr::from(endpoint.ipv4.addr())), endpoint.ipv6.map(|v6| v6.addr().into())];
    Endpoint { names, addresses: addresses.into_iter().flatten().collect() }
}

/// The network cards of a VM: the taps are opened, and passed on with the launch.
///
/// # Errors
/// When the host refuses.
pub fn cards(
    attached: Option<&Attached>,
    vcpus: u8,
    launch: &mut Launch,
) -> Result<Vec<NetworkConfig>, NetworkError> {
    let Some(attached) = attached else { return Ok(Vec::new()) };
    let queues = vcpus.min(u8::try_from(MAX_QUEUE_PAIRS).unwrap_or(1));
    let taps = attached.open_taps(queues)?;
    let cards = attached.attachment.endpoints.iter().zip(taps).map(|(endpoint, taps)| NetworkConfig {
        taps: taps.into_iter().map(|tap| launch.add(tap)).collect::<Vec<Fd>>(),
        card: NetworkCard { mac: MacAddress(endpoint.mac.0), mtu: endpoint.mtu, receive: None, send: None },
    });
    Ok(cards.collect())
}

/// What the agent makes of the cards.
pub fn network_spec(config: &ContainerConfig, attachment: Option<&Attachment>) -> NetworkSpec {
    let Some(attachment) = attachment else { return NetworkSpec::default() };
    let default_route = attachment.public().map(|endpoint| &endpoint.id);
    let interface = |(index, endpoint): (usize, &crate::network::endpoint::Endpoint)| {
        let is_default = default_route == Some(&endpoint.id);
        let v4 =
            InterfaceAddress { address: endpoint.ipv4.addr().into(), prefix: endpoint.ipv4.prefix_len() };
        let v6 =
            endpoint.ipv6.map(|v6| InterfaceAddress { address: v6.addr().into(), prefix: v6.prefix_len() });
        Interface {
            mac: endpoint.mac,
            name: format!("eth{index}"),
            mtu: endpoint.mtu.into(),
            addresses: std::iter::once(v4).chain(v6).collect(),
            gateway_v4: is_default.then_some(endpoint.gateway4),
            gateway_v6: endpoint.gateway6.filter(|_| is_default),
        }
    };
    let request = &config.network;
    let host = ResolvConf::read(Path::new(HOST_RESOLV_CONF)).unwrap_or_default();
    let user_defined = attachment.endpoints.iter().any(|endpoint| endpoint.network_name != DEFAULT);
    let mut dns = shown(&host, &request.dns_search, &request.dns_options, user_defined);
    dns.servers.truncate(MAX_DNS_ENTRIES);
    NetworkSpec { interfaces: attachment.endpoints.iter().enumerate().map(interface).collect(), dns }
}

/// The container's /etc/hosts: itself by its addresses, and what the user adds.
pub fn hosts(config: &ContainerConfig, attachment: Option<&Attachment>) -> Vec<HostsEntry> {
    let entry = |address: String, names: &[&str]| HostsEntry {
        address,
        names: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let mut hosts = vec![
        entry("127.0.0.1".to_owned(), &["localhost"]),
        entry("::1".to_owned(), &["localhost", "ip6-localhost", "ip6-loopback"]),
    ];
    let gateways = attachment.and_then(|attachment| attachment.endpoints.first());
    for extra in &config.network.extra_hosts {
        let own = gateways.map(|endpoint| IpAddr::from(endpoint.gateway4));
        if let Some(address) = extra.address.or(own) {
            hosts.push(entry(address.to_string(), &[&extra.name]));
        }
    }
    match attachment {
        // Without a network a container knows itself and nobody else.
        None => hosts.push(entry("127.0.1.1".to_owned(), &[&config.hostname])),
        Some(attachment) => {
            for endpoint in &attachment.endpoints {
                hosts.push(entry(endpoint.ipv4.addr().to_string(), &[&config.hostname]));
                hosts.extend(endpoint.ipv6.map(|v6| entry(v6.addr().to_string(), &[&config.hostname])));
            }
        }
    }
    hosts
}
