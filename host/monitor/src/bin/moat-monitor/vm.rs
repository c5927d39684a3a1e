//! The VM process as its monitor sees it: started, dialed from, ended.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use moat_vmm::config::{Fd, JailConfig, MemoryConfig, NetworkCard, VmConfig, VsockConfig};
use moat_vmm::control::{Answer, Command, MAX_PACKET};
use moat_vmm::launch::{Child, Exit, Launch, LaunchError};
use moat_vmm::layout;
use moat_vmm::report::{MAX_REPORT_LINE, Report, StopReason};
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::descriptors;
use crate::devices::{DISKS, DiskError, cards, devices, disks};
use moat_containers::Container;
use moat_containers::cgroup::{Cgroup, CgroupError};
use moat_containers::config::Resources;
use moat_monitor::artifacts::{Artifacts, Missing};
use moat_monitor::config::MonitorConfig;
use moat_network::NetworkError;
use moat_network::attach::{Attached, MAX_NETWORKS};

/// The guest's context id. Each VM has a vsock of its own, so all of them can be the same.
const GUEST_CID: u32 = 3;

/// Words for the guest's kernel: no network interfaces beside Moat's; free memory is reported in pieces of 64 KiB
/// and more, where the default of 2 MiB leaves most of an idle guest's memory with it.
const COMMAND_LINE: &str = "dummy.numdummies=0 page_reporting.page_reporting_order=4";

/// How many places for network cards a VM has beyond those that it needs at its start. Each costs the booting guest a look
/// and the VMM a parked thread.
const SPARE_NETWORKS: usize = 4;

const NO_PLACE: &str = "the virtual machine has no room for another network card while it runs: disconnect the \
    container from a network, or stop it, connect it and start it again";

const NO_ANSWER: &str = "the virtual machine monitor does not answer; it may still do what it was asked";

/// How long the VMM may take to answer.
const CONTROL_LIMIT: Duration = Duration::from_secs(10);

/// How many lines of its report a VM is believed to need.
const MAX_REPORT_LINES: u64 = 16;

/// Why a VM did not start or stopped.
#[derive(Debug, Error)]
pub enum VmError {
    /// A part of it is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The host would not give it what it needs.
    #[error("cannot prepare the virtual machine: {0}")]
    Host(#[from] io::Error),
    /// Its disks could not be opened.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its cgroup could not be made.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Its networks could not be made.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its process could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It ended on its own account.
    #[error("{0}")]
    Ended(String),
}

/// A running VM.
pub struct Vm {
    resources: Resources,
    cgroup: Cgroup,
    child: Child,
    exit: AsyncFd<OwnedFd>,
    dial: AsyncFd<OwnedFd>,
    control: Mutex<Control>,
    /// Its places for network cards, and which are in them.
    places: RefCell<Vec<Option<Plugged>>>,
    report: File,
    /// What it says to its administrator, unless that is the user: no more than a pipe holds, read when it has ended.
    words: Option<File>,
}

/// Where the VMM takes commands: one answer to each, in their order.
struct Control {
    socket: AsyncFd<OwnedFd>,
    /// Answers to commands that no task waits for any more.
    owed: u32,
}

/// A network card in its place.
struct Plugged {
    /// The container's interface.
    number: u8,
    /// What the guest's kernel calls the device.
    device: String,
}

/// A connection that the guest opened.
pub struct Dialed {
    /// The host's port.
    pub port: u32,
    /// The connection.
    pub stream: UnixStream,
}

impl Vm {
    /// Starts the VM of `container`, jailed, in a cgroup of its own and on the networks that it has joined.
    ///
    /// # Errors
    /// When something it needs is missing or refused.
    pub fn start(
        container: &Container,
        start: &MonitorConfig,
        network: Option<&Attached>,
    ) -> Result<Self, VmError> {
        let artifacts = Artifacts::in_directory(&start.artifacts);
        let debug_console = start.debug_console;
        let cgroup = Cgroup::of(container.id());
        let directory = cgroup.create(&container.config.resources)?;
        let (dial, their_dial) = packets()?;
        let (control, their_control) = packets()?;
        let (report, report_writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;

        let mut launch = Launch::new();
        let config = VmConfig {
            id: container.id().short().to_owned(),
            vcpus: container.config.resources.vcpus(),
            memory_mib: container.config.resources.memory_mib,
            memory: MemoryConfig::Anonymous,
            kernel: launch.add(Artifacts::open(&artifacts.kernel())?.into()),
            initramfs: launch.add(Artifacts::open(&artifacts.initramfs())?.into()),
            command_line: COMMAND_LINE.to_owned(),
            devices: devices(
                disks(container, &start.image, &mut launch)?,
                cards(network, &container.config, &mut launch)?,
                VsockConfig { guest_cid: GUEST_CID, dial: launch.add(their_dial) },
                spares(network),
            ),
            control: Some(launch.add(their_control)),
            report: launch.add(report_writer),
            debug_console: debug_console_descriptor(debug_console, &mut launch)?,
            jail: JailConfig { uid: container.id().uid(), gid: container.id().uid() },
        };
        launch.cgroup(directory.into());
        let words = if debug_console { None } else { Some(words(&mut launch)?) };
        let child = launch.start(&artifacts.vmm(), &config)?;
        Ok(Self {
            resources: container.config.resources,
            cgroup,
            exit: descriptors::watched(child.as_fd().try_clone_to_owned()?)?,
            child,
            dial: descriptors::watched(dial)?,
            control: Mutex::new(Control { socket: descriptors::watched(control)?, owed: 0 }),
            places: RefCell::new(places(network)),
            report: report.into(),
            words,
        })
    }

    /// What it was started with.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// How much time processors have spent on it.
    pub fn processor_time(&self) -> Duration {
        self.cgroup.processor_time()
    }

    /// The next connection that the guest opens. It can be given up at any moment.
    ///
    /// # Errors
    /// When the VM has ended.
    pub async fn dialed(&self) -> Result<Dialed, VmError> {
        loop {
            let mut port = [0; 4];
            let (length, mut descriptors) = self
                .dial
                .async_io(Interest::READABLE, |dial| {
                    moat_monitor::descriptors::receive(dial.as_fd(), &mut port)
                })
                .await?;
            if length == 0 {
                // The other end is closed: the process is ending and soon has told why.
                return std::future::pending().await;
            }
            if length == port.len()
                && let Some(descriptor) = descriptors.pop()
            {
                let stream = std::os::unix::net::UnixStream::from(descriptor);
                stream.set_nonblocking(true)?;
                return Ok(Dialed { port: u32::from_le_bytes(port), stream: UnixStream::from_std(stream)? });
            }
        }
    }

    /// Stops every thread of the VM, or lets them go on. A signal rather than the cgroup's freezer: KVM keeps a kernel
    /// thread in the cgroup, and with that the kernel never calls it frozen.
    ///
    /// # Errors
    /// When the VM's process may not be signalled.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        self.child.stop(frozen)
    }

