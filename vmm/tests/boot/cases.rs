//! The host's half of each test.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use moat_vmm::config::MemoryConfig;
use moat_vmm::control::{Answer, Command};
use moat_vmm::launch::Exit;
use moat_vmm::layout::CMDLINE_START;
use moat_vmm::report::{Report, StopReason};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::guest::pattern;
use crate::vm::{Bench, Vm, contents, file, resident};

/// The host's half.
pub type Case = fn(&Bench);

/// All of them.
pub const CASES: &[(&str, Case)] = &[
    ("says_hello_and_powers_off", hello),
    ("several_cpus_start", several_cpus),
    ("high_memory_is_used", high_memory),
    ("boots_with_few_exits", few_exits),
    ("reads_and_writes_disks", disks),
    ("sixteen_disks_have_an_interrupt_each", many_disks),
    ("has_entropy", random),
    ("gives_free_memory_back_and_is_small", free_memory),
    ("the_balloon_takes_memory_and_gives_it_back", balloon),
    ("a_frozen_vm_goes_on", frozen),
    ("memory_can_be_a_file", memory_file),
    ("ports_without_a_device_do_nothing", ports),
    ("a_panic_is_a_reset", panic),
    ("a_reboot_is_a_reset", reboot),
    ("a_triple_fault_is_one", triple_fault),
    ("stops_when_the_launcher_goes", launcher_gone),
    ("damaged_kernels_are_refused", damaged_kernels),
    ("too_little_memory_is_refused", too_little_memory),
    ("impossible_disks_are_refused", impossible_disks),
];

fn hello(bench: &Bench) {
    let ended = bench.plan("hello").run().expect(StopReason::PowerOff);
    ended.said("cpus 0");
    ended.said("clock kvm-clock");
    // What finding the other one costs, see `machine`.
    ended.said("interrupts by the IOAPIC alone");
    ended.said("slept");
}

fn several_cpus(bench: &Bench) {
    for cpus in [2, 5] {
        let plan = bench.plan("hello").with(|config| config.vcpus = cpus);
        plan.run().expect(StopReason::PowerOff).said(&format!("cpus 0-{}", cpus - 1));
    }
}

fn high_memory(bench: &Bench) {
    let plan = bench.plan("hello").with(|config| config.memory_mib = 3584);
    plan.run().expect(StopReason::PowerOff).said("slept");
}

/// The devices of a container, no console: from the first instruction to power-off. Each exit costs what thousands of
/// instructions cost, on any machine.
fn few_exits(bench: &Bench) {
    const MOST: usize = 70;
    let disk = file(&[0; 1 << 20]);
    let tracing = Tracing::start();
    let plan = bench.plan("off").read_only(&[&[1; 4096]]).read_write(&disk);
    plan.launch(false).end().expect(StopReason::PowerOff);
    let exits = tracing.exits();
    println!("    {} exits to user space: {exits:#?}", exits.values().sum::<usize>());
    assert!((1..=MOST).contains(&exits.values().sum()));
}

/// The kernel's own count of exits.
struct Tracing;

const TRACING: &str = "/sys/kernel/tracing";
const EVENT: &str = "events/kvm/kvm_userspace_exit/enable";

