//! What the program does when it is started as a VMM.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use moat_vmm::config::{Fd, VmConfig};
use moat_vmm::jail::{self, seccomp, table};
use moat_vmm::thread::{self, ThreadKind};

/// The kinds by the names that the tests use: `main`, `vcpu`, and the name of each device.
pub fn kinds() -> Vec<(&'static str, ThreadKind)> {
    table::kinds().map(|kind| (kind.name(), kind)).collect()
}

fn kind_of(name: &str) -> ThreadKind {
    table::kinds().find(|kind| kind.name() == name).unwrap()
}

fn take(fd: Fd) -> OwnedFd {
    // SAFETY: the launcher made this descriptor for the probe, which takes each one once.
    unsafe { OwnedFd::from_raw_fd(fd.0) }
}

/// Not a socket's own type, which writes with send(2): a VMM's reports go to a file.
struct Talk(File);

impl Talk {
    fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn wait(&mut self) {
        self.0.read_exact(&mut [0]).unwrap();
    }
}

pub fn main() -> ExitCode {
    // As moat-vmm does: a second heap would look into /proc.
    // SAFETY: there are no threads yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    let mut text = String::new();
    File::from(take(Fd(3))).read_to_string(&mut text).unwrap();
    let config: VmConfig = serde_json::from_str(&text).unwrap();
    let mut talk = Talk(take(config.report).into());
    let words: Vec<&str> = config.id.split(' ').collect();
    match words.as_slice() {
        ["surroundings"] => surroundings(&mut talk, &config),
        ["wait"] => {
            talk.say("waiting");
            talk.wait();
        }
        ["close"] => close(&mut talk, &config),
        ["threads"] => threads(&mut talk, &config),
        ["jail"] => jailed(&mut talk, &config),
        ["live", kind] => live(&mut talk, &config, kind),
        ["do", kind, what] => do_forbidden(&mut talk, &config, kind, what),
        other => panic!("{other:?}"),
    }
    ExitCode::SUCCESS
}

fn open_descriptors() -> Vec<i32> {
    let mut numbers: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    // The last number read is the directory's own, the lowest that was free; it is closed by now.
    numbers.retain(|number| nix::fcntl::fcntl(borrow(*number), nix::fcntl::FcntlArg::F_GETFD).is_ok());
    numbers
}

fn borrow(number: i32) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: used for one call that is meant to fail when the number is not open.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }
}

fn surroundings(talk: &mut Talk, config: &VmConfig) {
    let mut kernel = String::new();
    File::from(take(config.kernel)).read_to_string(&mut kernel).unwrap();
    talk.say(&format!("kernel {kernel}"));
    talk.say(&format!("pid {}", std::process::id()));
    talk.say(&format!("environment {:?}", std::env::vars_os().collect::<Vec<_>>()));
    talk.say(&format!("descriptors {:?}", open_descriptors()));
    for number in 0..3 {
        talk.say(&format!(
            "{number} {}",
            std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap().display()
        ));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines().filter(|line| line.starts_with("Sig") && !line.starts_with("SigQ")) {
        talk.say(&line.replace('\t', " "));
    }
    let session = nix::unistd::getsid(None).unwrap();
    talk.say(&format!("session {session}"));
    talk.say(&format!("cgroup {}", std::fs::read_to_string("/proc/self/cgroup").unwrap().trim()));
}

fn close(talk: &mut Talk, config: &VmConfig) {
    let mut leaked = [0; 2];
    // SAFETY: the array has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(leaked.as_mut_ptr()) }, 0);
    talk.say(&format!("{:?}", open_descriptors()));
    jail::descriptors::close_others(&[config.report.0, config.kernel.0]).unwrap();
    talk.say(&format!("{:?}", open_descriptors()));
}

fn threads(talk: &mut Talk, config: &VmConfig) {
    let other = std::thread::spawn(|| std::thread::sleep(Duration::from_secs(600)));
    talk.say(&jail::enter(&config.jail, 0).unwrap_err().to_string());
    assert!(!other.is_finished());
}

fn enter(config: &VmConfig) {
    jail::enter(&config.jail, 0).unwrap();
    thread::install_filter(seccomp::apply);
}

fn jailed(talk: &mut Talk, config: &VmConfig) {
    use nix::errno::Errno;
    use nix::unistd::{Uid, setresuid};
    enter(config);
    let refused = |result: nix::Result<()>| result.unwrap_err().to_string();
    let io = |result: std::io::Result<()>| result.unwrap_err().to_string();
    let root = Uid::from_raw(0);
    talk.say(&format!("open {}", io(File::open("/etc/passwd").map(drop))));
    talk.say(&format!("create {}", io(File::create("/file").map(drop))));
    talk.say(&format!("above {}", io(File::open("../../../etc/passwd").map(drop))));
    talk.say(&format!("list {}", io(std::fs::read_dir("/").map(drop))));
    talk.say(&format!("setuid {}", refused(setresuid(root, root, root))));
    let flags = nix::sched::CloneFlags::CLONE_NEWNS;
    talk.say(&format!("unshare {}", refused(nix::sched::unshare(flags))));
    let none = None::<&str>;
    let mount = nix::mount::mount(none, "/", Some("proc"), nix::mount::MsFlags::empty(), none);
    talk.say(&format!("mount {}", refused(mount)));
    // SAFETY: no pointers; the process may or may not exist.
    let kill = Errno::result(unsafe { libc::kill(2, 0) }).map(drop);
    talk.say(&format!("kill {}", refused(kill)));
    // SAFETY: an empty mask to read into would be needed for a success only.
    let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
    talk.say(&format!("dumpable {dumpable}"));
    talk.say(&format!("host {}", nix::unistd::gethostname().unwrap().display()));
    talk.say(&format!("net {}", std::net::TcpStream::connect("127.0.0.1:1").unwrap_err()));
    let worker = thread::spawn(ThreadKind::Vcpu, "vcpu0", || {
        loop {
            std::thread::park();
        }
    });
    thread::filter_current(ThreadKind::Main).unwrap();
    talk.say("jailed");
    talk.wait();
    drop(worker);
}

/// What any thread may meet: large and small allocations, locks, clocks, channels, a panic, and its own end.
fn everyday() {
    let mut bytes = vec![1u8; 64 << 10];
    bytes.resize(8 << 20, 2);
    bytes.truncate(100);
    bytes.shrink_to_fit();
    let small: Vec<Box<[u8]>> = (0..2000).map(|size| vec![0; size].into()).collect();
    drop(small);
    let lock = Arc::new(Mutex::new(0));
    assert!(
        catch_unwind(|| {
            let _guard = lock.lock().unwrap();
            panic!("a panic in the jail");
        })
        .is_err()
    );
    assert!(lock.is_poisoned());
    assert!(Instant::now().elapsed() < Duration::from_secs(3600));
    eprintln!("a line in the jail");
}

fn live(talk: &mut Talk, config: &VmConfig, kind: &str) {
    let kind = kind_of(kind);
    enter(config);
    let (outbox, inbox) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let outbox = outbox.clone();
            thread::spawn(kind, "probe", move || {
                everyday();
                outbox.send(()).unwrap();
            })
            .unwrap()
        })
        .collect();
    thread::filter_current(ThreadKind::Main).unwrap();
    for _ in &threads {
        inbox.recv().unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    everyday();
    talk.say("lived");
}

