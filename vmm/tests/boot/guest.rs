//! The guest's half: this program as PID 1.

use std::arch::asm;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use moat_vmm::layout::POWER_OFF_PORT;

/// What the disks of the tests hold: a byte for each sector, and never 0.
pub fn pattern(sector: u64) -> u8 {
    (sector % 251 + 1) as u8
}

/// Does the task that the command line names, and powers the VM off. A failed task panics, which ends PID 1, which the
/// kernel answers with a panic and a reset.
pub fn main() -> ! {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        nix::mount::mount(None::<&str>, target, Some(kind), nix::mount::MsFlags::empty(), None::<&str>)
            .unwrap();
    }
    // The new /dev hides the console that this process started with, but not from it.
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap();
    let task = cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix("moat.task=")).unwrap();
    match task {
        "hello" => hello(),
        "off" => {}
        "disks" => disks(),
        "many-disks" => many_disks(),
        "random" => random(),
        "memory" => memory(),
        "balloon" => balloon(),
        "clocks" => clocks(),
        "ports" => ports(),
        "idle" => idle(),
        "vsock-streams" => crate::vsock::guest_streams(),
        "vsock-many" => crate::vsock::guest_many(),
        "vsock-closes" => crate::vsock::guest_closes(),
        "net" => crate::net::guest_both_ways(),
        "net-queues" => crate::net::guest_several_queues(),
        "net-plug" => crate::net::guest_hot_plug(),
        "net-late" => crate::net::guest_late(),
        "net-limits" => crate::net::guest_limits(),
        "panic" => panic!("asked to"),
        "reboot" => reboot(),
        other => panic!("no such task: {other}"),
    }
    // The console sends by interrupts; without one there is nothing to wait for.
    let _ = nix::sys::termios::tcdrain(std::io::stdout());
    write_port(POWER_OFF_PORT, 0);
    unreachable!("the power is off");
}

/// Writes to a port of the PC.
fn write_port(port: u16, value: u8) {
    // SAFETY: raises this process's right to use ports.
    assert_eq!(unsafe { libc::syscall(libc::SYS_iopl, 3) }, 0);
    // SAFETY: writes no memory; what the port does to the machine is what the test is about.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

fn read_port(port: u16) -> u8 {
    let value: u8;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

fn hello() {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    println!("cpus {}", online.trim());
    let threads: Vec<_> = (0..std::thread::available_parallelism().unwrap().get())
        .map(|_| std::thread::spawn(|| (0..1_000_000u64).fold(0, |sum, step| sum ^ step)))
        .collect();
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 0));
    let clock =
        std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").unwrap();
    println!("clock {}", clock.trim());
    let interrupts = std::fs::read_to_string("/proc/interrupts").unwrap();
    println!("interrupts by the {}", if interrupts.contains("XT-PIC") { "8259" } else { "IOAPIC alone" });
    std::thread::sleep(std::time::Duration::from_millis(30));
    println!("slept");
}

