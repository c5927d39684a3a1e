//! A guest without a virtual machine: the agent's own loop in fresh namespaces of this kernel, on a busybox root file
//! system, and a host that talks to it over unix sockets.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use moat_protocol::{
    ArchiveFailure, ArchiveTask, CONTROL_PORT, ContainerSpec, ExecSpec, ExitStatus, GuestMessage,
    HostMessage, PathStat, ProcessId, RequestId, STREAM_PORT, StartFailure, Stream, StreamHello, StreamToken,
    frame,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

pub use crate::guest::Processors;
use crate::guest::{busybox, cgroup_name, start_guest};
use crate::host::Streams;
pub use crate::specs::{also, capabilities, shell, spec, tmpfs};

/// No step of a test takes nearly as long; it is there for those that would never end.
const PATIENCE: Duration = Duration::from_secs(60);

pub const PROCESS: ProcessId = ProcessId(3);

pub const REQUEST: RequestId = RequestId(9);

/// A guest and its host.
pub struct Machine {
    directory: tempfile::TempDir,
    pub control: UnixStream,
    streams: UnixListener,
    guest: Pid,
}

impl Machine {
    /// Boots a guest whose root file system is busybox and what `prepare` adds to it.
    pub fn boot(prepare: impl FnOnce(&Path)) -> Self {
        Self::boot_with(prepare, Processors::All)
    }

    /// As [`Self::boot`]; with one processor the agent runs before everything else, as in a real guest.
    pub fn boot_with(prepare: impl FnOnce(&Path), processors: Processors) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Users in the container must be able to reach the root file system.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = directory.path().join("root");
        busybox(&root);
        prepare(&root);
        for name in ["etc", "cgroup", "upper", "work", "merged"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let listen = |port: u32| {
            let listener = UnixListener::bind(directory.path().join(port.to_string())).unwrap();
            let patience = TimeVal::seconds(PATIENCE.as_secs() as i64);
            setsockopt(&listener.as_fd(), ReceiveTimeout, &patience).unwrap();
            listener
        };
        let (control, streams) = (listen(CONTROL_PORT), listen(STREAM_PORT));
        let guest = start_guest(directory.path(), processors);
        let (control, _) = control.accept().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { directory, control, streams, guest }
    }

