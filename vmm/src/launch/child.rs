//! The new process between its birth and its exec. It is a copy of one thread of a process that may have more. Another
//! thread may hold a lock, the allocator's for one, so the code here makes system calls and does not allocate.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What the child has to do.
pub struct Plan {
    /// Descriptors and the numbers they get; each source lies at or above `end`.
    pub moves: Vec<(RawFd, RawFd)>,
    /// Nothing from here on survives the exec.
    pub end: RawFd,
    /// The program.
    pub binary: RawFd,
    /// Where to say what failed.
    pub failure: RawFd,
    /// Whether to set [`crate::jail::seccomp::LOG_VARIABLE`]; the environment has nothing else.
    pub log: bool,
}

/// A failure's step and errno, four bytes each.
pub const FAILURE_SIZE: usize = 8;

/// Signals are numbered from 1 to this.
const LAST_SIGNAL: c_int = 64;

/// The kernel's `struct sigaction` on x86-64: handler, flags, restorer, mask. All zeros are the default.
const KERNEL_SIGACTION_WORDS: usize = 4;

/// `linux/sched.h`; libc's constant is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[derive(Clone, Copy)]
enum Step {
    Session,
    Descriptors,
    Exec,
}

/// What the parent reads from the pipe.
pub fn decode_failure(bytes: [u8; FAILURE_SIZE]) -> (&'static str, io::Error) {
    let [s0, s1, s2, s3, errno @ ..] = bytes;
    let step = match u32::from_ne_bytes([s0, s1, s2, s3]) {
        step if step == Step::Session as u32 => "make a session of its own",
        step if step == Step::Descriptors as u32 => "hand the descriptors over",
        _ => "execute it",
    };
    (step, io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
}

/// Makes the process, in a PID namespace of its own and in `cgroup`. Returns its id and its pidfd.
pub fn spawn(plan: &Plan, cgroup: Option<BorrowedFd<'_>>) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let mut flags = (libc::CLONE_NEWPID | libc::CLONE_PIDFD) as u64;
    // SAFETY: all zeros are valid for this structure of numbers.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    if let Some(cgroup) = cgroup {
        flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    arguments.flags = flags;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of this memory and goes on with a copy of this stack, as after a
    // fork; `pidfd` outlives the call. The child only calls `become_vmm`, which keeps to what is allowed there.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => become_vmm(plan),
        // SAFETY: the kernel stored a new descriptor there, which nothing else owns.
        pid => Ok((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Sends a signal by pidfd.
pub fn signal(pidfd: RawFd, signal: i32) -> io::Result<()> {
    // SAFETY: no information to pass on, so a null pointer.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, ptr::null::<u8>(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn become_vmm(plan: &Plan) -> ! {
    let step = run(plan);
    // SAFETY: reads this thread's errno, writes from a local array of the given length, and ends the process without
    // running anything that the parent registered.
    unsafe {
        let errno = *libc::__errno_location();
        let mut message = [0; FAILURE_SIZE];
        message[..4].copy_from_slice(&(step as u32).to_ne_bytes());
        message[4..].copy_from_slice(&errno.to_ne_bytes());
        libc::write(plan.failure, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// Returns only with the step that failed; `errno` says why.
fn run(plan: &Plan) -> Step {
    const CONFIG: &CStr = c"3";
    let arguments: [*const c_char; 4] =
        [c"moat-vmm".as_ptr(), c"--config".as_ptr(), CONFIG.as_ptr(), ptr::null()];
    let log: *const c_char = c"MOAT_VMM_SECCOMP_LOG=1".as_ptr();
    let environment: [*const c_char; 2] = [if plan.log { log } else { ptr::null() }, ptr::null()];
    // SAFETY: every pointer is to a constant or a local that lives until the exec, strings and arrays are terminated,
    // and all of these calls are allowed between fork and exec.
    unsafe {
        // Not by glibc's function: it leaves out signals that it uses itself, which can be inherited as ignored, too.
        let default = [0_u64; KERNEL_SIGACTION_WORDS];
        for signal in 1..=LAST_SIGNAL {
            // The two that cannot be changed need no change.
            let size = size_of::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null::<u64>(), size);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        if libc::setsid() == -1 {
            return Step::Session;
        }
        for (from, to) in &plan.moves {
            if libc::dup3(*from, *to, 0) == -1 {
                return Step::Descriptors;
            }
        }
        // The exec closes them: the program and the pipe are needed until then.
        let end = plan.end as c_uint;
        if libc::syscall(libc::SYS_close_range, end, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
            return Step::Descriptors;
        }
        libc::syscall(
            libc::SYS_execveat,
            plan.binary,
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Step::Exec
}
