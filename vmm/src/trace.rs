//! Counts exits to user space by kind and address, in debug builds only: each costs more than most other things.

use std::collections::BTreeMap;
use std::sync::Mutex;

use kvm_ioctls::VcpuExit;

static EXITS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Counts one exit.
pub fn exit(exit: &VcpuExit<'_>) {
    let key = match exit {
        VcpuExit::IoIn(port, _) => format!("in {port:#x}"),
        VcpuExit::IoOut(port, _) => format!("out {port:#x}"),
        VcpuExit::MmioRead(address, _) => format!("read {address:#x}"),
        VcpuExit::MmioWrite(address, _) => format!("write {address:#x}"),
        _ => "other".to_owned(),
    };
    *EXITS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(key).or_default() += 1;
}

/// Writes the counts to standard error.
pub fn print() {
    let exits = EXITS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    crate::log::host(format_args!("{} exits to user space", exits.values().sum::<u64>()));
    for (key, count) in exits.iter() {
        crate::log::host(format_args!("{count:6} {key}"));
    }
}
