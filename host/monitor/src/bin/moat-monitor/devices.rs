//! The devices of a VM: its disks and network cards, and what every VM has.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use moat_containers::Container;
use moat_containers::config::ContainerConfig;
use moat_monitor::config::ImageFile;
use moat_network::NetworkError;
use moat_network::attach::Attached;
use moat_network::endpoint::Endpoint;
use moat_vmm::config::{
    BalloonConfig, DeviceConfig, DiskConfig, Fd, MAX_QUEUE_PAIRS, NetworkCard, NetworkConfig, NetworkPlace,
    RateLimit, RngConfig, SegmentConfig, VsockConfig,
};
use moat_vmm::launch::Launch;
use thiserror::Error;

/// How many disks a VM has.
pub const DISKS: usize = 2;

/// Why a disk cannot be opened.
#[derive(Debug, Error)]
pub enum DiskError {
    /// A file of the image is gone, or has another length.
    #[error("cannot open {}, which is a part of the container's image: {source}; moat system check tells more", path.display())]
    Image {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The writable disk is gone.
    #[error("cannot open the container's disk {}: {source}", path.display())]
    Writable {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// The devices, in the order in which the guest numbers them: the VM's places for cards rely on it.
pub fn devices(
    disks: Vec<DiskConfig>,
    cards: Vec<NetworkConfig>,
    vsock: VsockConfig,
    spares: u8,
) -> Vec<DeviceConfig> {
    let mut devices: Vec<DeviceConfig> = disks.into_iter().map(DeviceConfig::Disk).collect();
    devices.extend(cards.into_iter().map(|card| DeviceConfig::Network(NetworkPlace::Card(card))));
    devices.extend([vsock.into(), RngConfig {}.into(), BalloonConfig {}.into()]);
    devices.extend((0..spares).map(|_| DeviceConfig::Network(NetworkPlace::Spare {})));
    devices
}

/// `vda`, the image, and `vdb`, the writable disk.
///
/// # Errors
/// When one of their files is gone or changed.
pub fn disks(
    container: &Container,
    image: &[ImageFile],
    launch: &mut Launch,
) -> Result<Vec<DiskConfig>, DiskError> {
    let mut segments = Vec::with_capacity(image.len());
    for part in image {
        let file = open_part(part)?;
        segments.push(SegmentConfig { file: launch.add(file.into()), offset: 0, length: part.length });
    }
    let rates = container.config.rates;
    let image = DiskConfig::ReadOnly { segments, limits: rates.image };
    let path = container.directory.writable();
    let writable = File::options().read(true).write(true).open(&path);
    let writable = writable.map_err(|source| DiskError::Writable { path, source })?;
    Ok(vec![image, DiskConfig::ReadWrite { file: launch.add(writable.into()), limits: rates.writable }])
}

fn open_part(part: &ImageFile) -> Result<File, DiskError> {
    let failed = |source| DiskError::Image { path: part.path.clone(), source };
    let file = File::open(&part.path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() == part.length {
        return Ok(file);
    }
    Err(failed(io::Error::other(format!("it has not the {} bytes that it had", part.length))))
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

/// The card of one interface.
pub fn card(endpoint: &Endpoint, rate: Option<RateLimit>) -> NetworkCard {
    NetworkCard { mac: endpoint.mac.0, mtu: endpoint.mtu, receive: rate, send: rate }
}

/// As many queues as processors can use.
pub fn queues(vcpus: u8) -> u8 {
    vcpus.min(u8::try_from(MAX_QUEUE_PAIRS).unwrap_or(1))
}
