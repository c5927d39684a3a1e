//! Whether KVM here really runs guests: some hosts have the device but interpret every instruction.

use std::time::{Duration, Instant};

use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// How often the probe's guest goes round its loop.
const ITERATIONS: u32 = 1_000_000;

/// What the loop may take. Hardware needs under a millisecond, a processor in software about ten; an interpreter of
/// single instructions half a second.
const LIMIT: Duration = Duration::from_millis(150);

/// How often it is tried while it takes longer.
const ATTEMPTS: u32 = 3;

/// Where the probe's code lies in the guest, and the size of its memory.
const CODE: u64 = 0x1000;
const MEMORY: usize = 0x4000;

/// The only version of KVM's interface since 2007.
const API_VERSION: i32 = 12;

/// Why KVM cannot be used here.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// `/dev/kvm` cannot be opened.
    #[error("cannot open /dev/kvm: {0}")]
    Open(kvm_ioctls::Error),
    /// The interface has another version than the probe knows.
    #[error("KVM's interface has version {0}, not {API_VERSION}")]
    Version(i32),
    /// A guest cannot be made.
    #[error("KVM cannot make a guest: {0}")]
    Make(kvm_ioctls::Error),
    /// The guest did something else than it was told to.
    #[error("KVM does not run guests correctly: {0}")]
    Run(String),
    /// It runs, but no ordinary kernel could be run that way.
    #[error(
        "KVM took {} ms for {ITERATIONS} turns of a loop, {} at most is expected: it interprets guests instead of running them",
        .0.as_millis(),
        LIMIT.as_millis()
    )]
    Interpreted(Duration),
}

/// Runs a tiny guest and tells how long its loop took.
///
/// # Errors
/// When there is no KVM, or none that can run an ordinary kernel.
pub fn probe() -> Result<Duration, ProbeError> {
    let kvm = Kvm::new().map_err(ProbeError::Open)?;
    if kvm.get_api_version() != API_VERSION {
        return Err(ProbeError::Version(kvm.get_api_version()));
    }
    let vm = kvm.create_vm().map_err(ProbeError::Make)?;
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY)])
        .map_err(|e| ProbeError::Run(e.to_string()))?;
    let host = vm_memory::GuestMemoryBackend::get_host_address(&memory, GuestAddress(0))
        .map_err(|e| ProbeError::Run(e.to_string()))?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY as u64,
        userspace_addr: host as u64,
        flags: 0,
    };
    // SAFETY: `memory` maps MEMORY bytes at this address and, declared after `vm`'s file descriptor is made and before
    // the virtual CPU, is unmapped only after that has run for the last time.
    unsafe { vm.set_user_memory_region(region) }.map_err(ProbeError::Make)?;
    let [i0, i1, i2, i3] = ITERATIONS.to_le_bytes();
    // Real mode: mov ecx, ITERATIONS; again: dec ecx; jnz again; hlt
    let code = [0x66, 0xb9, i0, i1, i2, i3, 0x66, 0x49, 0x75, 0xfc, 0xf4];
    memory.write_slice(&code, GuestAddress(CODE)).map_err(|e| ProbeError::Run(e.to_string()))?;
    let mut vcpu = vm.create_vcpu(0).map_err(ProbeError::Make)?;
    let mut sregs = vcpu.get_sregs().map_err(ProbeError::Make)?;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    vcpu.set_sregs(&sregs).map_err(ProbeError::Make)?;
    let mut took = time_loop(&mut vcpu)?;
    // A busy host lets a guest wait; no guest is faster than its host.
    for _ in 1..ATTEMPTS {
        if took <= LIMIT {
            break;
        }
        took = took.min(time_loop(&mut vcpu)?);
    }
    if took <= LIMIT { Ok(took) } else { Err(ProbeError::Interpreted(took)) }
}

fn time_loop(vcpu: &mut VcpuFd) -> Result<Duration, ProbeError> {
    // Bit 1 of the flags is always set.
    vcpu.set_regs(&kvm_regs { rip: CODE, rflags: 2, ..Default::default() }).map_err(ProbeError::Make)?;
    let before = Instant::now();
    match vcpu.run().map_err(ProbeError::Make)? {
        VcpuExit::Hlt => Ok(before.elapsed()),
        other => Err(ProbeError::Run(format!("a loop ended with {other:?}"))),
    }
}
