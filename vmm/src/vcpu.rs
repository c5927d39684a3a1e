//! A virtual CPU's thread: runs guest code and answers its exits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::bus::Bus;
use crate::report::StopReason;
use crate::stop::Stop;

/// What all virtual CPUs of a VM share.
#[derive(Clone)]
pub struct Shared {
    /// Where exits go.
    pub bus: Arc<Bus>,
    /// Why the VM stops.
    pub stop: Arc<Stop>,
    /// Held while the writes that KVM collected are carried out: there is one ring of them for all CPUs, and their
    /// order is the guest's.
    pub ring: Arc<Mutex<()>>,
}

/// As many entries as the ring of collected writes can hold at most; a guest that keeps adding to it is not
/// followed further.
const RING_ENTRIES: usize = 4096 / size_of::<kvm_bindings::kvm_coalesced_mmio>();

/// A virtual CPU, ready to run.
pub struct Vcpu {
    fd: VcpuFd,
    index: u8,
    shared: Shared,
}

/// What to do after an exit, once KVM's page is not borrowed any more.
enum Next {
    Run,
    /// This write, after those that KVM has collected.
    Write {
        address: u64,
        data: [u8; 8],
        length: usize,
    },
    Stop(StopReason),
}

impl Vcpu {
    /// Takes a virtual CPU whose registers are set.
    ///
    /// # Errors
    /// When the ring of collected writes cannot be mapped.
    pub fn new(mut fd: VcpuFd, index: u8, shared: Shared) -> Result<Self, kvm_ioctls::Error> {
        fd.map_coalesced_mmio_ring()?;
        Ok(Self { fd, index, shared })
    }

    /// Runs until the VM stops, for a reason of its own or of others.
    pub fn run(mut self) {
        let stop = Arc::clone(&self.shared.stop);
        let index = self.index;
        let outcome = catch_unwind(AssertUnwindSafe(move || {
            while self.shared.stop.reason().is_none() {
                match self.step() {
                    Next::Run => {}
                    Next::Write { address, data, length } => {
                        self.carry_out_collected();
                        self.shared.bus.memory_write(address, &data[..length]);
                    }
                    Next::Stop(reason) => self.shared.stop.give(reason),
                }
            }
        }));
        if outcome.is_err() {
            stop.give(fault(index, "its thread panicked"));
        }
    }

    fn step(&mut self) -> Next {
        let bus = &self.shared.bus;
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            // A signal: there may be a reason to stop.
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => return Next::Run,
            Err(error) => return Next::Stop(fault(self.index, &format!("KVM_RUN: {error}"))),
        };
        #[cfg(debug_assertions)]
        crate::trace::exit(&exit);
        match exit {
            VcpuExit::MmioWrite(address, data) => {
                let mut copy = [0; 8];
                // KVM has no longer writes.
                let length = data.len().min(copy.len());
                copy[..length].copy_from_slice(&data[..length]);
                Next::Write { address, data: copy, length }
            }
            VcpuExit::MmioRead(_, data) => {
                bus.memory_read(data);
                Next::Run
            }
            VcpuExit::IoOut(port, data) => bus.port_write(port, data).map_or(Next::Run, Next::Stop),
            VcpuExit::IoIn(port, data) => {
                bus.port_read(port, data);
                Next::Run
            }
            VcpuExit::Intr => Next::Run,
            VcpuExit::Shutdown => Next::Stop(StopReason::TripleFault),
            VcpuExit::SystemEvent(kvm_bindings::KVM_SYSTEM_EVENT_SHUTDOWN, _) => {
                Next::Stop(StopReason::PowerOff)
            }
            VcpuExit::SystemEvent(kvm_bindings::KVM_SYSTEM_EVENT_RESET, _) => Next::Stop(StopReason::Reset),
            VcpuExit::InternalError => {
                Next::Stop(fault(self.index, "KVM cannot emulate what the guest executes"))
            }
            VcpuExit::FailEntry(reason, cpu) => Next::Stop(fault(
                self.index,
                &format!("the processor refuses its state (reason {reason:#x}, host CPU {cpu})"),
            )),
            other => Next::Stop(fault(self.index, &format!("an exit that is not handled: {other:?}"))),
        }
    }

    /// Carries out the writes to deferrable registers that KVM collected, oldest first.
    fn carry_out_collected(&mut self) {
        let Shared { bus, ring, .. } = &self.shared;
        let _one_at_a_time = ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for _ in 0..RING_ENTRIES {
            let Ok(Some(entry)) = self.fd.coalesced_mmio_read() else { break };
            // SAFETY: both variants are the same four bytes, of which KVM sets all.
            let is_port = unsafe { entry.__bindgen_anon_1.pio } != 0;
            if !is_port {
                let length = (entry.len as usize).min(entry.data.len());
                bus.memory_write(entry.phys_addr, &entry.data[..length]);
            }
        }
    }
}

fn fault(index: u8, what: &str) -> StopReason {
    StopReason::Fault { message: format!("virtual CPU {index}: {what}") }
}
