//! The container's networks for as long as its monitor lives: joined before the first boot, kept over restarts, left at
//! the end; and changed while it runs.

use moat_vmm::config::{Fd, MAX_QUEUE_PAIRS, NetworkCard, NetworkConfig, RateLimit};
use moat_vmm::launch::Launch;

use super::run::Run;
use super::wire::MonitorMessage;
use super::{Monitor, network_spec, relay};
use crate::engine::config::ContainerConfig;
use crate::engine::events;
use crate::halt;
use crate::network::attach::Attached;
use crate::network::endpoint::{Attachment, Endpoint};
use crate::network::publish::HeldPort;
use crate::network::request::Join;
use crate::network::{NetworkError, Networks};

impl Monitor {
    /// Joins the container's networks, unless that was done for an earlier boot.
    ///
    /// # Errors
    /// When something is taken or the host refuses.
    pub(super) fn join_networks(&self) -> Result<(), NetworkError> {
        if self.network.borrow().is_some() {
            return Ok(());
        }
        let Some(mut attached) = self.networks().attach(&self.container.borrow().config)? else {
            return Ok(());
        };
        relay::serve(&mut attached);
        attached.attachment.endpoints.iter().for_each(|endpoint| self.tell("connect", endpoint));
        *self.network.borrow_mut() = Some(attached);
        Ok(())
    }

    /// Leaves the container's networks: all of it is gone when this returns.
    pub(super) fn leave_networks(&self) {
        let Some(attached) = self.network.borrow_mut().take() else { return };
        if let Err(e) = self.networks().release(&attached.attachment.container) {
            // The next command sweeps.
            tracing::warn!("{e}");
        }
        attached.attachment.endpoints.iter().for_each(|endpoint| self.tell("disconnect", endpoint));
    }

    /// What the container's interfaces are, for those who look at it.
    pub(super) fn attachment(&self) -> Option<Attachment> {
        self.network.borrow().as_ref().map(|attached| attached.attachment.clone())
    }

    /// Joins one more network while the container runs: the host's side first, then a card in one of the VM's free
    /// places, then the guest's driver and addresses.
    ///
    /// # Errors
    /// In words; the container is then where it was.
    pub(super) async fn connect(&self, join: Join) -> Result<MonitorMessage, String> {
        let run = self.up().await?;
        let _alone = self.network_change.lock().await;
        let config = self.container.borrow().config.clone();
        let (after, held) = self.networks().join(&config, &join).map_err(|e| e.to_string())?;
        let Some(endpoint) = after.endpoints.last().cloned() else { return Err("it is gone".to_owned()) };
        let plugged = match self.plug(&run, &after, &endpoint).await {
            Ok(()) => {
                let mut container = self.container.borrow_mut();
                self.engine.connect_held(&mut container, join).map_err(|e| e.to_string())
            }
            Err(e) => Err(e),
        };
        if let Err(e) = plugged {
            self.unplug(&run, &endpoint).await;
            if let Err(e) = self.networks().leave(&config.id, &endpoint.network) {
                tracing::warn!("{e}");
            }
            return Err(e);
        }
        self.now_attached(after, held);
        self.tell("connect", &endpoint);
        Ok(MonitorMessage::Done)
    }

    /// Leaves a network while the container runs: the host's side first, so that nothing passes whatever the guest does; the
    /// record last, so that what did not work can be tried again.
    ///
    /// # Errors
    /// In words, when it is not on the network or the host refuses.
    pub(super) async fn disconnect(&self, network: &str) -> Result<MonitorMessage, String> {
        let run = self.up().await?;
        let _alone = self.network_change.lock().await;
        let before = self.attachment();
        let endpoints = before.as_ref().map(|before| before.endpoints.as_slice()).unwrap_or_default();
        let left = endpoints.iter().find(|endpoint| endpoint.network_name == network);
        if let (Some(before), Some(left)) = (&before, left) {
            self.pull_out(&run, before, left).await?;
        }
        self.engine.disconnect_held(&mut self.container.borrow_mut(), network).map_err(|e| e.to_string())?;
        Ok(MonitorMessage::Done)
    }

