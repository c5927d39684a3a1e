//! The block device (virtio 1.2, section 5.2). This is its narrow face to the transport; [`request`] has the protocol and
//! [`disk`] what is behind it.

pub mod disk;
mod engine;
mod file;
mod request;

use std::io;
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use self::disk::Disk;
use self::engine::{Engine, Gates};
use super::device::{ActivateError, Activation, VirtioDevice};
use crate::SECTOR_SIZE;
use crate::config::DiskLimits;
use crate::thread::ThreadKind;
use crate::worker::Worker;

/// One queue: requests are carried out one after the other. It holds one request of the greatest size, or many
/// small ones.
const QUEUE_SIZES: [u16; 1] = [128];

/// The configuration space up to the last field in use (section 5.2.4).
const CONFIG_BYTES: usize = 60;

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
    /// When there is no thread for it.
    pub fn new(disk: Disk, id: &str, limits: &DiskLimits) -> io::Result<Self> {
        let config = config_space(&disk);
        Ok(Self {
            disk: Arc::new(disk),
            id: id.into(),
            config,
            gates: Arc::new(Mutex::new(Gates::new(limits))),
            worker: Worker::spawn(ThreadKind::Block, id)?,
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
        data.fill(0);
        let Some(source) = usize::try_from(offset).ok().and_then(|offset| self.config.get(offset..)) else {
            return;
        };
        let length = source.len().min(data.len());
        data[..length].copy_from_slice(&source[..length]);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Activation { memory, queues, interrupt, .. } = activation;
        let queue = queues.into_iter().next().ok_or_else(|| io::Error::other("a disk has one queue"))?;
        let (disk, id, gates) = (Arc::clone(&self.disk), Arc::clone(&self.id), Arc::clone(&self.gates));
        let engine = Engine::new(disk, id, memory, queue, Arc::clone(&interrupt), gates);
        self.worker.start(engine, interrupt)
    }

    fn reset(&mut self) {
        // Requests are carried out on the worker's thread, so none is under way once it has stopped.
        self.worker.stop();
    }
}

#[cfg(test)]
mod tests;
