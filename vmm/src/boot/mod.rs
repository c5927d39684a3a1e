//! Everything that has to lie in the guest's memory and registers before its first instruction: the Linux boot
//! protocol's 64-bit entry (Linux `Documentation/arch/x86/boot.rst`, "64-bit boot protocol").

pub mod cmdline;
pub mod cpuid;
pub mod kernel;
pub mod mptable;
pub mod params;
pub mod registers;