impl Tracing {
    fn start() -> Self {
        let _ = nix::mount::mount(
            None::<&str>,
            TRACING,
            Some("tracefs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        );
        std::fs::write(format!("{TRACING}/trace"), "").unwrap();
        std::fs::write(format!("{TRACING}/tracing_on"), "1").unwrap();
        std::fs::write(format!("{TRACING}/{EVENT}"), "1").unwrap();
        Self
    }

    /// How many there were of virtual CPUs since the start, by reason.
    fn exits(self) -> BTreeMap<String, usize> {
        std::fs::write(format!("{TRACING}/{EVENT}"), "0").unwrap();
        let mut exits = BTreeMap::new();
        let trace = std::fs::read_to_string(format!("{TRACING}/trace")).unwrap();
        for line in trace.lines().filter(|line| line.trim_start().starts_with("vcpu")) {
            let reason = line.split("reason ").nth(1).unwrap_or(line);
            *exits.entry(reason.to_owned()).or_default() += 1;
        }
        exits
    }
}

fn disks(bench: &Bench) {
    let disk = file(&[]);
    disk.set_len(8 << 20).unwrap();
    let ended = bench
        .plan("disks")
        .read_only(&[&[0x11; 1100], &[0x22; 2036]])
        .read_write(&disk)
        .run()
        .expect(StopReason::PowerOff);
    ended.said("serial disk1");
    ended.said("disks are right");
    let bytes = contents(&disk);
    assert_eq!(bytes.len(), 8 << 20);
    for (sector, content) in bytes.chunks(512).enumerate() {
        let zeroed = matches!(sector / 2048, 1 | 3);
        let expected = if zeroed { 0 } else { pattern(sector as u64) };
        assert!(content.iter().all(|byte| *byte == expected), "sector {sector}");
    }
    // What was discarded takes no room any more.
    assert!(disk.metadata().unwrap().blocks() * 512 <= 7 << 20);
}

fn many_disks(bench: &Bench) {
    let mut plan = bench.plan("many-disks");
    for letter in b'a'..=b'p' {
        plan = plan.read_only(&[&[letter; 4096]]);
    }
    plan.run().expect(StopReason::PowerOff).said("all disks are there");
}

fn random(bench: &Bench) {
    bench.plan("random").run().expect(StopReason::PowerOff).said("random");
}

fn free_memory(bench: &Bench) {
    let mut vm = bench.plan("memory").launch(true);
    assert_eq!(vm.report(), Report::Running);
    vm.line("touched");
    let (touched, _) = resident(vm.process(), 128);
    assert!(touched > 64 << 10, "{touched} KiB");
    vm.line("idle");
    let deadline = Instant::now() + Duration::from_secs(120);
    let (guest, rest) = loop {
        let now = resident(vm.process(), 128);
        if now.0 < touched - (48 << 10) {
            break now;
        }
        assert!(Instant::now() < deadline, "the guest keeps {} of {touched} KiB", now.0);
        std::thread::sleep(Duration::from_millis(500));
    };
    println!(
        "    {touched} KiB of guest memory when used, {guest} KiB when idle; {rest} KiB of moat-vmm's own"
    );
    drop(vm.launcher.take());
    let ended = vm.end();
    assert_eq!(ended.reports, [Report::Stopped { reason: StopReason::LauncherGone }]);
}

/// The guest fills its memory with a cached disk, which only the balloon can make it give up.
fn balloon(bench: &Bench) {
    const DISK: usize = 64 << 20;
    let vm = bench.plan("balloon").read_only(&[&vec![1; DISK]]).launch(true);
    vm.line("cached");
    let waiting = crate::vsock::dialled(&vm, 1);
    let available = |below: bool, limit: u64| {
        loop {
            let kib = vm.line("available ").split(' ').nth(1).unwrap().parse::<u64>().unwrap();
            if (kib < limit << 10) == below {
                return kib;
            }
        }
    };
    let before = available(false, 80);
    let (full, _) = resident(vm.process(), 128);
    assert!(full > 72 << 10, "{full} KiB");
    let refused = vm.command(Command::Balloon { target_mib: 129 });
    assert!(matches!(refused, Answer::Refused { .. }), "{refused:?}");
    let answer = vm.command(Command::Balloon { target_mib: 48 });
    assert!(matches!(answer, Answer::Memory { total_mib: 128, target_mib: 48, .. }), "{answer:?}");
    reaches(&vm, 48);
    let less = available(true, 40);
    let (small, _) = resident(vm.process(), 128);
    assert!(small <= 50 << 10, "{small} KiB");
    println!("    from {before} KiB available and {full} KiB resident to {less} KiB and {small} KiB");
    vm.command(Command::Balloon { target_mib: 128 });
    reaches(&vm, 128);
    available(false, 80);
    // Taken once more, and then needed by a process, which gets it.
    vm.command(Command::Balloon { target_mib: 48 });
    reaches(&vm, 48);
    drop(waiting);
    vm.end().expect(StopReason::PowerOff).said("got all of it");
}

fn reaches(vm: &Vm, mib: u32) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = vm.command(Command::Memory {});
        if matches!(answer, Answer::Memory { actual_mib, .. } if actual_mib == mib) {
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?} does not become {mib}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// How long [`frozen`] stops the process: what no guest here takes for one turn of a loop.
pub const FREEZE: Duration = Duration::from_secs(5);

/// Stopped as the cgroup's freezer stops it: all of its threads at once, and none of them knows.
fn frozen(bench: &Bench) {
    let vm = bench.plan("clocks").launch(true);
    vm.line("ticking");
    let process = Pid::from_raw(vm.process());
    kill(process, Signal::SIGSTOP).unwrap();
    std::thread::sleep(FREEZE);
    kill(process, Signal::SIGCONT).unwrap();
    assert!(matches!(vm.command(Command::Memory {}), Answer::Memory { actual_mib: 128, .. }));
    let ended = vm.end().expect(StopReason::PowerOff);
    ended.said("time went on");
    let complaint = ended.console.iter().find(|line| line.contains("stall") || line.contains("lockup"));
    assert_eq!(complaint, None);
}

/// What is written to guest memory goes into the file if it is shared, and leaves it as it is otherwise.
fn memory_file(bench: &Bench) {
    for shared in [false, true] {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory = File::from(memfd_create(c"guest", flags).unwrap());
        memory.set_len(128 << 20).unwrap();
        fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        let mut plan = bench.plan("hello");
        let file = plan.inherit(memory.try_clone().unwrap());
        let plan = plan.with(|config| config.memory = MemoryConfig::File { file, shared });
        plan.run().expect(StopReason::PowerOff).said("slept");
        let mut start = [0; 6];
        memory.read_exact_at(&mut start, CMDLINE_START).unwrap();
        let expected = if shared { b"reboot" } else { &[0; 6] };
        assert_eq!(&start, expected, "the kernel's command line, in the file");
    }
    let mut plan = bench.plan("off");
    let file = plan.inherit(file(&[0; 512]));
    let plan = plan.with(|config| config.memory = MemoryConfig::File { file, shared: false });
    let message = plan.run().failed("memory");
    assert!(message.contains("F_SEAL_SHRINK"), "{message}");
}

fn ports(bench: &Bench) {
    bench.plan("ports").run().expect(StopReason::PowerOff).said("ports");
}

fn panic(bench: &Bench) {
    bench.plan("panic").run().expect(StopReason::Reset);
}

fn reboot(bench: &Bench) {
    bench.plan("reboot").run().expect(StopReason::Reset);
}

fn triple_fault(bench: &Bench) {
    let plan = bench.plan("reboot").with(|config| config.command_line.push_str(" reboot=t"));
    plan.run().expect(StopReason::TripleFault);
}

fn launcher_gone(bench: &Bench) {
    let mut vm = bench.plan("idle").with(|config| config.vcpus = 2).launch(true);
    assert_eq!(vm.report(), Report::Running);
    vm.line("idle");
    drop(vm.launcher.take());
    let ended = vm.end();
    assert_eq!(ended.reports, [Report::Stopped { reason: StopReason::LauncherGone }]);
    assert_eq!(ended.exit, Exit::Status(0));
}

fn damaged_kernels(bench: &Bench) {
    let kernel = std::fs::read(&bench.kernel).unwrap();
    let with = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut kernel = kernel.clone();
        damage(&mut kernel);
        bench.plan("off").kernel(file(&kernel)).run().failed("kernel")
    };
    assert!(with(&|kernel| kernel.clear()).contains("not a usable x86-64 ELF vmlinux"));
    assert!(with(&|kernel| kernel[0] = 0).contains("magic"));
    assert!(with(&|kernel| kernel.truncate(100_000)).contains("not a usable x86-64 ELF vmlinux"));
    assert!(
        with(&|kernel| kernel[24..32].copy_from_slice(&(1u64 << 40).to_le_bytes())).contains("entry point")
    );
    // Looks like a kernel, but executes as nothing: it ends, and says how.
    let mut nonsense = file(&kernel);
    for offset in (4096..kernel.len() as u64).step_by(4096) {
        nonsense.seek(std::io::SeekFrom::Start(offset)).unwrap();
        nonsense.write_all(&[0xff; 2048]).unwrap();
    }
    let ended = bench.plan("off").kernel(nonsense).launch(true).end();
    assert!(
        matches!(ended.reports.last(), Some(Report::Stopped { .. } | Report::Failed { .. })),
        "{:?}",
        ended.reports
    );
}

fn too_little_memory(bench: &Bench) {
    let message = bench.plan("off").with(|config| config.memory_mib = 31).run().failed("config");
    assert_eq!(message, "memory_mib is 31, but must be from 32 to 1048576");
    let archive = file(&vec![0; 64 << 20]);
    let mut plan = bench.plan("off");
    let initramfs = plan.inherit(archive);
    let message = plan
        .with(|config| {
            config.memory_mib = 64;
            config.initramfs = initramfs;
        })
        .run()
        .failed("kernel");
    assert!(message.contains("give the VM more memory"), "{message}");
}

fn impossible_disks(bench: &Bench) {
    let message = bench.plan("off").read_only(&[b"x", b""]).run().failed("device");
    assert_eq!(message, "disk 0: segment 1 is empty");
    let message = bench.plan("off").read_only(&[]).run().failed("device");
    assert_eq!(message, "disk 0: a disk needs at least one segment");
    let message = bench.plan("off").read_write(&file(&[0; 700])).run().failed("device");
    assert!(message.starts_with("disk 0: the file has 700 bytes"), "{message}");
    let closed: File = file(b"");
    let message = bench.plan("off").with(|config| config.kernel = config.initramfs).run().failed("config");
    assert!(message.ends_with("is already used for something else"), "{message}");
    drop(closed);
}
