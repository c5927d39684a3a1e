//! A place where a device can be put while the VM runs: device id 0, at which a driver stops looking (virtio 1.2,
//! section 4.2.2, `DeviceID`).

use super::device::{Activation, VirtioDevice};
use super::error::{ActivateError, LifecycleError};

/// No device.
pub struct Absent;

impl VirtioDevice for Absent {
    fn device_type(&self) -> u32 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[]
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, _activation: Activation) -> Result<(), ActivateError> {
        Ok(())
    }

    fn pause(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }

    fn reset(&mut self) {}
}
