//! The devices of a VM: made from the configuration and what it names, and wired to the machine.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::config::{DiskConfig, MAX_QUEUE_PAIRS, NetworkConfig, VmConfig};
use crate::layout;
use crate::machine::Machine;
use crate::virtio::absent::Absent;
use crate::virtio::balloon::{Balloon, Sizes};
use crate::virtio::block::Block;
use crate::virtio::block::disk::{Disk, DiskError, Segment, SegmentMap};
use crate::virtio::device::VirtioDevice;
use crate::virtio::mmio::Transport;
use crate::virtio::net::tap::{Tap, TapError};
use crate::virtio::net::{self, Net};
use crate::virtio::rng::Rng;
use crate::virtio::vsock::Vsock;
use crate::vm::BootError;

/// All devices, in the order in which the guest finds them.
#[derive(Default)]
pub struct Devices {
    /// With the number of queues that are wired: a place for a device has some, and none in use.
    all: Vec<(Box<dyn VirtioDevice>, usize)>,
    handles: Handles,
}

/// What is left in the hands of whoever commands them while the VM runs.
#[derive(Default)]
pub struct Handles {
    /// The balloon's number and sizes, if there is a balloon.
    pub balloon: Option<(usize, Arc<Sizes>)>,
    /// The places for networks: those that had one from the start, then those that were free.
    pub places: Vec<Place>,
}

/// A place for a network, whose device can come and go.
pub struct Place {
    /// The device's number on the bus.
    pub device: usize,
    /// The thread that serves it.
    pub server: net::Server,
    /// The most queue pairs that it can have.
    pub pairs: usize,
    /// Whether there is a network in it.
    pub taken: bool,
}

fn failed(error: impl std::fmt::Display) -> BootError {
    BootError::new("device", error)
}

impl Devices {
    /// Makes them. Disks, networks and `dial` are the files that the configuration names.
    ///
    /// # Errors
    /// What cannot be made, and why.
    pub fn build(
        config: &VmConfig,
        disks: Vec<Vec<Arc<File>>>,
        networks: Vec<Vec<OwnedFd>>,
        dial: OwnedFd,
    ) -> Result<Self, BootError> {
        let mut devices = Self::default();
        for (index, (disk, files)) in config.disks.iter().zip(disks).enumerate() {
            let (DiskConfig::ReadOnly { limits, .. } | DiskConfig::ReadWrite { limits, .. }) = disk;
            let disk = open_disk(disk, files).map_err(|error| failed(format!("disk {index}: {error}")))?;
            devices.push(Block::new(disk, &format!("disk{index}"), limits).map_err(failed)?);
        }
        // A guest uses no more than it has processors.
        let pairs = usize::from(config.vcpus).min(MAX_QUEUE_PAIRS);
        for (index, (network, taps)) in config.networks.iter().zip(networks).enumerate() {
            let pairs = pairs.max(taps.len());
            let server = devices.place(true, pairs)?;
            let device = open_network(server, network, taps)
                .map_err(|error| failed(format!("network {index}: {error}")))?;
            devices.all.push((Box::new(device), net::queues(pairs)));
        }
        devices.push(Vsock::new(config.vsock.guest_cid, dial).map_err(failed)?);
        devices.push(Rng::new().map_err(failed)?);
        if config.balloon {
            let sizes = Arc::<Sizes>::default();
            devices.handles.balloon = Some((devices.all.len(), Arc::clone(&sizes)));
            devices.push(Balloon::new(sizes).map_err(failed)?);
        }
        for _ in 0..config.spare_networks {
            devices.place(false, pairs)?;
            devices.all.push((Box::new(Absent), net::queues(pairs)));
        }
        Ok(devices)
    }

    /// Notes that the next device is a place for networks; returns the thread that serves it.
    fn place(&mut self, taken: bool, pairs: usize) -> Result<net::Server, BootError> {
        let places = &mut self.handles.places;
        let server = net::server(&format!("net{}", places.len())).map_err(failed)?;
        places.push(Place { device: self.all.len(), server: Arc::clone(&server), pairs, taken });
        Ok(server)
    }

    fn push(&mut self, device: impl VirtioDevice + 'static) {
        let queues = device.queue_sizes().len();
        self.all.push((Box::new(device), queues));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Gives each its registers, its interrupt and its notifications.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn connect(self, machine: &Machine) -> Result<(Vec<Transport>, Handles), BootError> {
        let mut transports = Vec::with_capacity(self.all.len());
        for (index, (device, queues)) in self.all.into_iter().enumerate() {
            let immediate = device.immediate_queues();
            let kicks = machine.wire_virtio(index, queues, immediate).map_err(failed)?;
            let line = machine.interrupt(layout::virtio_irq(index)).map_err(failed)?;
            let page = machine.registers().page(index);
            let page = page.ok_or_else(|| failed(format!("no registers for device {index}")))?;
            transports
                .push(Transport::new(device, machine.memory().clone(), line, page, kicks).map_err(failed)?);
        }
        Ok((transports, self.handles))
    }
}

fn open_disk(disk: &DiskConfig, files: Vec<Arc<File>>) -> Result<Disk, DiskError> {
    match disk {
        DiskConfig::ReadOnly { segments, .. } => {
            let segments = segments
                .iter()
                .zip(files)
                .map(|(segment, file)| Segment { file, offset: segment.offset, length: segment.length })
                .collect();
            Ok(Disk::ReadOnly(SegmentMap::new(segments)?))
        }
        DiskConfig::ReadWrite { .. } => {
            let file = files.into_iter().next().ok_or(DiskError::Empty)?;
            Disk::read_write(file)
        }
    }
}

fn open_network(server: net::Server, network: &NetworkConfig, taps: Vec<OwnedFd>) -> Result<Net, TapError> {
    let taps = taps.into_iter().map(Tap::new).collect::<Result<_, _>>()?;
    Ok(Net::new(server, taps, &network.card))
}
