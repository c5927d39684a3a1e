//! The devices of a VM are built in the order of the configuration and wired to the machine.

use std::sync::Arc;

use crate::layout;
use crate::machine::{Machine, MachineError};
use crate::virtio::handles::Handles;
use crate::virtio::mmio::Transport;
use crate::virtio::plan::{BuildError, Built, Claims, Name, Site};

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It cannot be built.
    #[error("{name}: {source}")]
    Build {
        /// Which.
        name: Name,
        /// Why, as the device says it.
        source: BuildError,
    },
    /// The machine has no registers for it.
    #[error("no registers for device {0}")]
    Registers(usize),
    /// KVM does not wire it.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Its queues are not what virtio allows.
    #[error(transparent)]
    Queues(#[from] virtio_queue::Error),
}

/// Builds the devices, in the order in which the guest finds them.
///
/// # Errors
/// The first that cannot be built.
pub fn build(devices: Claims, vcpus: u8) -> Result<(Vec<Built>, Handles), DeviceError> {
    let mut handles = Handles::default();
    let mut built = Vec::with_capacity(devices.len());
    for (device, (name, claimed)) in devices.into_iter().enumerate() {
        let mut site = Site { name: &name, device, vcpus, handles: &mut handles };
        match claimed.build(&mut site) {
            Ok(device) => built.push(device),
            Err(source) => return Err(DeviceError::Build { name, source }),
        }
    }
    Ok((built, handles))
}

/// Gives each device its registers, its interrupt and its notifications.
///
/// # Errors
/// When KVM refuses.
pub fn connect(devices: Vec<Built>, machine: &Machine) -> Result<Vec<Transport>, DeviceError> {
    let memory = Arc::new(machine.memory().clone());
    let mut transports = Vec::with_capacity(devices.len());
    for (index, Built { device, queues }) in devices.into_iter().enumerate() {
        let kicks = machine.wire_virtio(index, queues, device.immediate_queues())?;
        let line = machine.interrupt(layout::virtio_irq(index))?;
        let page = machine.registers().page(index).ok_or(DeviceError::Registers(index))?;
        transports.push(Transport::new(device, Arc::clone(&memory), line, page, kicks)?);
    }
    Ok(transports)
}
