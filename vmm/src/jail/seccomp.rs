//! The seccomp filters. They are compiled once, before any thread is restricted; each thread puts on its own.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::table;
use crate::syscalls::Allowed;
use crate::thread::ThreadKind;

/// With this variable in the environment a debug build lets calls that are not allowed pass, and the kernel's log says
/// which they were. A release build does not look at it.
pub const LOG_VARIABLE: &str = "MOAT_VMM_SECCOMP_LOG";

static PROGRAMS: OnceLock<Vec<(ThreadKind, BpfProgram)>> = OnceLock::new();

/// Compiles all filters. Only the first call counts.
///
/// # Errors
/// When a list asks for what a filter cannot do.
pub fn compile() -> Result<(), BackendError> {
    let log = cfg!(debug_assertions) && std::env::var_os(LOG_VARIABLE).is_some();
    let otherwise = if log { SeccompAction::Log } else { SeccompAction::KillProcess };
    let programs = table::kinds()
        .map(|kind| Ok((kind, program(kind, otherwise.clone())?)))
        .collect::<Result<_, BackendError>>()?;
    let _ = PROGRAMS.set(programs);
    Ok(())
}

/// Puts the filter of `kind` on the calling thread: a [`crate::thread::Filter`].
///
/// # Errors
/// When the filters were not compiled, or the kernel refuses.
pub fn apply(kind: ThreadKind) -> io::Result<()> {
    let programs = PROGRAMS.get().map(Vec::as_slice).unwrap_or_default();
    let program = programs.iter().find(|(of, _)| *of == kind);
    let (_, program) = program.ok_or_else(|| io::Error::other("the seccomp filters are not compiled"))?;
    seccompiler::apply_filter(program).map_err(io::Error::other)
}

fn program(kind: ThreadKind, otherwise: SeccompAction) -> Result<BpfProgram, BackendError> {
    let mut rules = BTreeMap::<i64, Vec<SeccompRule>>::new();
    for allowed in table::of(kind) {
        // A call without rules is allowed as it is.
        let of_call = rules.entry(allowed.call).or_default();
        if !allowed.arguments.is_empty() {
            of_call.push(rule(allowed)?);
        }
    }
    SeccompFilter::new(rules, otherwise, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

fn rule(allowed: &Allowed) -> Result<SeccompRule, BackendError> {
    let conditions = allowed.arguments.iter().map(|argument| {
        let operator = SeccompCmpOp::MaskedEq(argument.mask);
        SeccompCondition::new(argument.index, SeccompCmpArgLen::Qword, operator, argument.value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What no thread may ever do: these undo the rest of the jail.
    const NEVER: &[libc::c_long] = &[
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_keyctl,
        libc::SYS_prctl,
        libc::SYS_memfd_create,
        libc::SYS_kill,
    ];

    #[test]
    fn every_table_compiles() {
        for kind in table::kinds() {
            program(kind, SeccompAction::KillProcess).unwrap();
        }
        compile().unwrap();
        assert_eq!(PROGRAMS.get().unwrap().len(), table::kinds().count());
    }

    #[test]
    fn a_call_is_free_or_checked_and_has_a_reason() {
        for kind in table::kinds() {
            let mut free = BTreeSet::new();
            let mut checked = BTreeSet::new();
            for allowed in table::of(kind) {
                assert!(!allowed.why.is_empty());
                let set = if allowed.arguments.is_empty() { &mut free } else { &mut checked };
                let new = set.insert(allowed.call);
                assert!(new || !allowed.arguments.is_empty(), "{} lists {} twice", kind.name(), allowed.call);
            }
            // The free entry would win and the check mean nothing.
            assert!(free.is_disjoint(&checked), "{}", kind.name());
        }
    }

    #[test]
    fn nothing_that_undoes_the_jail_is_in_any_table() {
        for kind in table::kinds() {
            for allowed in table::of(kind) {
                assert!(!NEVER.contains(&allowed.call), "{} may call {}", kind.name(), allowed.call);
            }
        }
    }

    /// Whether a process whose thread is of this kind lives on after a call.
    fn survives(kind: ThreadKind, call: libc::c_long, arguments: [u64; 6]) -> bool {
        compile().unwrap();
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: the child makes these calls and ends; it takes no lock that another thread could have had. The calls get
        // descriptor -1 or addresses that hold nothing, so all that the kernel lets pass fails.
        let child = unsafe {
            let child = libc::fork();
            if child == 0 {
                if apply(kind).is_ok() {
                    libc::syscall(call, a, b, c, d, e, f);
                }
                libc::syscall(libc::SYS_exit, 0);
            }
            child
        };
        let mut status = 0;
        // SAFETY: `status` is a live integer.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        libc::WIFEXITED(status)
    }

    const NO_FILE: u64 = u64::MAX;

    fn worker(device: &str) -> ThreadKind {
        table::kinds().find(|kind| kind.name() == device).unwrap()
    }

    #[test]
    fn a_pointer_is_compared_whole() {
        for (kind, flags) in [(ThreadKind::Main, libc::MSG_DONTWAIT), (worker("vsock"), 0)] {
            let flags = (flags | libc::MSG_NOSIGNAL) as u64;
            let send = |address| survives(kind, libc::SYS_sendto, [NO_FILE, 0, 0, flags, address, 0]);
            assert!(send(0));
            for address in [1, 1 << 32, 1 << 63] {
                assert!(!send(address), "{}: {address:x}", kind.name());
            }
        }
    }

    #[test]
    fn a_futex_is_waited_for_and_woken() {
        let all = [libc::FUTEX_PRIVATE_FLAG, libc::FUTEX_CLOCK_REALTIME, 0];
        let call =
            |operation: i32| survives(ThreadKind::Vcpu, libc::SYS_futex, [0, operation as u64, 0, 0, 0, 0]);
        for operation in [libc::FUTEX_WAIT, libc::FUTEX_WAKE, libc::FUTEX_WAIT_BITSET] {
            assert!(all.iter().all(|flag| call(operation | flag)), "{operation}");
        }
        for operation in [
            libc::FUTEX_REQUEUE,
            libc::FUTEX_CMP_REQUEUE,
            libc::FUTEX_WAKE_OP,
            libc::FUTEX_LOCK_PI,
            libc::FUTEX_UNLOCK_PI,
            libc::FUTEX_WAIT_REQUEUE_PI,
            libc::FUTEX_CMP_REQUEUE_PI,
            1 << 30,
        ] {
            assert!(!call(operation) && !call(operation | libc::FUTEX_PRIVATE_FLAG), "{operation}");
        }
    }

    #[test]
    fn no_file_gets_blocks_behind_its_end() {
        let call =
            |mode: i32| survives(worker("block"), libc::SYS_fallocate, [NO_FILE, mode as u64, 0, 4096, 0, 0]);
        assert!(call(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE));
        // Without KEEP_SIZE the limit on the length of files holds (RLIMIT_FSIZE).
        assert!(call(libc::FALLOC_FL_ZERO_RANGE));
        for mode in [0, libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE] {
            assert!(!call(mode), "{mode}");
        }
    }

    #[test]
    fn ioctls_are_few_and_named() {
        for kind in table::kinds() {
            let calls = table::of(kind).into_iter();
            let ioctls = calls.filter(|allowed| allowed.call == libc::SYS_ioctl);
            let most = match kind.name() {
                "vcpu" | "main" => 1,
                "net" => 3,
                _ => 0,
            };
            assert_eq!(ioctls.inspect(|allowed| assert_eq!(allowed.arguments[0].index, 1)).count(), most);
        }
    }
}
