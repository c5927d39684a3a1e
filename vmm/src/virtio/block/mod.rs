//! The block device (virtio 1.2, section 5.2). This is its face to the rest of the VM; [`request`] has the protocol and
//! [`disk`] what is behind it.

mod config;
pub mod disk;
mod engine;
mod file;
mod request;
mod syscalls;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

pub use self::config::{DiskConfig, DiskLimits, SegmentConfig};
use self::disk::{Disk, Segment, SegmentMap};
use self::engine::{Engine, Gates};
pub use self::syscalls::SYSCALLS;
use super::device::{Activation, VirtioDevice, read_fields};
use super::error::{ActivateError, LifecycleError};
use super::plan::{BuildError, Built, Claimed, Name, Plan, Site};
use crate::SECTOR_SIZE;
use crate::fds::{Access, FdError, InheritedFds};
use crate::thread::ThreadKind;
use crate::virtio::worker::Worker;

/// One queue: requests are carried out one after the other. It holds one request of the greatest size, or many
/// small ones.
const QUEUE_SIZES: [u16; 1] = [128];

/// The configuration space up to the last field in use (section 5.2.4).
const CONFIG_BYTES: usize = 60;

impl Plan for DiskConfig {
    fn claim(&self, name: &Name, fds: &mut InheritedFds) -> Result<Box<dyn Claimed>, FdError> {
        let name = name.to_string();
        Ok(Box::new(match self {
            Self::ReadOnly { segments, limits } => {
                let segment = |segment: &SegmentConfig| {
                    let SegmentConfig { file, offset, length } = *segment;
                    Ok(Segment { file: fds.share(file, &name)?, offset, length })
                };
                let segments = segments.iter().map(segment).collect::<Result<_, _>>()?;
                Contents { files: Files::ReadOnly(segments), limits: *limits }
            }
            Self::ReadWrite { file, limits } => {
                let file = fds.take(*file, &name, Access::Both)?.into();
                Contents { files: Files::ReadWrite(file), limits: *limits }
            }
        }))
    }
}

/// What is on a disk, before it is looked at.
struct Contents {
    files: Files,
    limits: DiskLimits,
}

enum Files {
    ReadOnly(Vec<Segment>),
    ReadWrite(File),
}

impl Claimed for Contents {
    fn largest_file(&self) -> io::Result<u64> {
        match &self.files {
            Files::ReadOnly(_) => Ok(0),
            Files::ReadWrite(file) => Ok(file.metadata()?.len()),
        }
    }

    fn build(self: Box<Self>, site: &mut Site<'_>) -> Result<Built, BuildError> {
        let disk = match self.files {
            Files::ReadOnly(segments) => Disk::ReadOnly(SegmentMap::new(segments)?),
            Files::ReadWrite(file) => Disk::read_write(Arc::new(file))?,
        };
        Ok(Built::new(Block::new(disk, &format!("disk{}", site.name.number), &self.limits)?))
    }
}

/// The device.
pub struct Block {
    disk: Arc<Disk>,
    id: Arc<str>,
    config: [u8; CONFIG_BYTES],
    gates: Arc<Mutex<Gates>>,
    worker: Worker<Engine>,
}

impl Block {
    /// A device whose worker is parked. `id` is its serial number (the guest sees 20 bytes of it) and its thread's name.
    ///
    /// # Errors
    /// When the host gives no thread.
    pub fn new(disk: Disk, id: &str, limits: &DiskLimits) -> io::Result<Self> {
        let config = config_space(&disk);
        Ok(Self {
            disk: Arc::new(disk),
            id: id.into(),
            config,
            gates: Arc::new(Mutex::new(Gates::new(limits))),
            worker: Worker::spawn(ThreadKind::Worker(&SYSCALLS), id)?,
        })
    }
}

fn config_space(disk: &Disk) -> [u8; CONFIG_BYTES] {
    let mut config = [0; CONFIG_BYTES];
    let mut put = |offset: usize, bytes: &[u8]| config[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &(disk.bytes() / SECTOR_SIZE).to_le_bytes());
    put(12, &request::MAX_SEGMENTS.to_le_bytes());
    if !disk.is_read_only() {
        // Discard: sectors, ranges, and the alignment in sectors that frees whole pages of the host's file.
        put(36, &request::MAX_RANGE_SECTORS.to_le_bytes());
        put(40, &request::MAX_RANGES.to_le_bytes());
        put(44, &8u32.to_le_bytes());
        // Write zeroes: sectors, ranges, and that they may free blocks.
        put(48, &request::MAX_RANGE_SECTORS.to_le_bytes());
        put(52, &request::MAX_RANGES.to_le_bytes());
        put(56, &[1]);
    }
    config
}

impl VirtioDevice for Block {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        let common = 1 << VIRTIO_BLK_F_SEG_MAX;
        if self.disk.is_read_only() {
            common | 1 << VIRTIO_BLK_F_RO
        } else {
            common | 1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES
        }
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_fields(&self.config, offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let queues = activation.queues;
        let interrupt = Arc::clone(&queues.interrupt);
        let (disk, id, gates) = (Arc::clone(&self.disk), Arc::clone(&self.id), Arc::clone(&self.gates));
        self.worker.start(Engine::new(disk, id, queues, gates), interrupt)
    }

    fn pause(&mut self) -> Result<(), LifecycleError> {
        self.worker.pause()
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(self.worker.resume()?)
    }

    fn reset(&mut self) {
        // Requests are carried out on the worker's thread, so none is under way once it has stopped.
        self.worker.stop();
    }
}
