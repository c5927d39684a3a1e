//! The control queue (virtio 1.2, section 5.1.6.5): a class, a command and its data, and room for one byte of answer. The
//! device knows one command, how many queue pairs the driver uses.

use virtio_bindings::virtio_net::{
    VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_ERR, VIRTIO_NET_OK,
};

use crate::virtio::buffers::Buffers;
use crate::virtio::error::Fault;

/// Carries out one command with `set` for a device of `most` pairs. Returns the bytes written.
///
/// # Errors
/// When there is no room for the answer, or what `set` cannot go on from.
pub fn serve(
    buffers: Buffers<'_>,
    most: usize,
    set: impl FnOnce(usize) -> Result<(), Fault>,
) -> Result<u32, Fault> {
    let Buffers { mut readable, mut writable } = buffers;
    if writable.is_empty() {
        return Err(Fault::Guest("a control command without room for its answer"));
    }
    let mut command = [0; 4];
    let whole = readable.read(&mut command) == command.len() && readable.is_empty();
    let [class, number, low, high] = command;
    let known =
        (u32::from(class), u32::from(number)) == (VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET);
    let pairs = usize::from(u16::from_le_bytes([low, high]));
    let answer = if whole && known && (1..=most).contains(&pairs) {
        set(pairs)?;
        VIRTIO_NET_OK
    } else {
        VIRTIO_NET_ERR
    };
    writable.write(&[answer as u8]);
    Ok(1)
}