fn disks() {
    // vda: everything reads as it should, in big and in odd pieces, and nothing can be written.
    let mut bytes = Vec::new();
    File::open("/dev/vda").unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 3 * 512 + 4 * 512);
    let expected = |at: usize| match at {
        0..1100 => 0x11,
        1536..3572 => 0x22,
        _ => 0,
    };
    let wrong = (0..bytes.len()).find(|at| bytes[*at] != expected(*at));
    assert_eq!(wrong, None);
    assert_eq!(std::fs::read_to_string("/sys/block/vda/ro").unwrap().trim(), "1");
    let written = OpenOptions::new().write(true).open("/dev/vda").and_then(|file| {
        file.write_all_at(&[0; 512], 0)?;
        file.sync_all()
    });
    assert!(written.is_err());

    // vdb: written, flushed, read back through the device, discarded.
    let disk = OpenOptions::new().read(true).write(true).open("/dev/vdb").unwrap();
    let sectors = (&disk).seek(SeekFrom::End(0)).unwrap() / 512;
    for sector in 0..sectors {
        disk.write_all_at(&[pattern(sector); 512], sector * 512).unwrap();
    }
    disk.sync_all().unwrap();
    drop_caches();
    let mut sector_bytes = [0; 512];
    for sector in (0..sectors).step_by(97) {
        disk.read_exact_at(&mut sector_bytes, sector * 512).unwrap();
        assert_eq!(sector_bytes, [pattern(sector); 512]);
    }
    const BLKDISCARD: u64 = 0x1277;
    const BLKZEROOUT: u64 = 0x127f;
    for (request, start) in [(BLKDISCARD, 1 << 20), (BLKZEROOUT, 3u64 << 20)] {
        let range = [start, 1u64 << 20];
        // SAFETY: both requests read two 64-bit numbers.
        assert_eq!(unsafe { libc::ioctl(disk.as_raw_fd(), request, range.as_ptr()) }, 0);
    }
    println!("serial {}", std::fs::read_to_string("/sys/block/vdb/serial").unwrap().trim());
    println!("disks are right");
}

fn many_disks() {
    for letter in 'a'..='p' {
        let mut bytes = Vec::new();
        File::open(format!("/dev/vd{letter}")).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == letter as u8), "vd{letter}");
    }
    println!("all disks are there");
}

fn drop_caches() {
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

fn random() {
    assert_eq!(
        std::fs::read_to_string("/sys/class/misc/hw_random/rng_current").unwrap().trim(),
        "virtio_rng.0"
    );
    let mut bytes = [0; 1000];
    File::open("/dev/hwrng").unwrap().read_exact(&mut bytes).unwrap();
    assert!(bytes.iter().filter(|byte| **byte == 0).count() < 100);
    println!("random");
}

/// Touches a lot of memory, gives it back, and waits for the host to have a look.
fn memory() {
    let mut bytes = vec![0u8; 64 << 20];
    bytes.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    println!("touched {}", bytes.len());
    std::thread::sleep(std::time::Duration::from_millis(500));
    drop(bytes);
    println!("gave back");
    idle();
}

/// Tells how much memory is there until the host hangs up, and then needs more than that.
fn balloon() {
    std::io::copy(&mut File::open("/dev/vda").unwrap(), &mut std::io::sink()).unwrap();
    println!("cached");
    let told = std::thread::spawn(crate::vsock::guest_waits);
    while !told.is_finished() {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
        let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
        println!("available {}", available.trim());
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let mut bytes = vec![0u8; 64 << 20];
    bytes.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    assert!(bytes.iter().step_by(4096).all(|byte| *byte == 1));
    println!("got all of it");
}

/// Waits for a moment that both clocks say was a long one.
fn clocks() {
    use std::time::{Duration, Instant, SystemTime};
    let (mut before, mut wall) = (Instant::now(), SystemTime::now());
    println!("ticking");
    let (passed, wall) = loop {
        std::thread::sleep(Duration::from_millis(10));
        let passed = (before.elapsed(), wall.elapsed().unwrap());
        if passed.0 >= crate::cases::FREEZE {
            break passed;
        }
        (before, wall) = (Instant::now(), SystemTime::now());
    };
    assert!(passed.abs_diff(wall) < Duration::from_secs(1), "{passed:?} and {wall:?}");
    println!("time went on");
}

fn idle() {
    println!("idle");
    std::thread::sleep(std::time::Duration::from_secs(3600));
}

/// Ports with nothing behind them answer, and do nothing.
fn ports() {
    write_port(0x80, 1);
    for port in [0x10, 0x2f8, 0x60, 0xcf8, 0xffff] {
        write_port(port, 0xaa);
        assert_eq!(read_port(port), 0xff, "{port:#x}");
    }
    println!("ports");
}

fn reboot() {
    std::io::stdout().flush().unwrap();
    let error = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT).unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), ErrorKind::Other);
}
