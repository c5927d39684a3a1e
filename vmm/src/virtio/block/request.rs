//! One request of a block device (virtio 1.2, section 5.2.6): a header, data, and room for a status byte. The three may
//! be cut into descriptors in any way (section 2.7.4).

use std::ops::Deref;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtio_queue::DescriptorChain;
use vm_memory::GuestMemoryMmap;

use super::disk::Disk;
use super::file::Zero;
use crate::SECTOR_SIZE;
use crate::virtio::buffers::{Buffers, Span};
use crate::virtio::error::Fault;

/// The most data descriptors of one request, as the driver is told. With 4 KiB pages that is half a MiB; with more, a
/// single request would hold up the queue for longer.
pub const MAX_SEGMENTS: u32 = 126;
/// Descriptors that one request may have: data, header and status.
const MAX_DESCRIPTORS: usize = MAX_SEGMENTS as usize + 2;
/// The most one request may transfer, in bytes. Linux stays at 1.25 MiB unless told otherwise.
const MAX_BYTES: u64 = 32 << 20;
/// Ranges in one discard or write-zeroes request.
pub const MAX_RANGES: u32 = 32;
/// Sectors in one such range. Punching a hole takes time with its size on some file systems.
pub const MAX_RANGE_SECTORS: u32 = (1 << 30) / SECTOR_SIZE as u32;

const HEADER_BYTES: usize = 16;
const RANGE_BYTES: usize = 16;
const ID_BYTES: usize = VIRTIO_BLK_ID_BYTES as usize;
/// A write-zeroes range may free its blocks (section 5.2.6).
const RANGE_UNMAP: u32 = 1;

/// Which way a request goes; each has limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the disk.
    Read = 0,
    /// To the disk: all that changes it, and flushing.
    Write = 1,
}

impl Way {
    fn of(kind: u32) -> Option<Self> {
        match kind {
            VIRTIO_BLK_T_IN => Some(Self::Read),
            VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_FLUSH | VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => {
                Some(Self::Write)
            }
            _ => None,
        }
    }
}

/// What a request ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It failed, or asked for what the disk does not have.
    Failed,
    /// The device does not know this kind, or did not offer it.
    Unsupported,
    /// It has to wait for its limit.
    Late,
}

impl From<std::io::Error> for Refusal {
    fn from(_: std::io::Error) -> Self {
        Self::Failed
    }
}

/// Carries out the request in `chain`; returns the bytes written into it. The status byte says how the disk answered.
/// `admit` decides about a request by its way and its bytes. A request that it does not let pass changes nothing, and
/// nothing is returned.
///
/// # Errors
/// When the chain is broken or has no place for the status byte.
pub fn serve<M: Deref<Target = GuestMemoryMmap>>(
    memory: &GuestMemoryMmap,
    disk: &Disk,
    id: &str,
    chain: DescriptorChain<M>,
    admit: impl FnOnce(Way, u64) -> bool,
) -> Result<Option<u32>, Fault> {
    let Buffers { readable, writable: mut status } = Buffers::new(memory, chain, MAX_DESCRIPTORS)?;
    if status.is_empty() {
        return Err(Fault::Guest("a request without room for its status"));
    }
    let data = status.take_all_but_last();
    let room = data.len();
    let outcome = if readable.len().max(room) > MAX_BYTES {
        Err(Refusal::Failed)
    } else {
        carry_out(disk, id, readable, data, admit)
    };
    let (code, written) = match outcome {
        Ok(written) => (VIRTIO_BLK_S_OK, written),
        Err(Refusal::Failed) => (VIRTIO_BLK_S_IOERR, 0),
        Err(Refusal::Unsupported) => (VIRTIO_BLK_S_UNSUPP, 0),
        Err(Refusal::Late) => return Ok(None),
    };
    status.write(&[code as u8]);
    // The status lies behind all of the room, so it counts only when the room was filled; `written` fits, see above.
    Ok(Some(if written == room { written as u32 + 1 } else { written as u32 }))
}

