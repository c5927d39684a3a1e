//! System calls that neither std nor nix wraps, as safe functions. Together with [`crate::power`] this is all the
//! unsafe code of the agent.

pub mod mount;
pub mod namespace;
pub mod poll;
pub mod process;
pub mod socket;
pub mod terminal;
pub mod xattr;

use nix::errno::Errno;

/// Turns the result of a raw system call into an errno or a value.
fn check(result: libc::c_long) -> nix::Result<libc::c_long> {
    Errno::result(result)
}