    /// Whether every thread of the VM stands still.
    pub fn is_frozen(&self) -> bool {
        self.child.is_stopped().unwrap_or(false)
    }

    /// Leaves the guest with `memory_mib` of memory, as soon as it gives the rest away.
    ///
    /// # Errors
    /// When the VM refuses or does not answer.
    pub async fn set_memory(&self, memory_mib: u32) -> io::Result<()> {
        match self.command(&Command::Balloon { target_mib: memory_mib }, &[]).await? {
            Answer::Memory { .. } => Ok(()),
            other => Err(unasked(&other)),
        }
    }

    /// Puts a card on `taps` into a free place, as the container's interface `number`. Returns what the guest's kernel calls
    /// the device. One caller at a time.
    ///
    /// # Errors
    /// When there is no place, or the VM refuses or does not answer.
    pub async fn plug(&self, number: u8, card: NetworkCard, taps: &[OwnedFd]) -> io::Result<String> {
        let free = self.places.borrow().iter().position(Option::is_none);
        let free = free.ok_or_else(|| io::Error::other(NO_PLACE))?;
        let taps: Vec<_> = taps.iter().map(AsFd::as_fd).collect();
        // There are no more places than devices.
        let device = self.network(&Command::AttachNetwork { slot: free as u8, card }, &taps).await?;
        self.places.borrow_mut()[free] = Some(Plugged { number, device: device.clone() });
        Ok(device)
    }

    /// What the guest's kernel calls the device of the container's interface `number`.
    pub fn device(&self, number: u8) -> Option<String> {
        let places = self.places.borrow();
        let plugged = places.iter().flatten().find(|plugged| plugged.number == number)?;
        Some(plugged.device.clone())
    }

    /// Takes the card of the container's interface `number` away. One caller at a time.
    ///
    /// # Errors
    /// When the VM refuses or does not answer.
    pub async fn unplug(&self, number: u8) -> io::Result<()> {
        let is_it = |place: &Option<Plugged>| place.as_ref().is_some_and(|plugged| plugged.number == number);
        let Some(slot) = self.places.borrow().iter().position(is_it) else { return Ok(()) };
        self.network(&Command::DetachNetwork { slot: slot as u8 }, &[]).await?;
        self.places.borrow_mut()[slot] = None;
        Ok(())
    }

