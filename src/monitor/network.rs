//! The container's networks for as long as its monitor lives: joined before the first boot, kept over restarts, left at
//! the end.

use std::rc::Rc;

use moat_vmm::config::{Fd, MAX_QUEUE_PAIRS, MacAddress, NetworkCard, NetworkConfig};
use moat_vmm::launch::Launch;

use super::{Monitor, relay};
use crate::network::attach::Attached;
use crate::network::endpoint::Attachment;
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