fn do_forbidden(talk: &mut Talk, config: &VmConfig, kind: &str, what: &str) {
    let kind = kind_of(kind);
    let what = what.to_owned();
    enter(config);
    talk.say("trying");
    if kind == ThreadKind::Main {
        thread::filter_current(kind).unwrap();
        forbidden(&what);
    } else {
        thread::spawn(kind, "probe", move || forbidden(&what)).unwrap().join().unwrap();
    }
    talk.say("survived");
}

/// Does `what`, which no filter allows; the kernel decides before it looks at most of the arguments.
fn forbidden(what: &str) {
    let nowhere = std::ptr::null::<u8>();
    // SAFETY: none of these gets past the filter; if one did, it would fail or change nothing that is used afterwards.
    unsafe {
        match what {
            "open" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, c"/".as_ptr(), 0),
            "exec" => libc::syscall(libc::SYS_execve, c"/".as_ptr(), nowhere, nowhere),
            "socket" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            "clone" => libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0),
            "kill" => libc::syscall(libc::SYS_kill, 1, 0),
            "tgkill" => libc::syscall(libc::SYS_tgkill, 2, 2, 0),
            "receive" => libc::syscall(libc::SYS_recvmsg, 0, nowhere, 0),
            "send" => libc::syscall(libc::SYS_sendto, 0, nowhere, 0, libc::MSG_DONTWAIT, c"x".as_ptr(), 0),
            "prctl" => libc::syscall(libc::SYS_prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0),
            "seccomp" => libc::syscall(libc::SYS_seccomp, 0, 0, 0),
            "ioctl" => libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSTI, nowhere),
            "make-tap" => libc::syscall(libc::SYS_ioctl, 0, libc::TUNSETIFF, nowhere),
            "timer" => libc::syscall(libc::SYS_timerfd_create, libc::CLOCK_REALTIME, 0),
            "memfd" => libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), 0),
            "executable-memory" => mapping(libc::PROT_READ | libc::PROT_EXEC, libc::MAP_ANONYMOUS),
            "file-memory" => mapping(libc::PROT_READ, 0),
            "make-executable" => {
                libc::syscall(libc::SYS_mprotect, nowhere, 0, libc::PROT_READ | libc::PROT_EXEC)
            }
            "advise" => libc::syscall(libc::SYS_madvise, nowhere, 0, libc::MADV_DOFORK),
            "pair" => libc::syscall(libc::SYS_socketpair, libc::AF_UNIX, libc::SOCK_DGRAM, 0, nowhere),
            "dup" => libc::syscall(libc::SYS_fcntl, 0, libc::F_SETFL, 0),
            "truncate" => libc::syscall(libc::SYS_fallocate, 0, 0, 0, 0),
            // The other way into the kernel that a 64-bit process has.
            "x32" => libc::syscall(0x4000_0000 | libc::SYS_getpid),
            other => panic!("{other}"),
        };
    }
}

/// # Safety
/// The mapping must not come about, or not matter.
unsafe fn mapping(protection: i32, flags: i32) -> libc::c_long {
    // SAFETY: passed on; the kernel chooses the place.
    unsafe { libc::syscall(libc::SYS_mmap, 0, 4096, protection, libc::MAP_PRIVATE | flags, -1, 0) }
}