    async fn pull_out(&self, run: &Run, before: &Attachment, left: &Endpoint) -> Result<(), String> {
        let after = self.networks().leave(&before.container, &left.network).map_err(|e| e.to_string())?;
        let Some(after) = after else { return Ok(()) };
        self.now_attached(after.clone(), Vec::new());
        self.unplug(run, left).await;
        self.tell("disconnect", left);
        halt::point("network.unplugged");
        // The world may be behind another network now, in each family.
        for endpoint in &after.endpoints {
            let gained = network_spec::gained_gateways(before, &after, endpoint);
            if let (Some(interface), Some(device)) = (gained, run.vm().device(endpoint.number)) {
                let dns = network_spec::dns(&self.container.borrow().config.network, &after);
                run.agent.connect_network(device, interface, Vec::new(), dns).await.map_err(|e| e.message)?;
            }
        }
        Ok(())
    }

    async fn plug(&self, run: &Run, attachment: &Attachment, endpoint: &Endpoint) -> Result<(), String> {
        let queues = queues(run.vm().resources().vcpus());
        let taps = endpoint.open_tap(queues).map_err(|e| e.to_string())?;
        let card = card(endpoint, self.container.borrow().config.rates.network);
        let device = run.vm().plug(endpoint.number, card, &taps).await.map_err(|e| e.to_string())?;
        drop(taps);
        halt::point("network.plugged");
        let hosts = network_spec::own_lines(&attachment.hostname, endpoint);
        let interface = network_spec::interface(attachment, endpoint);
        let dns = network_spec::dns(&self.container.borrow().config.network, attachment);
        run.agent.connect_network(device, interface, hosts, dns).await.map_err(|e| e.message)
    }

    /// Has the guest let go of a card, and takes it away whether it does or not.
    async fn unplug(&self, run: &Run, endpoint: &Endpoint) {
        let Some(device) = run.vm().device(endpoint.number) else { return };
        if let Err(e) = run.agent.disconnect_network(device, endpoint.mac).await {
            tracing::warn!("the guest does not let go of {}: {}", endpoint.network_name, e.message);
        }
        if let Err(e) = run.vm().unplug(endpoint.number).await {
            tracing::warn!("cannot take the card of {} away: {e}", endpoint.network_name);
        }
    }

    /// Unless the container has ended meanwhile, and left them all.
    fn now_attached(&self, attachment: Attachment, held: Vec<HeldPort>) {
        if let Some(attached) = self.network.borrow_mut().as_mut() {
            attached.change(attachment, held);
            relay::serve(attached);
        }
    }

    /// Tells the world that the container came to a network, or left it.
    fn tell(&self, action: &str, endpoint: &Endpoint) {
        let container = self.container.borrow();
        let (id, name) = (&endpoint.network, &endpoint.network_name);
        events::emit_network(self.engine.root(), action, id, name, Some(container.id()));
    }

    fn networks(&self) -> Networks {
        Networks::of(self.engine.root())
    }
}

/// The network cards of a VM: the taps are opened, and passed on with the launch.
///
/// # Errors
/// When the host refuses.
pub fn cards(
    attached: Option<&Attached>,
    config: &ContainerConfig,
    launch: &mut Launch,
) -> Result<Vec<NetworkConfig>, NetworkError> {
    let Some(attached) = attached else { return Ok(Vec::new()) };
    let taps = attached.open_taps(queues(config.resources.vcpus()))?;
    let cards = attached.attachment.endpoints.iter().zip(taps).map(|(endpoint, taps)| NetworkConfig {
        taps: taps.into_iter().map(|tap| launch.add(tap)).collect::<Vec<Fd>>(),
        card: card(endpoint, config.rates.network),
    });
    Ok(cards.collect())
}

fn card(endpoint: &Endpoint, rate: Option<RateLimit>) -> NetworkCard {
    NetworkCard { mac: endpoint.mac.0, mtu: endpoint.mtu, receive: rate, send: rate }
}

/// As many queues as processors can use.
fn queues(vcpus: u8) -> u8 {
    vcpus.min(u8::try_from(MAX_QUEUE_PAIRS).unwrap_or(1))
}
