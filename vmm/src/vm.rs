//! Boots one VM and runs it to its end: [`run`] reads like the plan.
//!
//! ```text
//! configuration -> inherited files -> /dev/kvm -> jail -> memory -> kernel -> machine -> devices -> virtual CPUs -> run
//! ```
//! The jail closes before anything of the configuration's files is looked into, and before any thread exists:
//! namespaces and credentials belong to threads, so those started later inherit them all.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use crate::boot::{cmdline, kernel, mptable, params, registers};
use crate::bus::Bus;
use crate::config::{MAX_QUEUE_PAIRS, MAX_VCPUS, MIN_MEMORY_MIB, MIN_MTU, NetworkConfig, VmConfig};
use crate::console::Console;
use crate::control;
use crate::devices::Devices;
use crate::fds::{InheritedFds, VmFiles};
use crate::machine::{self, Machine};
use crate::report::StopReason;
use crate::stop::Stop;
use crate::thread::{self, ThreadKind};
use crate::vcpu::{Shared, Vcpu};
use crate::{jail, layout, log, memory};

/// The most memory a VM can have, in MiB: 1 TiB.
pub const MAX_MEMORY_MIB: u32 = 1 << 20;

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

/// Boots the VM and waits for its end. `running` is called once, when the virtual CPUs are about to run.
///
/// # Errors
/// When it never ran.
pub fn run(config: VmConfig, mut fds: InheritedFds, running: impl FnOnce()) -> Result<StopReason, BootError> {
    check(&config)?;
    let files = VmFiles::take(&config, &mut fds).map_err(at("config"))?;
    jail::descriptors::close_others(fds.numbers()).map_err(at("jail"))?;
    let kvm = machine::open(config.vcpus).map_err(at("kvm"))?;
    let largest = files.largest_writable(&config).map_err(at("disk"))?;
    jail::enter(&config.jail, largest).map_err(at("jail"))?;
    thread::install_filter(jail::seccomp::apply);

    let VmFiles { kernel, initramfs, disks, networks, dial, control, debug_console } = files;
    let launcher = dial.try_clone().map_err(at("device"))?;
    let memory = memory::map(u64::from(config.memory_mib) << 20).map_err(at("memory"))?;
    let loaded = kernel::load(&memory, kernel, initramfs).map_err(at("kernel"))?;

    let devices = Devices::build(&config, disks, networks, dial)?;
    let line =
        cmdline::build(devices.len(), debug_console.is_some(), &config.command_line).map_err(at("config"))?;
    params::write(&memory, &loaded, &line).map_err(at("memory"))?;
    mptable::write(&memory, config.vcpus).map_err(at("memory"))?;
    registers::write_tables(&memory).map_err(at("memory"))?;

    let machine = Machine::new(&kvm, memory, devices.len()).map_err(at("kvm"))?;
    let (transports, handles) = devices.connect(&machine)?;
    let console = debug_console
        .map(|output| Ok(Console::new(output, machine.interrupt(layout::SERIAL_IRQ)?)))
        .transpose()
        .map_err(at::<machine::MachineError>("device"))?;
    let stop = Arc::new(Stop::new().map_err(at("kvm"))?);
    let bus = Arc::new(Bus::new(transports, console));
    let shared = Shared { bus, stop: Arc::clone(&stop), ring: Arc::default() };
    let vcpus = machine
        .create_vcpus(&kvm, config.vcpus, loaded.entry)
        .map_err(at("kvm"))?
        .into_iter()
        .zip(0..)
        .map(|(fd, index)| Vcpu::new(fd, index, shared.clone()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(at("kvm"))?;
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
    // Devices stop here: what they had under way is done before anybody is told that the VM has stopped.
    drop((shared, machine));
    Ok(reason)
}

fn count(things: usize) -> u32 {
    u32::try_from(things).unwrap_or(u32::MAX)
}

/// What serde cannot check.
fn check(config: &VmConfig) -> Result<(), BootError> {
    let within = |what: &str, value: u32, least: u32, most: u32| {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(BootError::new("config", format!("{what} is {value}, but must be from {least} to {most}")))
    };
    within("vcpus", config.vcpus.into(), 1, MAX_VCPUS.into())?;
    within("memory_mib", config.memory_mib, MIN_MEMORY_MIB, MAX_MEMORY_MIB)?;
    // The last is "any".
    within("vsock.guest_cid", config.vsock.guest_cid, 3, u32::MAX - 1)?;
    within("jail.uid", config.jail.uid, 1, u32::MAX - 1)?;
    within("jail.gid", config.jail.gid, 1, u32::MAX - 1)?;
    for (index, NetworkConfig { taps, card }) in config.networks.iter().enumerate() {
        within(
            &format!("the number of taps of network {index}"),
            count(taps.len()),
            1,
            count(MAX_QUEUE_PAIRS),
        )?;
        within(&format!("the MTU of network {index}"), card.mtu.into(), MIN_MTU.into(), u16::MAX.into())?;
    }
    let most = count(layout::MAX_VIRTIO_DEVICES - layout::FIXED_VIRTIO_DEVICES);
    within("the number of disks", count(config.disks.len()), 0, most)?;
    let all = config.disks.len() + config.networks.len() + usize::from(config.spare_networks);
    within("the number of disks, networks and spare networks", count(all), 0, most)
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
