//! `doctor`: what this host lacks for Moat, and what to do about it.

mod network;

use std::io;
use std::path::Path;
use std::process::Command;

use moat_monitor::artifacts::Artifacts;
use moat_monitor::probe::{ProbeError, probe};
use nix::sys::statvfs::statvfs;
use nix::sys::utsname::uname;

/// The least Linux on the host: the first with cgroup.kill (5.14).
const MIN_KERNEL: (u32, u32) = (5, 14);

/// Free space under which loading an image or running a container soon fails, in bytes.
const LOW_SPACE: u64 = 1 << 30;

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub remedy: String,
}

/// What a check found: something good, or a problem.
type Finding = Result<String, Problem>;

/// One check of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether no container runs where it fails. What only networks need does not count: containers run without, too.
    pub essential: bool,
    /// What was found.
    pub finding: Finding,
}

/// Makes every check of this host. `root` is the directory that Moat is to use.
pub fn check(root: &Path) -> Vec<Check> {
    let essential = |name, finding| Check { name, essential: true, finding };
    let mut checks = vec![
        essential("processor", processor()),
        essential("kernel", kernel()),
        essential("root user", root_user()),
        essential("KVM", kvm()),
        essential("cgroups", cgroups()),
        essential("ext4 tools", ext4_tools()),
        essential("Moat's own files", artifacts()),
        essential("disk space", disk_space(root)),
    ];
    checks.extend(check_networks());
    checks
}

/// Makes the checks of what only networks need.
pub fn check_networks() -> [Check; 3] {
    let check = |name, finding| Check { name, essential: false, finding };
    [
        check("taps", network::taps()),
        check("firewall", network::firewall()),
        check("forwarding", network::forwarding()),
    ]
}

fn wrong<T>(what: impl Into<String>, remedy: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { wrong: what.into(), remedy: remedy.into() })
}

fn processor() -> Finding {
    match std::env::consts::ARCH {
        "x86_64" => Ok("x86-64".to_owned()),
        other => wrong(format!("{other} is not supported"), "Use an x86-64 host."),
    }
}

fn kernel() -> Finding {
    let Ok(host) = uname() else { return wrong("the kernel does not say what it is", "Use Linux.") };
    let release = host.release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= MIN_KERNEL {
        return Ok(format!("Linux {release}"));
    }
    let (major, minor) = MIN_KERNEL;
    wrong(format!("Linux {release} is too old"), format!("Boot Linux {major}.{minor} or newer."))
}

fn root_user() -> Finding {
    if nix::unistd::geteuid().is_root() {
        return Ok("yes; each virtual machine gets a user id of its own".to_owned());
    }
    wrong("this is not root, which building the jails needs", "Run moat with sudo.")
}

fn kvm() -> Finding {
    match probe() {
        Ok(took) => {
            Ok(format!("guests run (a million turns of a loop took {:.1} ms)", took.as_secs_f64() * 1000.0))
        }
        Err(e @ ProbeError::Open(_)) => wrong(
            e.to_string(),
            "Enable virtualisation in the firmware and load kvm-intel or kvm-amd; in a virtual machine, enable nested \
             virtualisation for it.",
        ),
        Err(e @ ProbeError::Interpreted(_)) => wrong(
            e.to_string(),
            "Use a host with hardware virtualisation (vmx or svm in /proc/cpuinfo); for trying Moat out, scripts/moat \
             boots a machine with KVM in software.",
        ),
        Err(e) => {
            wrong(e.to_string(), "Use a host with hardware virtualisation (vmx or svm in /proc/cpuinfo).")
        }
    }
}

fn cgroups() -> Finding {
    let Ok(controllers) = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") else {
        return wrong(
            "/sys/fs/cgroup is not cgroup v2",
            "Boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 there.",
        );
    };
    let has = |wanted: &str| controllers.split_whitespace().any(|controller| controller == wanted);
    let missing: Vec<&str> = ["cpu", "memory", "pids"].into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Ok("version 2 with cpu, memory and pids".to_owned());
    }
    wrong(
        format!("cgroup v2 lacks the controllers {}", missing.join(", ")),
        "Enable them in the kernel (a leftover cgroup v1 mount may hold them).",
    )
}

fn ext4_tools() -> Finding {
    let output = Command::new("mkfs.ext4").arg("-V").output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Ok(text.lines().next().unwrap_or("mkfs.ext4").to_owned())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            wrong("mkfs.ext4 is not installed", "Install e2fsprogs.")
        }
        Err(e) => wrong(format!("mkfs.ext4 cannot be run: {e}"), "Install e2fsprogs."),
    }
}

fn artifacts() -> Finding {
    let artifacts = match Artifacts::find() {
        Ok(artifacts) => artifacts,
        Err(e) => return wrong(format!("cannot find this program's place: {e}"), "Mount /proc."),
    };
    for path in [artifacts.vmm(), artifacts.monitor(), artifacts.kernel(), artifacts.initramfs()] {
        if let Err(e) = Artifacts::open(&path) {
            return wrong(e.to_string(), "scripts/moat builds them.");
        }
    }
    Ok(artifacts.vmm().parent().unwrap_or(Path::new("/")).display().to_string())
}

fn disk_space(root: &Path) -> Finding {
    // The directory itself may not exist yet.
    let Some(existing) = root.ancestors().find(|path| path.exists()) else { return Ok("unknown".to_owned()) };
    let Ok(stat) = statvfs(existing) else { return Ok("unknown".to_owned()) };
    let free = stat.blocks_available() * stat.fragment_size();
    let text = format!("{:.1} GiB free for {}", free as f64 / f64::from(1u32 << 30), root.display());
    if free >= LOW_SPACE { Ok(text) } else { wrong(text, "Free some, or name another place with --root.") }
}