    async fn network(&self, command: &Command, taps: &[BorrowedFd<'_>]) -> io::Result<String> {
        match self.command(command, taps).await? {
            Answer::Network { device } => Ok(device),
            other => Err(unasked(&other)),
        }
    }

    async fn command(&self, command: &Command, along: &[BorrowedFd<'_>]) -> io::Result<Answer> {
        let mut control = self.control.lock().await;
        moat_monitor::descriptors::send(
            control.socket.get_ref().as_fd(),
            &serde_json::to_vec(command)?,
            along,
        )?;
        control.owed += 1;
        let mut buffer = [0; MAX_PACKET];
        let mut length = 0;
        // Those that came too late for who asked come first.
        while control.owed > 0 {
            let receive = |fd: &OwnedFd| moat_monitor::descriptors::receive(fd.as_fd(), &mut buffer);
            let received = timeout(CONTROL_LIMIT, control.socket.async_io(Interest::READABLE, receive)).await;
            length = received.map_err(|_| io::Error::other(NO_ANSWER))??.0;
            control.owed -= 1;
        }
        match serde_json::from_slice(&buffer[..length])? {
            Answer::Refused { message } => Err(io::Error::other(message)),
            answer => Ok(answer),
        }
    }

    /// Waits until the VM's process has ended and tells why. It can be given up at any moment.
    pub async fn ended(&self) -> VmError {
        if let Err(e) = self.exit.readable().await {
            return e.into();
        }
        VmError::Ended(self.reason())
    }

    /// Does `work` unless the VM ends first.
    ///
    /// # Errors
    /// [`VmError::Ended`] when it does.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, VmError> {
        tokio::select! {
            // What arrived before the end counts.
            biased;
            done = work => Ok(done),
            why = self.ended() => Err(why),
        }
    }

    /// Ends the process and reaps it.
    pub fn kill(&self) {
        // A process that is gone is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Writes down what a VM that is gone said.
    fn log_words(&self) {
        let mut words = Vec::new();
        // What cannot be read is lost.
        let _ = self.words.as_ref().map(|mut pipe| pipe.read_to_end(&mut words));
        for line in String::from_utf8_lossy(&words).lines() {
            tracing::warn!("{}", line.escape_debug());
        }
    }

    /// What the VM said of its own end, for the user.
    fn reason(&self) -> String {
        self.log_words();
        let mut text = String::new();
        let limit = MAX_REPORT_LINES * MAX_REPORT_LINE as u64;
        // The process is gone, so the pipe holds all there is and reading ends.
        let _ = (&self.report).take(limit).read_to_string(&mut text);
        let mut reports = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        match reports.rfind(|report| *report != Report::Running) {
            Some(Report::Failed { step, message }) => {
                format!("the virtual machine could not be started ({step}): {message}")
            }
            Some(Report::Stopped { reason }) => match reason {
                StopReason::PowerOff => "the virtual machine powered off".to_owned(),
                StopReason::Reset => "the guest's kernel panicked".to_owned(),
                StopReason::TripleFault => "the guest ended in a triple fault".to_owned(),
                StopReason::LauncherGone => "the virtual machine lost its monitor".to_owned(),
                StopReason::Fault { message } => format!("the virtual machine failed: {message}"),
            },
            Some(Report::Running) | None => match self.child.try_wait() {
                Ok(Some(Exit::Signal(libc::SIGSYS))) => {
                    "the virtual machine made a system call that its jail does not allow".to_owned()
                }
                Ok(Some(Exit::Status(status))) => format!("the virtual machine ended with status {status}"),
                _ => "the virtual machine was killed".to_owned(),
            },
        }
    }
}

/// A pair of sockets for packets; the first is this process's and does not block.
fn packets() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

/// The error about an answer to another question.
fn unasked(answer: &Answer) -> io::Error {
    io::Error::other(format!("the VM answered another question: {answer:?}"))
}

/// How many cards can be added while the VM runs: some, when it has networks at all.
fn spares(network: Option<&Attached>) -> u8 {
    // Neither is more than the devices of a VM.
    network.map_or(0, |attached| SPARE_NETWORKS.min(MAX_NETWORKS - attached.attachment.endpoints.len()) as u8)
}

/// The places for cards of a VM that starts.
fn places(network: Option<&Attached>) -> Vec<Option<Plugged>> {
    let endpoints = network.map(|attached| attached.attachment.endpoints.as_slice()).unwrap_or_default();
    // Devices are in the order of the configuration: disks, then networks.
    let plugged = endpoints.iter().zip(DISKS..).map(|(endpoint, index)| {
        Some(Plugged { number: endpoint.number, device: layout::device_name(index) })
    });
    plugged.chain((0..spares(network)).map(|_| None)).collect()
}

/// The VMM's standard error. A VMM that was taken over cannot write the host's disk full with it; what does not fit is lost.
fn words(launch: &mut Launch) -> io::Result<File> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    launch.stderr(writer);
    Ok(reader.into())
}

fn debug_console_descriptor(wanted: bool, launch: &mut Launch) -> io::Result<Option<Fd>> {
    // With --debug-console the monitor's stderr is the user's.
    wanted.then(|| Ok(launch.add(io::stderr().as_fd().try_clone_to_owned()?))).transpose()
}

#[cfg(test)]
mod tests {
    #[test]
    fn agent_and_vmm_mean_the_same_power_off_port() {
        // Neither crate knows the other; this one knows both.
        assert_eq!(moat_protocol::POWER_OFF_PORT, moat_vmm::layout::POWER_OFF_PORT);
    }

    #[test]
    fn a_vm_has_room_for_as_many_cards_as_a_container_joins_networks() {
        use moat_vmm::config::FIXED_VIRTIO_DEVICES;
        use moat_vmm::layout::MAX_VIRTIO_DEVICES;
        assert_eq!(super::MAX_NETWORKS, MAX_VIRTIO_DEVICES - FIXED_VIRTIO_DEVICES - super::DISKS);
    }
}
