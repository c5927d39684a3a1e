//! How a system call that a thread may make is written down. The lists themselves lie beside the code that makes the
//! calls: [`crate::jail::table`] has those of every thread, each device's `syscalls.rs` has those of its worker.

use libc::c_long;

/// A call that is allowed when all of `arguments` hold. A call may be listed more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Allowed {
    /// Its number.
    pub call: c_long,
    /// What its arguments have to be.
    pub arguments: &'static [Argument],
    /// What it is needed for.
    pub why: &'static str,
}

/// The lower 32 bits of an argument are `value` where `mask` has ones. The kernel looks at no other bits in the arguments
/// that are checked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Argument {
    /// From 0.
    pub index: u8,
    /// Which bits count.
    pub mask: u32,
    /// What they have to be.
    pub value: u32,
}

/// What one kind of device asks of the kernel while the VM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Syscalls {
    /// The name of the device's folder.
    pub device: &'static str,
    /// The calls of its worker, beyond those that every worker makes.
    pub worker: &'static [&'static [Allowed]],
    /// The calls that the main thread makes for it, beyond its own.
    pub main: &'static [Allowed],
    /// The most descriptors that its worker opens and keeps.
    pub descriptors: u64,
}

/// The call with any arguments.
pub const fn any(call: c_long, why: &'static str) -> Allowed {
    Allowed { call, arguments: &[], why }
}

/// The call with these arguments.
pub const fn only(call: c_long, arguments: &'static [Argument], why: &'static str) -> Allowed {
    Allowed { call, arguments, why }
}

/// The argument is `value`.
pub const fn is(index: u8, value: i32) -> Argument {
    Argument { index, mask: u32::MAX, value: value as u32 }
}

/// The argument does not have `flag`.
pub const fn without(index: u8, flag: i32) -> Argument {
    Argument { index, mask: flag as u32, value: 0 }
}

/// The argument has `flag`.
pub const fn with(index: u8, flag: i32) -> Argument {
    Argument { index, mask: flag as u32, value: flag as u32 }
}
