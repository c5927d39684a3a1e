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

/// An argument is `value` where `mask` has ones. Of an `int` the kernel looks at the lower 32 bits only, and of a pointer at
/// all 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Argument {
    /// From 0.
    pub index: u8,
    /// Which bits count.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
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

/// The argument is an `int` and has this value.
pub const fn is(index: u8, value: i32) -> Argument {
    is_but_for(index, value, 0)
}

/// The argument is an `int` and has this value but for bits of `free`.
pub const fn is_but_for(index: u8, value: i32, free: i32) -> Argument {
    let mask = !(free as u32);
    Argument { index, mask: mask as u64, value: (value as u32 & mask) as u64 }
}

/// The argument is a pointer, and null.
pub const fn null(index: u8) -> Argument {
    Argument { index, mask: u64::MAX, value: 0 }
}

/// The argument does not have `flag`.
pub const fn without(index: u8, flag: i32) -> Argument {
    Argument { index, mask: flag as u32 as u64, value: 0 }
}

/// The argument has `flag`.
pub const fn with(index: u8, flag: i32) -> Argument {
    Argument { index, mask: flag as u32 as u64, value: flag as u32 as u64 }
}
