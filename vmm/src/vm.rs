//! Boots one VM and runs it to its end: [`run`] reads like the plan.
//!
//! ```text
//! configuration -> inherited files -> /dev/kvm -> jail -> memory -> kernel -> machine -> devices -> virtual CPUs -> run
//! ```
//! The jail closes before the VMM reads any file of the configuration, and before any thread exists: namespaces and
//! credentials belong to threads, so threads that start later inherit them all.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_ioctls::Kvm;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use crate::boot::{cmdline, kernel, mptable, params, registers};
use crate::bus::Bus;
use crate::config::{Fd, MAX_MEMORY_MIB, MAX_VCPUS, MIN_MEMORY_MIB, MemoryConfig, VmConfig};
use crate::console::Console;
use crate::fds::{Access, FdError, InheritedFds};
use crate::machine::{self, Machine};
use crate::memory::{self, MemoryFile};
use crate::range::{self, OutOfRange};
use crate::report::StopReason;
use crate::stop::Stop;
use crate::thread::{self, ThreadKind};
use crate::vcpu::{Shared, Vcpu};
use crate::virtio::plan::Claims;
use crate::{control, devices, jail, layout, log, wiring};

/// How often virtual CPUs are told again to stop, should a signal arrive just before the guest is entered.
const STOP_AGAIN: Duration = Duration::from_millis(1);

/// Why a VM never ran.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {message}")]
pub struct BootError {
    /// As in [`crate::report::Report::Failed`].
    pub step: &'static str,
    /// What was asked and what was wrong.
    pub message: String,
}

impl BootError {
    /// The failure of a step.
    pub fn new(step: &'static str, message: impl Display) -> Self {
        Self { step, message: message.to_string() }
    }
}

fn at<E: Display>(step: &'static str) -> impl Fn(E) -> BootError {
    move |error| BootError::new(step, error)
}

/// Everything that the configuration names, taken over.
struct Files {
    memory: Option<MemoryFile>,
    kernel: File,
    initramfs: File,
    devices: Claims,
    control: Option<OwnedFd>,
    debug_console: Option<File>,
}

impl Files {
    /// Takes over all of it, apart from the report's descriptor.
    fn take(config: &VmConfig, fds: &mut InheritedFds) -> Result<Self, FdError> {
        let memory = match config.memory {
            MemoryConfig::Anonymous => None,
            MemoryConfig::File { file, shared } => {
                let access = if shared { Access::Both } else { Access::Read };
                Some(MemoryFile { file: fds.take(file, "memory", access)?.into(), shared })
            }
        };
        let mut optional =
            |fd: Option<Fd>, what: &str, access| fd.map(|fd| fds.take(fd, what, access)).transpose();
        let debug_console = optional(config.debug_console, "debug_console", Access::Write)?;
        let control = optional(config.control, "control", Access::Both)?;
        Ok(Self {
            memory,
            kernel: fds.take(config.kernel, "kernel", Access::Read)?.into(),
            initramfs: fds.take(config.initramfs, "initramfs", Access::Read)?.into(),
            devices: devices::claim(&config.devices, fds)?,
            control,
            debug_console: debug_console.map(File::from),
        })
    }

    /// The size of the largest file that a device can write, in bytes.
    fn largest_writable(&self) -> io::Result<u64> {
        let sizes = self.devices.iter().map(|(_, device)| device.largest_file());
        sizes.collect::<io::Result<Vec<_>>>().map(|sizes| sizes.into_iter().max().unwrap_or_default())
    }
}

