//! Boots real kernels with the real `moat-vmm`. This program is both halves of each test: on the host it launches VMs,
//! and as `/init` of their initramfs it does the guest's part, which the kernel's command line names.
//!
//! It needs a KVM that runs guests, a kernel, and to be linked statically:
//! `MOAT_TEST_KERNEL=vmlinux RUSTFLAGS="-C target-feature=+crt-static" cargo test --target x86_64-unknown-linux-gnu
//! --test boot`. Without them each test is reported as ignored.

// A test with a main of its own, which clippy does not take for one.
#![allow(clippy::unwrap_used)]

mod cases;
mod guest;
mod initramfs;
mod interface;
mod net;
mod vm;
mod vsock;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        guest::main();
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let flag = |flag: &str| std::env::args().any(|argument| argument == flag);
    let (listing, exact) = (flag("--list"), flag("--exact"));
    let selected: Vec<_> = cases::CASES
        .iter()
        .chain(vsock::CASES)
        .chain(net::CASES)
        .filter(|(name, _)| {
            filter.as_ref().is_none_or(|filter| if exact { name == filter } else { name.contains(filter) })
        })
        .collect();
    if listing {
        selected.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", selected.len());
    let bench = match bench() {
        Ok(bench) => bench,
        Err(why) => {
            selected.iter().for_each(|(name, _)| println!("test boot::{name} ... ignored, {why}"));
            println!(
                "\ntest result: ok. 0 passed; 0 failed; {} ignored; 0 measured; 0 filtered out",
                selected.len()
            );
            return ExitCode::SUCCESS;
        }
    };
    let started = Instant::now();
    let failed = selected.iter().filter(|(name, case)| !passes(name, *case, &bench)).count();
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s",
        selected.len() - failed,
        started.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passes(name: &str, case: cases::Case, bench: &vm::Bench) -> bool {
    let started = Instant::now();
    let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(bench))).is_ok();
    let verdict = if passed { "ok" } else { "FAILED" };
    println!("test boot::{name} ... {verdict} ({:.1}s)", started.elapsed().as_secs_f64());
    passed
}

/// Why the tests cannot run.
#[derive(Debug, thiserror::Error)]
enum Lacking {
    #[error("MOAT_TEST_KERNEL names no kernel")]
    Kernel,
    #[error(transparent)]
    Program(#[from] std::io::Error),
    #[error("this program is not linked statically")]
    Static,
    #[error(transparent)]
    Kvm(#[from] moat_vmm::probe::ProbeError),
}

/// What the tests need.
fn bench() -> Result<vm::Bench, Lacking> {
    let kernel = std::env::var_os("MOAT_TEST_KERNEL").ok_or(Lacking::Kernel)?;
    let program = std::fs::read(std::env::current_exe()?)?;
    if !initramfs::is_static(&program) {
        return Err(Lacking::Static);
    }
    moat_vmm::probe::probe()?;
    Ok(vm::Bench { kernel: PathBuf::from(kernel), initramfs: initramfs::archive(&program) })
}
