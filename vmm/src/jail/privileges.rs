//! Gives up users, groups and capabilities for good.

use std::io;

use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::error::{JailError, at};

/// `linux/securebits.h`: user 0 has no special capabilities and user changes do not touch them, none are kept over
/// `setuid`, none become ambient; and each of these is locked.
const SECUREBITS: libc::c_ulong = 1 | 2 | 4 | 8 | 0x20 | 0x40 | 0x80;

/// `linux/capability.h`: two words per set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// `linux/keyctl.h`.
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Becomes `uid` and `gid` without anything else.
pub fn give_up(uid: u32, gid: u32) -> Result<(), JailError> {
    // In this order: each step needs what a later one takes away.
    prctl(libc::PR_SET_SECUREBITS, SECUREBITS).map_err(at("lock the securebits"))?;
    drop_bounding_set().map_err(at("drop the bounding set"))?;
    setgroups(&[]).map_err(at("leave all groups"))?;
    let gid = Gid::from_raw(gid);
    setresgid(gid, gid, gid).map_err(at("become the jail's group"))?;
    let uid = Uid::from_raw(uid);
    setresuid(uid, uid, uid).map_err(at("become the jail's user"))?;
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)
        .map_err(at("clear the ambient capabilities"))?;
    clear_capabilities().map_err(at("clear the capabilities"))?;
    prctl::set_no_new_privs().map_err(at("set no_new_privs"))?;
    // Users can trace and dump their own processes.
    prctl::set_dumpable(false).map_err(at("become undumpable"))?;
    join_empty_keyring();
    // `execveat` leaves a number there.
    prctl::set_name(c"moat-vmm").map_err(at("set the process's name"))
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<libc::c_int> {
    // SAFETY: the options used here take numbers, no pointers.
    match unsafe { libc::prctl(option, argument, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // The kernel does not know this one, and no higher ones.
        if prctl(libc::PR_CAPBSET_READ, capability).is_err() {
            break;
        }
        prctl(libc::PR_CAPBSET_DROP, capability)?;
    }
    Ok(())
}

fn clear_capabilities() -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [CapabilityData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: the kernel reads a header and, for this version, two data structures, and writes to the header only when
    // it does not know the version.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the launcher's session keyring for a new, empty one. Some kernels and containers have no keyrings; the
/// filters allow no use of them in any case.
fn join_empty_keyring() {
    // SAFETY: a null pointer asks for a keyring without a name.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
}
