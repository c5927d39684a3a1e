//! A running container joins one more network, leaves one, or changes its name.

use super::attach::{MAX_NETWORKS, check, endpoint, in_order};
use super::endpoint::{Attachment, Endpoint};
use super::firewall::Firewall;
use super::publish::HeldPort;
use super::record::{Network, NetworkId};
use super::request::{Join, Member};
use super::{NetworkError, Networks, conntrack};
use moat_records::failpoint;
use moat_records::id::ContainerId;
use moat_records::record::write;

impl Networks {
    /// Joins a running container to one more network: address, bridge, firewall, and its published ports if this is the
    /// first that leads out. Returns its place in its networks as it is now, where the new interface is the last, and what
    /// holds those ports. Only its monitor may.
    ///
    /// # Errors
    /// When it has no networks, is on this one already, something is taken, or the host refuses; nothing has changed then.
    pub fn join(
        &self,
        member: &Member<'_>,
        join: &Join,
    ) -> Result<(Attachment, Vec<HeldPort>), NetworkError> {
        self.prepare()?;
        let path = self.attachment_path(member.id);
        let (before, after, held) = {
            let _lock = self.lock()?;
            self.sweep()?;
            let network = self.find_locked(&join.network)?;
            check(&network, join)?;
            let before = self.attachment(member.id)?.ok_or(NetworkError::NoCards)?;
            let mut after = before.clone();
            after.endpoints.push(self.reserve_one(&before, network, join)?);
            let mut held = Vec::new();
            if before.public().is_none() && after.public().is_some() {
                held = self.hold_ports(member)?;
                after.ports = in_order(&held);
            }
            write(&path, &after)?;
            (before, after, held)
        };
        failpoint::hit("network.joined");
        if let Err(e) = self.admit(&after) {
            let _lock = self.lock()?;
            // The error that matters is the first.
            let _ = Firewall::open().and_then(|firewall| firewall.change(&after, &before));
            write(&path, &before)?;
            return Err(e);
        }
        Ok((after, held))
    }

    fn reserve_one(
        &self,
        attachment: &Attachment,
        network: Network,
        join: &Join,
    ) -> Result<Endpoint, NetworkError> {
        if attachment.on(&network.id).is_some() {
            let container = attachment.name.clone();
            return Err(NetworkError::AlreadyJoined { container, network: network.name });
        }
        let free = |number: &u8| attachment.endpoints.iter().all(|endpoint| endpoint.number != *number);
        let number = (0..).take(MAX_NETWORKS).find(free).ok_or(NetworkError::TooMany)?;
        let network = self.ensure_bridge(network)?;
        endpoint(&attachment.container, number, &network, join, &self.attachments()?)
    }

    /// A running container has another name: its neighbours find it by that from now on. Only its monitor may.
    ///
    /// # Errors
    /// When the record cannot be read or written.
    pub fn rename(&self, container: &ContainerId, name: &str) -> Result<(), NetworkError> {
        if !self.attachment_path(container).exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        let Some(mut attachment) = self.attachment(container)? else { return Ok(()) };
        name.clone_into(&mut attachment.name);
        Ok(write(&self.attachment_path(container), &attachment)?)
    }

    /// Takes a running container out of a network: from here on nothing of it passes there, and without a network that leads
    /// out it publishes no ports. Returns its place in its networks as it is now; nothing when it has none, or is not on
    /// this one. Only its monitor may.
    ///
    /// # Errors
    /// When the host refuses; it can be tried again.
    pub fn leave(
        &self,
        container: &ContainerId,
        network: &NetworkId,
    ) -> Result<Option<Attachment>, NetworkError> {
        let _lock = self.lock()?;
        let Some(before) = self.attachment(container)? else { return Ok(None) };
        if before.on(network).is_none() {
            return Ok(None);
        }
        let mut after = before.clone();
        after.endpoints.retain(|endpoint| endpoint.network != *network);
        if after.public().is_none() {
            after.ports.clear();
        }
        Firewall::open()
            .and_then(|firewall| firewall.change(&before, &after))
            .map_err(NetworkError::host("take the container out of the network"))?;
        conntrack::forget_endpoints(before.on(network).map(std::slice::from_ref).unwrap_or_default());
        failpoint::hit("network.left");
        write(&self.attachment_path(container), &after)?;
        self.remove_idle_bridge()?;
        Ok(Some(after))
    }
}
