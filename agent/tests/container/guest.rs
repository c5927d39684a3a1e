//! The guest's half of the test machine: a root file system, and the agent's own loop in fresh namespaces.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use moat_agent::dial::Dial;
use moat_agent::place::Place;
use moat_agent::serve::serve;
use moat_agent::sys::process::take_precedence;
use moat_protocol::CONTROL_PORT;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

const APPLETS: [&str; 30] = [
    "sh", "awk", "cat", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls",
    "mkdir", "mount", "ps", "pwd", "readlink", "sed", "sleep", "sort", "stat", "stty", "touch", "true",
    "tty", "wc", "yes", "ip", "seq",
];

/// Held while a program is being written and while a guest is forked: a fork in between would hold the program open
/// for writing, and it could not be executed.
static FORKS: Mutex<()> = Mutex::new(());

/// What a guest runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Processors {
    One,
    All,
}

struct UnixDialer(PathBuf);

impl Dial for UnixDialer {
    fn dial(&self, port: u32) -> io::Result<OwnedFd> {
        Ok(UnixStream::connect(self.0.join(port.to_string()))?.into())
    }
}

pub fn busybox(root: &Path) {
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

/// A name of a control group that is this test's alone, like its directory's.
pub fn cgroup_name(directory: &Path) -> String {
    format!("moat-agent-test-{}", directory.file_name().unwrap_or_default().to_string_lossy())
}

/// Forks the guest: namespaces of its own, the agent as their PID 1.
pub fn start_guest(directory: &Path, processors: Processors) -> Pid {
    let _no_writing = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the C library makes its own state usable after a fork; the child takes no lock of another thread, for
    // it does not print, and it never returns.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // The sockets of other tests must not live on here, or their ends would never be seen.
            // SAFETY: nothing in this process uses a descriptor of its parent.
            unsafe { nix::libc::close_range(3, nix::libc::c_uint::MAX, 0) };
            let code = be_machine(directory, processors).map_or(1, |()| 0);
            // SAFETY: as above; the parent's destructors must not run here.
            unsafe { nix::libc::_exit(code) }
        }
    }
}

fn be_machine(directory: &Path, processors: Processors) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET)?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => waitpid(child, None).map(drop),
        ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if processors == Processors::One {
                let mut first = CpuSet::new();
                first.set(0)?;
                sched_setaffinity(Pid::from_raw(0), &first)?;
                take_precedence()?;
            }
            be_guest(directory)?;
            // SAFETY: as above.
            unsafe { nix::libc::_exit(0) }
        }
    }
}

fn be_guest(directory: &Path) -> nix::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)?;
    // By relative paths, so that none of this machine's shows in the container.
    nix::unistd::chdir(directory)?;
    let options =
        "lowerdir=root,upperdir=upper,workdir=work,xino=off,metacopy=off,redirect_dir=off,index=off";
    mount(Some("overlay"), "merged", Some("overlay"), MsFlags::empty(), Some(options))?;
    nix::unistd::chdir("/")?;
    let cgroups = directory.join("cgroup");
    mount(Some("cgroup2"), &cgroups, Some("cgroup2"), MsFlags::empty(), none)?;
    let dialer = UnixDialer(directory.to_owned());
    let control = dialer.dial(CONTROL_PORT).map_err(|_| nix::Error::ECONNREFUSED)?;
    let place = Place {
        root: directory.join("merged"),
        image: directory.join("root"),
        upper: directory.join("upper"),
        etc: directory.join("etc"),
        devices: "/dev".into(),
        cgroup: cgroups.join(cgroup_name(directory)),
    };
    serve(control, &dialer, &place);
    Ok(())
}
