//! The container's networks for as long as its monitor lives: joined before the first boot, kept over restarts, left at
//! the end; and changed while it runs.

mod relay;
mod relay_udp;
pub mod spec;

use std::rc::Rc;
use std::time::Duration;

use crate::Monitor;
use crate::devices::{card, queues};
use crate::run::Run;
use moat_monitor::wire::{MonitorMessage, Refusal};
use moat_network::endpoint::{Attachment, Endpoint};
use moat_network::publish::HeldPort;
use moat_network::request::Join;
use moat_network::{NetworkError, Networks};
use moat_records::failpoint;

/// How long a firewall that another program has removed stays open.
const FIREWALL_CHECK: Duration = Duration::from_secs(10);

/// Looks after the firewall for as long as the container runs.
pub async fn keep_firewall(monitor: Rc<Monitor>) {
    let mut told = false;
    loop {
        tokio::time::sleep(FIREWALL_CHECK).await;
        // Not while a network comes or goes: what is recorded is ahead of what is known here.
        let Ok(_alone) = monitor.network_change.try_lock() else { continue };
        let Some(attachment) = monitor.attachment() else { continue };
        if let Err(e) = monitor.networks().refresh(&attachment)
            && !std::mem::replace(&mut told, true)
        {
            tracing::warn!("{e}");
        }
    }
}

impl Monitor {
    /// Joins the container's networks, unless that was done for an earlier boot.
    ///
    /// # Errors
    /// When something is taken or the host refuses.
    pub(super) fn join_networks(&self) -> Result<(), NetworkError> {
        if self.network.borrow().is_some() {
            return Ok(());
        }
        let Some(mut attached) = self.networks().attach(&self.container.borrow().config.member())? else {
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
    /// When the host or the guest refuses; the container is then where it was.
    pub(super) async fn connect(&self, join: Join) -> Result<MonitorMessage, Refusal> {
        let run = self.up().await?;
        let _alone = self.network_change.lock().await;
        let config = self.container.borrow().config.clone();
        let (after, held) = self.networks().join(&config.member(), &join)?;
        let Some(endpoint) = after.endpoints.last().cloned() else { return Err(Refusal::host("it is gone")) };
        let plugged = match self.plug(&run, &after, &endpoint).await {
            Ok(()) => {
                let mut container = self.container.borrow_mut();
                self.containers.connect(&mut container, join).map_err(Refusal::from)
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

    /// Leaves a network while the container runs: the host's side first, so that nothing passes even if the guest does
    /// not leave it; the record last, so that what did not work can be tried again.
    ///
    /// # Errors
    /// When it is not on the network or the host refuses.
    pub(super) async fn disconnect(&self, network: &str) -> Result<MonitorMessage, Refusal> {
        let run = self.up().await?;
        let _alone = self.network_change.lock().await;
        let before = self.attachment();
        let endpoints = before.as_ref().map(|before| before.endpoints.as_slice()).unwrap_or_default();
        let left = endpoints.iter().find(|endpoint| endpoint.network_name == network);
        if let (Some(before), Some(left)) = (&before, left) {
            self.pull_out(&run, before, left).await?;
        }
        self.containers.disconnect(&mut self.container.borrow_mut(), network)?;
        Ok(MonitorMessage::Done)
    }

    async fn pull_out(&self, run: &Run, before: &Attachment, left: &Endpoint) -> Result<(), Refusal> {
        let after = self.networks().leave(&before.container, &left.network)?;
        let Some(after) = after else { return Ok(()) };
        self.now_attached(after.clone(), Vec::new());
        self.unplug(run, left).await;
        self.tell("disconnect", left);
        failpoint::hit("network.unplugged");
        // The world may be behind another network now, in each family.
        for endpoint in &after.endpoints {
            let gained = spec::gained_gateways(before, &after, endpoint);
            if let (Some(interface), Some(device)) = (gained, run.vm().device(endpoint.number)) {
                let dns = spec::dns(&self.container.borrow().config.network, &after);
                run.agent.connect_network(device, interface, Vec::new(), dns).await?;
            }
        }
        Ok(())
    }

    async fn plug(&self, run: &Run, attachment: &Attachment, endpoint: &Endpoint) -> Result<(), Refusal> {
        let queues = queues(run.vm().resources().vcpus());
        let taps = endpoint.open_tap(queues)?;
        let card = card(endpoint, self.container.borrow().config.rates.network);
        let device = run.vm().plug(endpoint.number, card, &taps).await.map_err(Refusal::host)?;
        drop(taps);
        failpoint::hit("network.plugged");
        let hosts = spec::own_lines(&attachment.hostname, endpoint);
        let interface = spec::interface(attachment, endpoint);
        let dns = spec::dns(&self.container.borrow().config.network, attachment);
        run.agent.connect_network(device, interface, hosts, dns).await.map_err(Refusal::from)
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
        moat_network::events::emit(self.containers.root(), action, id, name, Some(container.id()));
    }

    fn networks(&self) -> Networks {
        Networks::of(self.containers.root())
    }
}
