//! Launches `moat-vmm` as the product does, and talks with it.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use moat_vmm::config::{
    BalloonConfig, DeviceConfig, DiskConfig, DiskLimits, Fd, JailConfig, MemoryConfig, NetworkConfig,
    NetworkPlace, RngConfig, SegmentConfig, VmConfig, VsockConfig,
};
use moat_vmm::control::{Answer, Command, MAX_PACKET};
use moat_vmm::launch::{Child, Exit, Launch};
use moat_vmm::report::{Report, StopReason};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};

/// No VM here needs a tenth of this, even in software; it only has to end a test that hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// What all tests share.
pub struct Bench {
    /// A `vmlinux`.
    pub kernel: PathBuf,
    /// The archive with this program in it.
    pub initramfs: Vec<u8>,
}

/// A VM to launch.
pub struct Plan<'a> {
    bench: &'a Bench,
    config: VmConfig,
    launch: Launch,
    spare_networks: usize,
}

/// A launched VM.
pub struct Vm {
    /// The process; killed when a test fails.
    child: Child,
    reports: mpsc::Receiver<Report>,
    console: mpsc::Receiver<String>,
    /// Dropping it stops the VM.
    pub launcher: Option<OwnedFd>,
    control: OwnedFd,
}

fn packets() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

/// A temporary file with these contents.
pub fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

impl Bench {
    /// A VM with 128 MiB, one CPU and a console whose guest does `task`.
    pub fn plan(&self, task: &str) -> Plan<'_> {
        let unset = Fd(-1);
        let config = VmConfig {
            id: task.to_owned(),
            vcpus: 1,
            memory_mib: 128,
            memory: MemoryConfig::default(),
            kernel: unset,
            initramfs: unset,
            command_line: format!("moat.task={task}"),
            devices: Vec::new(),
            report: unset,
            control: None,
            debug_console: None,
            jail: JailConfig { uid: 65_000, gid: 65_000 },
        };
        let mut plan = Plan { bench: self, config, launch: Launch::new(), spare_networks: 0 };
        plan.config.kernel = plan.inherit(File::open(&self.kernel).unwrap());
        plan.config.initramfs = plan.inherit(file(&self.initramfs));
        plan
    }
}

impl Plan<'_> {
    /// Makes a descriptor one that the VMM gets.
    pub fn inherit(&mut self, fd: impl Into<OwnedFd>) -> Fd {
        self.launch.add(fd.into())
    }

    /// Changes the configuration.
    pub fn with(mut self, change: impl FnOnce(&mut VmConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Another kernel.
    pub fn kernel(mut self, kernel: File) -> Self {
        self.config.kernel = self.inherit(kernel);
        self
    }

    /// A read-only disk of whole files.
    pub fn read_only(mut self, files: &[&[u8]]) -> Self {
        let segments = files
            .iter()
            .map(|bytes| SegmentConfig {
                file: self.inherit(file(bytes)),
                offset: 0,
                length: bytes.len() as u64,
            })
            .collect();
        self.config.devices.push(DiskConfig::ReadOnly { segments, limits: DiskLimits::default() }.into());
        self
    }

    /// A writable disk.
    pub fn read_write(mut self, file: &File) -> Self {
        let file = self.inherit(file.try_clone().unwrap());
        self.config.devices.push(DiskConfig::ReadWrite { file, limits: DiskLimits::default() }.into());
        self
    }

    /// A network card.
    pub fn card(mut self, card: NetworkConfig) -> Self {
        self.config.devices.push(NetworkPlace::Card(card).into());
        self
    }

    /// Places for cards that come later.
    pub fn spare_networks(mut self, count: usize) -> Self {
        self.spare_networks = count;
        self
    }

    /// Starts the VM. With a console its lines can be read.
    pub fn launch(mut self, console: bool) -> Vm {
        let (report, report_writer) = nix::unistd::pipe().unwrap();
        self.config.report = self.inherit(report_writer);
        let (lines, console_lines) = mpsc::channel();
        if console {
            let (reader, writer) = nix::unistd::pipe().unwrap();
            self.config.debug_console = Some(self.inherit(writer));
            std::thread::spawn(move || {
                for line in BufReader::new(File::from(reader)).lines().map_while(Result::ok) {
                    let _ = lines.send(line.trim_end().to_owned());
                }
            });
        }
        let (ours, dial) = packets();
        let dial = self.inherit(dial);
        self.config.devices.extend([
            VsockConfig { guest_cid: 3, dial }.into(),
            RngConfig {}.into(),
            BalloonConfig {}.into(),
        ]);
        // Behind all others, so that places for cards change no device's number.
        let spare = DeviceConfig::Network(NetworkPlace::Spare {});
        self.config.devices.resize(self.config.devices.len() + self.spare_networks, spare);
        let (control, commands) = packets();
        self.config.control = Some(self.inherit(commands));
        let child = self.launch.start(Path::new(env!("CARGO_BIN_EXE_moat-vmm")), &self.config).unwrap();
        let (reported, reports) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(File::from(report)).lines().map_while(Result::ok) {
                let _ = reported.send(serde_json::from_str(&line).unwrap());
            }
        });
        let _ = self.bench;
        Vm { child, reports, console: console_lines, launcher: Some(ours), control }
    }

    /// Runs the VM to its end.
    pub fn run(self) -> Ended {
        self.launch(true).end()
    }
}