    /// The guest, whose network namespace is the container's.
    pub fn pid(&self) -> Pid {
        self.guest
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// The container's control group.
    pub fn cgroup(&self) -> PathBuf {
        let name = cgroup_name(self.directory.path());
        fs::read_dir("/sys/fs/cgroup/unified")
            .map_or("/sys/fs/cgroup".into(), |_| PathBuf::from("/sys/fs/cgroup/unified"))
            .join(name)
    }

    /// A guest that was killed has left it behind, with processes that are about to end.
    fn remove_cgroup(&self) {
        let _ = fs::write(self.cgroup().join("cgroup.kill"), "1");
        for _ in 0..200 {
            match fs::remove_dir(self.cgroup()) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    thread::sleep(Duration::from_millis(5));
                }
                _ => break,
            }
        }
    }

    /// What the container has changed.
    pub fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    pub fn send(&mut self, message: &HostMessage) {
        frame::write(&mut self.control, message).unwrap();
    }

    pub fn receive(&mut self) -> GuestMessage {
        frame::read(&mut self.control).unwrap()
    }

    /// Starts a container and connects its streams.
    pub fn start(&mut self, spec: ContainerSpec) -> Result<Streams, (StartFailure, String)> {
        let (terminal, stdin) = (spec.process.terminal().unwrap_or(false), spec.open_stdin);
        let names = spec.network.dns.is_resolved_by_host();
        let spec = Box::new(spec);
        self.send(&HostMessage::Start { process: PROCESS, token: token_of(PROCESS), spec });
        self.connect(PROCESS, terminal, 1 + usize::from(stdin) + usize::from(names))
    }

    /// Starts one more process and connects its streams.
    pub fn exec(&mut self, process: ProcessId, spec: ExecSpec) -> Result<Streams, (StartFailure, String)> {
        let terminal = spec.process.terminal().unwrap_or(false);
        let count = usize::from(spec.open_output) + usize::from(spec.open_stdin);
        self.send(&HostMessage::Exec { process, token: token_of(process), spec: Box::new(spec) });
        self.connect(process, terminal, count)
    }

    fn connect(
        &mut self,
        process: ProcessId,
        terminal: bool,
        count: usize,
    ) -> Result<Streams, (StartFailure, String)> {
        let mut streams = Streams { process, terminal, ..Streams::default() };
        for _ in 0..count {
            let (stream, connection) = self.accept(&token_of(process));
            let place = match stream {
                Stream::Stdin => &mut streams.stdin,
                Stream::Output => &mut streams.output,
                Stream::Names => &mut streams.names,
                Stream::Archive => panic!("{stream:?} of a process"),
            };
            assert!(place.replace(connection).is_none());
        }
        match self.receive() {
            GuestMessage::Started { process: started } if started == process => Ok(streams),
            GuestMessage::StartFailed { process: failed, failure, message } if failed == process => {
                Err((failure, message))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Takes the next stream connection, which must present `token`.
    pub fn accept(&mut self, token: &StreamToken) -> (Stream, UnixStream) {
        let (mut connection, _) = self.streams.accept().unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let hello: StreamHello = frame::read(&mut connection).unwrap();
        assert_eq!(&hello.token, token);
        (hello.stream, connection)
    }

    /// Runs one more process to its end.
    pub fn run_exec(&mut self, process: ProcessId, spec: ExecSpec) -> Outcome {
        let mut streams = self.exec(process, spec).unwrap_or_else(|failure| panic!("{failure:?}"));
        if let Some(stdin) = &streams.stdin {
            stdin.shutdown(Shutdown::Write).unwrap();
        }
        let (stdout, stderr) = streams.read_all();
        Outcome { status: self.exit_of(process), stdout, stderr }
    }

    /// Waits for the container's end.
    pub fn exit(&mut self) -> ExitStatus {
        self.exit_of(PROCESS)
    }

    /// Waits for a process's end.
    pub fn exit_of(&mut self, wanted: ProcessId) -> ExitStatus {
        match self.receive() {
            GuestMessage::Exited { process, status, oom_killed: false } if process == wanted => status,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a container to its end.
    pub fn run(&mut self, spec: ContainerSpec) -> Outcome {
        let mut streams = self.start(spec).unwrap_or_else(|failure| panic!("{failure:?}"));
        if let Some(stdin) = &streams.stdin {
            stdin.shutdown(Shutdown::Write).unwrap();
        }
        let (stdout, stderr) = streams.read_all();
        Outcome { status: self.exit(), stdout, stderr }
    }

    /// Asks for something to be done with the file system that needs a stream, and takes the stream.
    pub fn begin(&mut self, request: RequestId, task: ArchiveTask) -> UnixStream {
        let token = StreamToken(format!("archive {}", request.0));
        self.send(&HostMessage::Archive { request, token: token.clone(), task });
        let (stream, connection) = self.accept(&token);
        assert_eq!(stream, Stream::Archive);
        connection
    }

    /// Waits for the answer to that.
    pub fn answer(&mut self, wanted: RequestId) -> Result<Option<PathStat>, (ArchiveFailure, String)> {
        match self.receive() {
            GuestMessage::ArchiveDone { request, stat } if request == wanted => Ok(stat),
            GuestMessage::ArchiveFailed { request, failure, message } if request == wanted => {
                Err((failure, message))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Has the file system read.
    pub fn archive(
        &mut self,
        task: ArchiveTask,
    ) -> Result<(Vec<u8>, Option<PathStat>), (ArchiveFailure, String)> {
        let mut stream = self.begin(REQUEST, task);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        self.answer(REQUEST).map(|stat| (bytes, stat))
    }

    pub fn read(&mut self, path: &str) -> Vec<u8> {
        self.archive(ArchiveTask::Read { path: path.to_owned(), follow: false }).unwrap().0
    }

    /// Has an archive unpacked.
    pub fn write(
        &mut self,
        path: &str,
        rules: (bool, bool),
        bytes: &[u8],
    ) -> Result<(), (ArchiveFailure, String)> {
        let (keep_owner, keep_kind) = rules;
        let mut stream =
            self.begin(REQUEST, ArchiveTask::Write { path: path.to_owned(), keep_owner, keep_kind });
        // A guest that has seen enough closes the connection.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        self.answer(REQUEST).map(|_| ())
    }

    /// What has changed: a letter and a path each.
    pub fn changes(&mut self) -> Vec<String> {
        let (bytes, _) = self.archive(ArchiveTask::Changes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    /// Asks the guest to end and waits for it.
    pub fn shut_down(mut self) {
        self.send(&HostMessage::Shutdown);
        self.expect_the_end();
    }

    /// The guest closes the connection by ending.
    pub fn expect_the_end(&mut self) {
        let mut rest = Vec::new();
        // A guest that ends with something unread resets the connection.
        let _ = self.control.read_to_end(&mut rest);
        waitpid(self.guest, None).unwrap();
        self.guest = Pid::from_raw(0);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.guest.as_raw() > 0 {
            let _ = self.control.shutdown(Shutdown::Both);
            let _ = kill(self.guest, Signal::SIGKILL);
            let _ = waitpid(self.guest, None);
        }
        self.remove_cgroup();
    }
}

/// How a container ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Its output, when it ended well.
    pub fn output(self) -> String {
        assert_eq!(self.status, ExitStatus::Code(0), "{self:?}");
        self.stdout
    }
}

/// The secret of a process's streams.
pub fn token_of(process: ProcessId) -> StreamToken {
    StreamToken(format!("token {}", process.0))
}
