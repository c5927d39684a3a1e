//! A guest without a virtual machine: the agent's own loop in fresh namespaces of this kernel, on a busybox root file
//! system, and a host that talks to it over unix sockets.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use moat_agent::dial::Dial;
use moat_agent::serve::{Place, serve};
use moat_protocol::{
    CONTROL_PORT, ContainerSpec, ExitStatus, GuestMessage, HostMessage, HostsEntry, ProcessId, STREAM_PORT,
    StartFailure, Stream, StreamHello, StreamToken, defaults, frame,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use oci_spec::runtime::{
    LinuxCapabilities, LinuxCapabilitiesBuilder, Mount, MountBuilder, Process, ProcessBuilder, UserBuilder,
};

/// No step of a test takes nearly as long; it is there for those that would never end.
const PATIENCE: Duration = Duration::from_secs(60);

pub const PROCESS: ProcessId = ProcessId(3);

const APPLETS: [&str; 30] = [
    "sh", "awk", "cat", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls",
    "mkdir", "mount", "ps", "pwd", "readlink", "sed", "sleep", "sort", "stat", "stty", "touch", "true",
    "tty", "wc", "yes", "ip", "seq",
];

/// Held while a program is being written and while a guest is forked: a fork in between would hold the program open
/// for writing, and it could not be executed.
static FORKS: Mutex<()> = Mutex::new(());

/// Whether the tests that need root can run. Without root they fail unless they are told not to.
pub fn has_root() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("MOAT_TEST_WITHOUT_ROOT").is_some(),
        "this test sets a container up and needs root; MOAT_TEST_WITHOUT_ROOT=1 leaves it out"
    );
    eprintln!("not run: it needs root");
    false
}

struct UnixDialer(PathBuf);

