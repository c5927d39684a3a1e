//! `moat doctor`.

mod network;

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

use moat::engine::artifacts::Artifacts;
use nix::sys::statvfs::statvfs;
use nix::sys::utsname::uname;

/// Check that this host has all that Moat needs, and say what to do about what it lacks
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat doctor
  moat doctor && moat run --rm busybox echo fine

The exit code is 0 when containers can run here.")]
pub struct Args {}

/// The least Linux on the host: the first with cgroup.kill (5.14).
const MIN_KERNEL: (u32, u32) = (5, 14);

/// Free space under which loading an image or running a container soon fails, in bytes.
const LOW_SPACE: u64 = 1 << 30;

/// What a check found: something good, or what is wrong and what to do.
type Finding = Result<String, (String, String)>;

/// Makes every check and prints a line for each.
pub fn run(_args: &Args, root: &Path) -> anyhow::Result<ExitCode> {
    let checks: [(&str, Finding); 8] = [
        ("processor", processor()),
        ("kernel", kernel()),
        ("root user", root_user()),
        ("KVM", kvm()),
        ("cgroups", cgroups()),
        ("ext4 tools", ext4_tools()),
        ("Moat's own files", artifacts()),
        ("disk space", disk_space(root)),
    ];
    // What only networks need: containers run without, too.
    let networks: [(&str, Finding); 3] =
        [("taps", network::taps()), ("firewall", network::firewall()), ("forwarding", network::forwarding())];
    let mut healthy = true;
    for (name, finding) in checks {
        match finding {
            Ok(good) => say!("ok    {name}: {good}"),
            Err((wrong, remedy)) => {
                healthy = false;
                say!("FAIL  {name}: {wrong}");
                say!("      {remedy}");
            }
        }
    }
    for (name, finding) in networks {
        match finding {
            Ok(good) => say!("ok    {name}: {good}"),
            Err((problem, remedy)) => {
                say!("warn  {name}: {problem}");
                say!("      {remedy}");
            }
        }
    }
    say!("{}", if healthy { "Containers can run here." } else { "Containers cannot run here yet." });
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wrong<T>(what: impl Into<String>, remedy: impl Into<String>) -> Result<T, (String, String)> {
    Err((what.into(), remedy.into()))
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
    use moat_vmm::probe::{ProbeError, probe};
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
    for path in [artifacts.vmm(), artifacts.kernel(), artifacts.initramfs()] {
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