/// Returns how many bytes of `data` were written.
fn carry_out(
    disk: &Disk,
    id: &str,
    mut input: Span<'_>,
    data: Span<'_>,
    admit: impl FnOnce(Way, u64) -> bool,
) -> Result<u64, Refusal> {
    let mut header = [0; HEADER_BYTES];
    if input.read(&mut header) < HEADER_BYTES {
        return Err(Refusal::Failed);
    }
    let kind = u32_at(&header, 0);
    let sector = u64_at(&header, 8);
    let bytes = match kind {
        VIRTIO_BLK_T_IN => data.len(),
        VIRTIO_BLK_T_OUT => input.len(),
        _ => 0,
    };
    if Way::of(kind).is_some_and(|way| !admit(way, bytes)) {
        return Err(Refusal::Late);
    }
    match kind {
        VIRTIO_BLK_T_IN => {
            let position = position(disk, sector, data.len())?;
            let count = data.len();
            disk.read(position, data)?;
            Ok(count)
        }
        // The device itself refuses writes, also those of a driver that ignores VIRTIO_BLK_F_RO.
        VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_FLUSH | VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES
            if disk.is_read_only() =>
        {
            Err(Refusal::Failed)
        }
        VIRTIO_BLK_T_OUT => {
            let position = position(disk, sector, input.len())?;
            disk.write(position, input)?;
            Ok(0)
        }
        VIRTIO_BLK_T_FLUSH => {
            disk.flush()?;
            Ok(0)
        }
        VIRTIO_BLK_T_DISCARD => zero(disk, input, |flags| (flags == 0).then_some(Zero::Free)),
        VIRTIO_BLK_T_WRITE_ZEROES => zero(disk, input, |flags| match flags {
            0 => Some(Zero::Keep),
            RANGE_UNMAP => Some(Zero::Free),
            _ => None,
        }),
        VIRTIO_BLK_T_GET_ID => {
            let mut bytes = [0; ID_BYTES];
            let length = id.len().min(ID_BYTES);
            bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
            let mut data = data;
            Ok(data.write(&bytes) as u64)
        }
        _ => Err(Refusal::Unsupported),
    }
}

/// The place of `length` bytes from `sector` on, in bytes, if all of it is on the disk.
fn position(disk: &Disk, sector: u64, length: u64) -> Result<u64, Refusal> {
    let start = sector.checked_mul(SECTOR_SIZE).ok_or(Refusal::Failed)?;
    let end = start.checked_add(length).ok_or(Refusal::Failed)?;
    if length.is_multiple_of(SECTOR_SIZE) && end <= disk.bytes() { Ok(start) } else { Err(Refusal::Failed) }
}

/// Carries out a discard or write-zeroes request, range by range. `how` says what a range's flags mean.
fn zero(disk: &Disk, mut input: Span<'_>, how: impl Fn(u32) -> Option<Zero>) -> Result<u64, Refusal> {
    if !input.len().is_multiple_of(RANGE_BYTES as u64)
        || input.len() > u64::from(MAX_RANGES) * RANGE_BYTES as u64
    {
        return Err(Refusal::Failed);
    }
    while !input.is_empty() {
        let mut range = [0; RANGE_BYTES];
        input.read(&mut range);
        let (sectors, flags) = (u32_at(&range, 8), u32_at(&range, 12));
        // The specification asks for this answer to unknown flags (section 5.2.6.2).
        let how = how(flags).ok_or(Refusal::Unsupported)?;
        if sectors > MAX_RANGE_SECTORS {
            return Err(Refusal::Failed);
        }
        let length = u64::from(sectors) * SECTOR_SIZE;
        let position = position(disk, u64_at(&range, 0), length)?;
        if length > 0 {
            disk.zero(position, length, how)?;
        }
    }
    Ok(0)
}

/// Both readers are only called with places inside the fixed-size structures above.
fn u32_at(bytes: &[u8; 16], at: usize) -> u32 {
    u64_at(bytes, at) as u32
}

fn u64_at(bytes: &[u8; 16], at: usize) -> u64 {
    (u128::from_le_bytes(*bytes) >> (8 * at)) as u64
}