/// Boots the VM and waits for its end. `running` is called once, when the virtual CPUs are about to run.
///
/// # Errors
/// When it never ran.
pub fn run(config: VmConfig, mut fds: InheritedFds, running: impl FnOnce()) -> Result<StopReason, BootError> {
    check(&config).map_err(at("config"))?;
    let files = Files::take(&config, &mut fds).map_err(at("config"))?;
    jail::descriptors::close_others(fds.numbers()).map_err(at("jail"))?;
    let kvm = machine::open(config.vcpus).map_err(at("kvm"))?;
    let largest = files.largest_writable().map_err(at("device"))?;
    jail::enter(&config.jail, largest).map_err(at("jail"))?;
    thread::install_filter(jail::seccomp::apply);

    let Files { memory, kernel, initramfs, devices, control, debug_console } = files;
    let bytes = u64::from(config.memory_mib) << 20;
    let memory = match memory {
        None => memory::map(bytes),
        Some(file) => memory::map_file(bytes, file),
    };
    let memory = memory.map_err(at("memory"))?;
    let loaded = kernel::load(&memory, kernel, initramfs).map_err(at("kernel"))?;

    let (devices, mut handles) = wiring::build(devices, config.vcpus).map_err(at("device"))?;
    let launcher =
        handles.launcher.take().ok_or_else(|| at("device")("nothing is connected to the launcher"))?;
    let line =
        cmdline::build(devices.len(), debug_console.is_some(), &config.command_line).map_err(at("config"))?;
    params::write(&memory, &loaded, &line).map_err(at("memory"))?;
    mptable::write(&memory, config.vcpus).map_err(at("memory"))?;
    registers::write_tables(&memory).map_err(at("memory"))?;

    let machine = Machine::new(&kvm, memory, devices.len()).map_err(at("kvm"))?;
    let transports = wiring::connect(devices, &machine).map_err(at("device"))?;
    let console = debug_console
        .map(|output| Ok(Console::new(output, machine.interrupt(layout::SERIAL_IRQ)?)))
        .transpose()
        .map_err(at::<machine::MachineError>("device"))?;
    let stop = Arc::new(Stop::new().map_err(at("kvm"))?);
    let bus = Arc::new(Bus::new(transports, console));
    let shared = Shared { bus, stop: Arc::clone(&stop), ring: Arc::default() };
    let vcpus = make_vcpus(&machine, &kvm, &config, loaded.entry, &shared)?;
    let control = control
        .map(|socket| control::Server::new(socket, config.memory_mib, Arc::clone(&shared.bus), handles));
    // Nothing of the boot is needed any more.
    drop((kvm, config, line));

    register_signal_handler(SIGRTMIN(), wake_up).map_err(at("kvm"))?;
    let start = Arc::new(Barrier::new(vcpus.len() + 1));
    let threads = spawn_vcpus(vcpus, &start).map_err(at("kvm"))?;
    thread::filter_current(ThreadKind::Main).map_err(at("jail"))?;
    running();
    start.wait();
    wait(&stop, &launcher, control);
    stop_vcpus(threads);
    let reason = stop.reason().cloned().unwrap_or(StopReason::LauncherGone);
    #[cfg(debug_assertions)]
    crate::trace::print();
    if shared.bus.unknown() > 0 {
        log::host(format_args!("{} accesses to where no device is", shared.bus.unknown()));
    }
    // Devices stop here: they finish what they had under way before the launcher learns that the VM has stopped.
    drop((shared, machine));
    Ok(reason)
}

/// Checks what serde cannot.
fn check(config: &VmConfig) -> Result<(), OutOfRange> {
    let ids = 1..=u64::from(u32::MAX - 1);
    range::check("vcpus", config.vcpus.into(), 1..=MAX_VCPUS.into())?;
    range::check("memory_mib", config.memory_mib.into(), MIN_MEMORY_MIB.into()..=MAX_MEMORY_MIB.into())?;
    range::check("jail.uid", config.jail.uid.into(), ids.clone())?;
    range::check("jail.gid", config.jail.gid.into(), ids)?;
    devices::check(&config.devices)
}

/// Makes the virtual CPUs; the first starts at `entry`.
fn make_vcpus(
    machine: &Machine,
    kvm: &Kvm,
    config: &VmConfig,
    entry: u64,
    shared: &Shared,
) -> Result<Vec<Vcpu>, BootError> {
    let vcpus = machine.create_vcpus(kvm, config.vcpus, entry).map_err(at("kvm"))?;
    let vcpus = vcpus.into_iter().zip(0..).map(|(fd, index)| Vcpu::new(fd, index, shared.clone()));
    vcpus.collect::<Result<_, _>>().map_err(at("kvm"))
}

/// Starts the virtual CPUs' threads, which wait at `start` until all is ready.
fn spawn_vcpus(vcpus: Vec<Vcpu>, start: &Arc<Barrier>) -> io::Result<Vec<JoinHandle<()>>> {
    vcpus
        .into_iter()
        .enumerate()
        .map(|(index, vcpu)| {
            let start = Arc::clone(start);
            thread::spawn(ThreadKind::Vcpu, &format!("vcpu{index}"), move || {
                start.wait();
                vcpu.run();
            })
        })
        .collect()
}

/// Waits for a reason to stop: one that a virtual CPU gave, or the end of the launcher's socket. Meanwhile it does what
/// the launcher commands.
fn wait(stop: &Stop, launcher: &OwnedFd, mut control: Option<control::Server>) {
    while stop.reason().is_none() {
        let mut events = vec![
            PollFd::new(stop.event(), PollFlags::POLLIN),
            // Only the other end's closing is asked for, so anything is that.
            PollFd::new(launcher.as_fd(), PollFlags::empty()),
        ];
        events.extend(control.as_ref().map(|control| PollFd::new(control.as_fd(), PollFlags::POLLIN)));
        let outcome = poll(&mut events, PollTimeout::NONE);
        let happened: Vec<bool> = events.iter().map(|event| event.any().unwrap_or(true)).collect();
        match (outcome, happened.as_slice()) {
            (Ok(_), [_, true, ..]) => stop.give(StopReason::LauncherGone),
            (Ok(_), [_, _, true]) => {
                control = control.and_then(|mut control| control.serve().is_ok().then_some(control))
            }
            (Ok(_) | Err(Errno::EINTR), _) => {}
            (Err(error), _) => {
                stop.give(StopReason::Fault { message: format!("cannot wait for the VM: {error}") })
            }
        }
    }
}

/// The signal only has to interrupt KVM_RUN.
extern "C" fn wake_up(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Ends the virtual CPUs' threads. Each looks for the reason before it enters the guest; the signal gets it out of there.
fn stop_vcpus(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        while !thread.is_finished() {
            let _ = thread.kill(SIGRTMIN());
            std::thread::sleep(STOP_AGAIN);
        }
        let _ = thread.join();
    }
}
