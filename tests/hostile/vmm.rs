//! A `moat-vmm` without a machine in it: it speaks to the monitor as a guest would whose kernel and agent are the
//! attacker's, and misbehaves as its kernel file says.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use moat_protocol::frame::{self, HEADER_SIZE};
use moat_protocol::output::{self, Source};
use moat_protocol::{
    ArchiveTask, CONTROL_PORT, ExitStatus, GuestMessage, HostMessage, PathStat, ProcessId, ProcessInfo,
    RequestId, STREAM_PORT, Stats, Stream, StreamHello, StreamToken,
};
use moat_vmm::config::{DeviceConfig, Fd, VmConfig};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

const MAIN: ProcessId = ProcessId(0);

struct Guest {
    dial: OwnedFd,
    control: UnixStream,
    mode: String,
}

/// Takes over a descriptor that this process was started with.
fn take(fd: Fd) -> OwnedFd {
    // SAFETY: the launcher made these descriptors for this process, which names each of them once.
    unsafe { OwnedFd::from_raw_fd(fd.0 as RawFd) }
}

fn dial(socket: &OwnedFd, port: u32) -> std::io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let bytes = port.to_le_bytes();
    let fds = [theirs.as_raw_fd()];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&bytes)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(ours)
}

/// The whole life of the fake.
pub fn main() {
    let mut config = File::from(take(Fd(3)));
    let mut text = String::new();
    config.read_to_string(&mut text).expect("a configuration");
    let config: VmConfig = serde_json::from_str(&text).expect("JSON");
    let mut mode = String::new();
    File::from(take(config.kernel)).read_to_string(&mut mode).expect("a mode");
    let their_dial = config.devices.iter().find_map(|device| match device {
        DeviceConfig::Vsock(vsock) => Some(vsock.dial),
        _ => None,
    });
    let dial_socket = take(their_dial.expect("a vsock device"));
    let first_port = if mode.trim() == "wrong-port" { 22 } else { CONTROL_PORT };
    let control = dial(&dial_socket, first_port).expect("dialed");
    let mut guest = Guest { dial: dial_socket, control, mode: mode.trim().to_owned() };
    // The monitor may end the connection at any point, which is no failure of this guest.
    let _ = guest.run();
}

impl Guest {
    fn send(&mut self, message: &GuestMessage) -> anyhow::Result<()> {
        Ok(frame::write(&mut self.control, message)?)
    }

    fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.control.write_all(bytes)?)
    }

    fn stream(&self, stream: Stream, token: &StreamToken) -> anyhow::Result<UnixStream> {
        let mut connection = dial(&self.dial, STREAM_PORT)?;
        frame::write(&mut connection, &StreamHello { stream, token: token.clone() })?;
        Ok(connection)
    }

    fn run(&mut self) -> anyhow::Result<()> {
        match self.mode.as_str() {
            "oversized" => {
                let mut header = frame::encode(&GuestMessage::Hello)?[..HEADER_SIZE].to_vec();
                header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
                self.raw(&header)?;
                return self.endless();
            }
            "garbage" => return self.endless(),
            "truncated" => {
                let hello = frame::encode(&GuestMessage::Hello)?;
                self.raw(&hello[..hello.len() - 2])?;
                self.control.shutdown(Shutdown::Both)?;
                return self.sleep();
            }
            "started-first" => {
                self.send(&GuestMessage::Started { process: MAIN })?;
                return self.sleep();
            }
            "wrong-port" => return self.sleep(),
            _ => self.send(&GuestMessage::Hello)?,
        }
        match self.mode.as_str() {
            "hello-twice" => self.send(&GuestMessage::Hello)?,
            "exited-before-started" => {
                self.send(&GuestMessage::Exited {
                    process: MAIN,
                    status: ExitStatus::Code(0),
                    oom_killed: false,
                })?;
            }
            "unasked" => self.send(&GuestMessage::ArchiveDone { request: RequestId(7), stat: None })?,
            "dial-flood" => {
                let kept: Vec<_> = (0..20_000).map_while(|_| dial(&self.dial, STREAM_PORT).ok()).collect();
                drop(kept);
            }
            _ => {}
        }
        loop {
            let message: HostMessage = frame::read(&mut self.control)?;
            self.answer(message)?;
        }
    }

    /// Bytes without an end and without a meaning.
    fn endless(&mut self) -> anyhow::Result<()> {
        loop {
            self.raw(&[0xa5; 65536])?;
        }
    }

    fn sleep(&self) -> anyhow::Result<()> {
        loop {
            std::thread::sleep(Duration::from_secs(1000));
        }
    }

    fn answer(&mut self, message: HostMessage) -> anyhow::Result<()> {
        match message {
            HostMessage::Start { spec, token, .. } => {
                self.start(&token, spec.network.dns.is_resolved_by_host())
            }
            HostMessage::Archive { request, token, task } => self.archive(request, &token, &task),
            HostMessage::Stats { request } => {
                let huge = u64::MAX;
                let stats =
                    Stats { cpu_usec: huge, memory: huge, memory_limit: 0, pids: huge, ..Stats::default() };
                self.send(&GuestMessage::Stats { request, stats })
            }
            HostMessage::Processes { request } => {
                let process = ProcessInfo {
                    pid: u32::MAX,
                    ppid: u32::MAX,
                    uid: u32::MAX,
                    gid: 0,
                    state: '\u{1b}',
                    tty: "\u{1b}[31m\n".repeat(10),
                    nice: i32::MIN,
                    threads: 0,
                    cpu_msec: u64::MAX,
                    started: i64::MAX,
                    rss_kib: u64::MAX,
                    vsz_kib: u64::MAX,
                    name: "x".repeat(1000),
                    command: "\u{1b}]0;owned\u{7}\r\n".repeat(20),
                };
                self.send(&GuestMessage::Processes { request, processes: vec![process; 2000] })
            }
            HostMessage::Signal { .. } if self.mode == "deaf" => Ok(()),
            HostMessage::Signal { .. } => self.send(&GuestMessage::Exited {
                process: MAIN,
                status: ExitStatus::Signal(255),
                oom_killed: true,
            }),
            HostMessage::Shutdown if self.mode == "deaf" => Ok(()),
            HostMessage::Shutdown => std::process::exit(0),
            _ => Ok(()),
        }
    }

    fn start(&mut self, token: &StreamToken, names: bool) -> anyhow::Result<()> {
        if self.mode == "wrong-token" {
            let wrong = StreamToken("00".repeat(16));
            let _guess = self.stream(Stream::Output, &wrong)?;
            let _archive = self.stream(Stream::Archive, token)?;
        }
        let names = names.then(|| self.stream(Stream::Names, token)).transpose()?;
        let mut output = self.stream(Stream::Output, token)?;
        if self.mode == "stdout-twice" {
            let _second = self.stream(Stream::Output, token)?;
        }
        self.send(&GuestMessage::Started { process: MAIN })?;
        match self.mode.as_str() {
            "flood" => {
                let header = output::header(Source::Stdout, output::MAX_OUTPUT);
                let bytes = [b'x'; output::MAX_OUTPUT];
                // More than the log may ever hold.
                for _ in 0..1600 {
                    output.write_all(&header)?;
                    output.write_all(&bytes)?;
                }
            }
            "bad-names" => {
                let mut names = names.as_ref().ok_or_else(|| anyhow::anyhow!("no connection for names"))?;
                // No query at all, until the monitor does not listen any more.
                while names.write_all(&[0xff; 4096]).is_ok() {}
            }
            "bad-output" => output.write_all(&[9, 9, 9, 9, 255, 255, 255, 255, 1, 2, 3])?,
            "half-output" => {
                output.write_all(&output::header(Source::Stderr, 1000))?;
                output.write_all(b"half")?;
            }
            "lies" => {
                // It says that the process has ended and never closes its output.
                self.send(&GuestMessage::Exited {
                    process: MAIN,
                    status: ExitStatus::Code(0),
                    oom_killed: false,
                })?;
                std::mem::forget(output);
                return Ok(());
            }
            // It does not hang up, and lets nothing in: as a guest that is ending looks for a moment.
            "turned-away" => {
                self.control.shutdown(Shutdown::Read)?;
                self.sleep()?;
            }
            mode if mode.starts_with("archive") || matches!(mode, "deaf" | "numbers") => {
                std::mem::forget(output);
                return Ok(());
            }
            _ => {}
        }
        drop(output);
        self.send(&GuestMessage::Exited { process: MAIN, status: ExitStatus::Code(3), oom_killed: false })
    }

    fn archive(&mut self, request: RequestId, token: &StreamToken, task: &ArchiveTask) -> anyhow::Result<()> {
        let stat = PathStat {
            name: "../../escaped".to_owned(),
            mode: 0o40755,
            size: u64::MAX,
            mtime: i64::MIN,
            link_target: "/etc/passwd\u{1b}[0m".to_owned(),
        };
        if matches!(task, ArchiveTask::Stat { .. }) {
            let is_file = self.mode.starts_with("archive-file");
            let stat =
                PathStat { mode: if is_file { 0o100_644 } else { 0o40755 }, name: "x".to_owned(), ..stat };
            return self.send(&GuestMessage::ArchiveDone { request, stat: Some(stat) });
        }
        let mut stream = self.stream(Stream::Archive, token)?;
        let bytes =
            super::tars::hostile(self.mode.trim_start_matches("archive-").trim_start_matches("file-"));
        match bytes {
            Some(bytes) => stream.write_all(&bytes)?,
            // No end, and no meaning either.
            None => while stream.write_all(&[0x41; 65536]).is_ok() {},
        }
        drop(stream);
        self.send(&GuestMessage::ArchiveDone { request, stat: Some(stat) })
    }
}