/// How a VM ended.
pub struct Ended {
    /// All reports, in order.
    pub reports: Vec<Report>,
    /// What the guest wrote to its console.
    pub console: Vec<String>,
    /// How the process ended.
    pub exit: Exit,
}

impl Vm {
    /// The process of `moat-vmm` itself.
    pub fn process(&self) -> i32 {
        self.child.pid()
    }

    /// What it answers to a command.
    pub fn command(&self, command: Command) -> Answer {
        self.command_with(command, &[])
    }

    /// As [`Vm::command`], with descriptors that come along.
    pub fn command_with(&self, command: Command, files: &[OwnedFd]) -> Answer {
        let control = self.control.as_raw_fd();
        let raw: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let along = if raw.is_empty() { &[][..] } else { &rights };
        let packet = serde_json::to_vec(&command).unwrap();
        sendmsg::<()>(control, &[IoSlice::new(&packet)], along, MsgFlags::empty(), None).unwrap();
        let mut answer = [0; MAX_PACKET];
        let length = recv(control, &mut answer, MsgFlags::empty()).unwrap();
        serde_json::from_slice(&answer[..length]).unwrap()
    }

    /// The next report.
    pub fn report(&self) -> Report {
        self.reports.recv_timeout(PATIENCE).expect("a report from moat-vmm")
    }

    /// Waits for a line on the console.
    pub fn line(&self, wanted: &str) -> String {
        loop {
            let line =
                self.console.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {wanted:?}"));
            println!("    guest: {line}");
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Waits for the end.
    pub fn end(self) -> Ended {
        let mut reports = Vec::new();
        loop {
            let report = match self.reports.recv_timeout(PATIENCE) {
                Ok(report) => report,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.child.kill().unwrap();
                    let console: Vec<_> = self.console.iter().collect();
                    panic!("the VM does not stop; its console: {console:#?}");
                }
            };
            reports.push(report);
        }
        let exit = self.child.wait().unwrap();
        Ended { reports, console: self.console.iter().collect(), exit }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

impl Ended {
    /// Checks that the VM ran and why it stopped, and that the guest found nothing wrong.
    pub fn expect(self, reason: StopReason) -> Self {
        for line in &self.console {
            println!("    guest: {line}");
        }
        assert_eq!(self.reports, [Report::Running, Report::Stopped { reason }]);
        assert_eq!(self.exit, Exit::Status(0));
        self
    }

    /// Checks that the guest wrote a line.
    pub fn said(&self, wanted: &str) {
        assert!(self.console.iter().any(|line| line == wanted), "no line {wanted:?} in {:#?}", self.console);
    }

    /// Checks that the VM never ran; returns why.
    pub fn failed(self, wanted_step: &str) -> String {
        assert_eq!(self.exit, Exit::Status(2));
        match self.reports.as_slice() {
            [Report::Failed { step, message }] if step == wanted_step => message.clone(),
            other => panic!("{other:?}"),
        }
    }
}

/// All of a file.
pub fn contents(file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = file.try_clone().unwrap();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Resident memory of a process in KiB that is not the guest's, from its mappings: (guest, rest).
pub fn resident(process: i32, memory_mib: u32) -> (u64, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
    let (mut guest, mut rest, mut is_guest) = (0, 0, false);
    for line in maps.lines() {
        if let Some(value) = line.strip_prefix("Rss:") {
            let kib: u64 = value.trim().trim_end_matches(" kB").parse().unwrap();
            *if is_guest { &mut guest } else { &mut rest } += kib;
        } else if let Some((start, end)) = line.split(' ').next().and_then(|range| range.split_once('-'))
            && let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16))
        {
            is_guest = end - start == u64::from(memory_mib) << 20;
        }
    }
    (guest, rest)
}