impl Dial for UnixDialer {
    fn dial(&self, port: u32) -> io::Result<OwnedFd> {
        Ok(UnixStream::connect(self.0.join(port.to_string()))?.into())
    }
}

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
        let directory = tempfile::tempdir().unwrap();
        // Users in the container must be able to reach the root file system.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = directory.path().join("root");
        busybox(&root);
        prepare(&root);
        for name in ["etc", "cgroup"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let listen = |port: u32| {
            let listener = UnixListener::bind(directory.path().join(port.to_string())).unwrap();
            let patience = TimeVal::seconds(PATIENCE.as_secs() as i64);
            setsockopt(&listener.as_fd(), ReceiveTimeout, &patience).unwrap();
            listener
        };
        let (control, streams) = (listen(CONTROL_PORT), listen(STREAM_PORT));
        let guest = start_guest(directory.path());
        let (control, _) = control.accept().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { directory, control, streams, guest }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub fn send(&mut self, message: &HostMessage) {
        frame::write(&mut self.control, message).unwrap();
    }

    pub fn receive(&mut self) -> GuestMessage {
        frame::read(&mut self.control).unwrap()
    }

    /// Starts a container and connects its streams.
    pub fn start(&mut self, spec: ContainerSpec) -> Result<Streams, (StartFailure, String)> {
        let token = StreamToken("token".to_owned());
        let terminal = spec.process.terminal().unwrap_or(false);
        let count = 1 + usize::from(!terminal) + usize::from(spec.open_stdin);
        self.send(&HostMessage::Start { process: PROCESS, token: token.clone(), spec: Box::new(spec) });
        let mut streams = Streams::default();
        for _ in 0..count {
            let (mut connection, _) = self.streams.accept().unwrap();
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            let hello: StreamHello = frame::read(&mut connection).unwrap();
            assert_eq!((hello.process, &hello.token), (PROCESS, &token));
            let place = match hello.stream {
                Stream::Stdin => &mut streams.stdin,
                Stream::Stdout => &mut streams.stdout,
                Stream::Stderr => &mut streams.stderr,
            };
            assert!(place.replace(connection).is_none());
        }
        match self.receive() {
            GuestMessage::Started { process: PROCESS } => Ok(streams),
            GuestMessage::StartFailed { process: PROCESS, failure, message } => Err((failure, message)),
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the container's end.
    pub fn exit(&mut self) -> ExitStatus {
        match self.receive() {
            GuestMessage::Exited { process: PROCESS, status, oom_killed: false } => status,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a container to its end.
    pub fn run(&mut self, spec: ContainerSpec) -> Outcome {
        let mut streams = self.start(spec).unwrap_or_else(|failure| panic!("{failure:?}"));
        if let Some(stdin) = &streams.stdin {
            stdin.shutdown(Shutdown::Write).unwrap();
        }
        let stdout = drain(&mut streams.stdout);
        let stderr = drain(&mut streams.stderr);
        Outcome { status: self.exit(), stdout, stderr }
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
    }
}

/// The host's ends of a process's streams.
#[derive(Default)]
pub struct Streams {
    pub stdin: Option<UnixStream>,
    pub stdout: Option<UnixStream>,
    pub stderr: Option<UnixStream>,
}

impl Streams {
    pub fn type_in(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Reads output until `text` appears in it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            match self.stdout.as_mut().unwrap().read(&mut buffer) {
                Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                end => panic!("{end:?} before {text:?} in {:?}", String::from_utf8_lossy(&seen)),
            }
            let so_far = String::from_utf8_lossy(&seen);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
        }
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

fn drain(stream: &mut Option<UnixStream>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.read_to_end(&mut bytes).unwrap();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn busybox(root: &Path) {
    for directory in ["", "bin", "etc", "tmp"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    let _no_forks = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("these tests need /bin/busybox (Debian: apt-get install busybox-static)");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1001:\nvideo:x:44:app\n").unwrap();
}

/// Forks the guest: namespaces of its own, the agent as their PID 1.
fn start_guest(directory: &Path) -> Pid {
    let _no_writing = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the C library makes its own state usable after a fork; the child takes no lock of another thread, for
    // it does not print, and it never returns.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // The sockets of other tests must not live on here, or their ends would never be seen.
            // SAFETY: nothing in this process uses a descriptor of its parent.
            unsafe { nix::libc::close_range(3, nix::libc::c_uint::MAX, 0) };
            let code = be_machine(directory).map_or(1, |()| 0);
            // SAFETY: as above; the parent's destructors must not run here.
            unsafe { nix::libc::_exit(code) }
        }
    }
}

fn be_machine(directory: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET)?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => waitpid(child, None).map(drop),
        ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            be_guest(directory)?;
            // SAFETY: as above.
            unsafe { nix::libc::_exit(0) }
        }
    }
}

fn be_guest(directory: &Path) -> nix::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)?;
    let root = directory.join("root");
    mount(Some(&root), &root, none, MsFlags::MS_BIND, none)?;
    let cgroups = directory.join("cgroup");
    mount(Some("cgroup2"), &cgroups, Some("cgroup2"), MsFlags::empty(), none)?;
    let name = format!(
        "moat-agent-test-{}-{}",
        directory.file_name().unwrap_or_default().to_string_lossy(),
        NUMBER.fetch_add(1, Ordering::Relaxed) + process::id()
    );
    let dialer = UnixDialer(directory.to_owned());
    let control = dialer.dial(CONTROL_PORT).map_err(|_| nix::Error::ECONNREFUSED)?;
    serve(control, &dialer, &Place { root, etc: directory.join("etc"), cgroup: cgroups.join(name) });
    Ok(())
}

/// A container like Docker's, running `command` in a shell.
pub fn shell(command: &str) -> ContainerSpec {
    spec(&["sh", "-c", command])
}

/// A container like Docker's.
pub fn spec(args: &[&str]) -> ContainerSpec {
    ContainerSpec {
        hostname: "box".to_owned(),
        user: String::new(),
        process: process_of(args),
        mounts: defaults::mounts(1 << 20),
        read_only_root: false,
        masked_paths: defaults::MASKED_PATHS.map(str::to_owned).to_vec(),
        read_only_paths: defaults::READ_ONLY_PATHS.map(str::to_owned).to_vec(),
        hosts: vec![HostsEntry { address: "127.0.0.1".to_owned(), names: vec!["localhost".to_owned()] }],
        open_stdin: false,
    }
}

fn process_of(args: &[&str]) -> Process {
    let mut process = ProcessBuilder::default()
        .args(args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
        .env(["PATH=/sbin:/bin".to_owned()])
        .cwd("/")
        .terminal(false)
        .user(UserBuilder::default().build().unwrap())
        .capabilities(capabilities())
        .no_new_privileges(false)
        .build()
        .unwrap();
    process.set_rlimits(None);
    process
}

pub fn capabilities() -> LinuxCapabilities {
    LinuxCapabilitiesBuilder::default()
        .bounding(defaults::capabilities())
        .effective(defaults::capabilities())
        .permitted(defaults::capabilities())
        .inheritable([])
        .ambient([])
        .build()
        .unwrap()
}

pub fn tmpfs(destination: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .destination(destination)
        .typ("tmpfs")
        .source("tmpfs")
        .options(options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
        .build()
        .unwrap()
}
