//! The container's processes, from /proc. Their names and command lines are hostile text.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use moat_protocol::text::harmless_bytes;
use moat_protocol::{MAX_COMMAND, MAX_PROCESSES, ProcessInfo};

use crate::container::Cgroup;

/// How long all command lines together may be, in bytes: with every character escaped the answer still fits in a frame.
/// A process whose command line is over the limit is listed with its name instead.
const COMMANDS: usize = 1 << 20;

/// How many control groups below the container's are looked into.
const MOST_GROUPS: usize = 4096;

/// The kernel's ticks per second in the times of /proc, on every machine.
const TICKS: u64 = 100;

/// A page in KiB.
const PAGE_KIB: u64 = 4;

/// Lists the processes of a control group and of those below it, by their numbers.
pub fn list(cgroup: &Cgroup) -> Vec<ProcessInfo> {
    let booted = boot_time(&fs::read_to_string("/proc/stat").unwrap_or_default());
    let mut found: Vec<(u32, ProcessInfo)> = members(cgroup.path())
        .into_iter()
        .take(MAX_PROCESSES)
        // It may have ended by now.
        .filter_map(|pid| Some((pid, read(pid, booted)?)))
        .collect();
    let numbers: HashMap<u32, u32> = found.iter().map(|(pid, info)| (*pid, info.pid)).collect();
    let mut left = COMMANDS;
    for (_, info) in &mut found {
        info.ppid = numbers.get(&info.ppid).copied().unwrap_or(0);
        if info.command.len() > left {
            info.command = format!("[{}]", info.name);
        }
        left = left.saturating_sub(info.command.len());
    }
    let mut processes: Vec<_> = found.into_iter().map(|(_, info)| info).collect();
    processes.sort_by_key(|info| info.pid);
    processes
}

/// The processes, by the agent's numbers.
fn members(cgroup: &Path) -> Vec<u32> {
    let mut members = Vec::new();
    let mut groups = vec![cgroup.to_owned()];
    let mut seen = 0;
    while let Some(group) = groups.pop() {
        seen += 1;
        // A group of threads has no list of processes. The group above it lists them.
        let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        members.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
        let below = fs::read_dir(&group).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        groups.extend(below.map(|entry| entry.path()).take(MOST_GROUPS.saturating_sub(seen + groups.len())));
    }
    members
}

/// Reads what /proc says of a process. Its parent is still given by the agent's number.
fn read(pid: u32, booted: i64) -> Option<ProcessInfo> {
    let directory = Path::new("/proc").join(pid.to_string());
    let mut info = parse(
        &read_some(&directory.join("stat"), 4096)?,
        &read_some(&directory.join("status"), 16 << 10)?,
        booted,
    )?;
    let words = read_some(&directory.join("cmdline"), MAX_COMMAND)?;
    info.command = command(&words).unwrap_or_else(|| format!("[{}]", info.name));
    Some(info)
}

fn read_some(path: &Path, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn parse(stat: &[u8], status: &[u8], booted: i64) -> Option<ProcessInfo> {
    // `PID (NAME) STATE ...`: the name can be any text, but the fields after it have no parenthesis.
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = harmless_bytes(stat.get(open + 1..close)?);
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    // The numbers of proc(5), which counts from 1; the state is the third field.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |at: usize| field(at)?.parse::<u64>().ok();
    let started = i64::try_from(number(22)? / TICKS).ok()?;
    Some(ProcessInfo {
        pid: words(status, "NSpid:").get(1)?.parse().ok()?,
        ppid: field(4)?.parse().ok()?,
        uid: words(status, "Uid:").get(1)?.parse().ok()?,
        gid: words(status, "Gid:").get(1)?.parse().ok()?,
        state: field(3)?.chars().next()?,
        tty: terminal(field(7)?.parse().ok()?),
        nice: field(19)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        cpu_msec: (number(14)? + number(15)?) * 1000 / TICKS,
        started: booted.saturating_add(started),
        rss_kib: number(24)? * PAGE_KIB,
        vsz_kib: number(23)? / 1024,
        name,
        command: String::new(),
    })
}

/// The words after a name at the beginning of a line. A process cannot forge a line by its own name, because the kernel
/// escapes line feeds in it.
fn words<'a>(status: &'a [u8], name: &str) -> Vec<&'a str> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()));
    line.and_then(|line| std::str::from_utf8(line).ok())
        .unwrap_or_default()
        .split_ascii_whitespace()
        .collect()
}

/// The words of a command line with blanks between them; nothing when there are none.
fn command(words: &[u8]) -> Option<String> {
    let end = words.iter().rposition(|byte| *byte != 0)? + 1;
    let blanks: Vec<u8> = words[..end].iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
    let mut text = harmless_bytes(&blanks);
    while text.len() > MAX_COMMAND {
        text.pop();
    }
    Some(text)
}

/// A terminal by its device number, as ps(1) has it.
fn terminal(device: i32) -> String {
    let device = device.cast_unsigned();
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match major {
        // The eight majors of the processes' sides of pseudo-terminals.
        136..=143 => format!("pts/{}", (major - 136) << 20 | minor),
        _ => "?".to_owned(),
    }
}

fn boot_time(stat: &str) -> i64 {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] =
        b"Name:\tx\\nNSpid:\\t1 1\nUmask:\t0022\nPid:\t70\nUid:\t1\t1000\t3\t4\nGid:\t5\t1001\t7\t8\n\
        NSpid:\t70\t7\t1\n";

    fn stat(name: &[u8]) -> Vec<u8> {
        let rest = b" S 60 70 70 34817 70 4194560 1 2 3 4 150 50 0 0 20 -5 3 0 1000 8192000 300 18446744073709551615\n";
        [b"70 (", name, b")", rest].concat()
    }

    #[test]
    fn fields_are_found() {
        let info = parse(&stat(b"sleep"), STATUS, 5000).unwrap();
        assert_eq!((info.pid, info.ppid, info.uid, info.gid, info.state), (7, 60, 1000, 1001, 'S'));
        assert_eq!((info.tty.as_str(), info.nice, info.threads), ("pts/1", -5, 3));
        assert_eq!((info.cpu_msec, info.started, info.rss_kib, info.vsz_kib), (2000, 5010, 1200, 8000));
        assert_eq!(info.name, "sleep");
    }

    #[test]
    fn names_cannot_pose_as_fields() {
        for (name, shown) in [
            (&b") R 1"[..], ") R 1"),
            (b"a) R 1 (b", "a) R 1 (b"),
            (b"x\ny\x1b[31m", "x\u{fffd}y\u{fffd}[31m"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"", ""),
        ] {
            let info = parse(&stat(name), STATUS, 0).unwrap();
            assert_eq!((info.name.as_str(), info.state, info.pid), (shown, 'S', 7));
        }
        // A process outside of the container, and damaged files.
        assert!(parse(&stat(b"x"), b"Uid:\t1\t1\nGid:\t1\t1\nNSpid:\t70\n", 0).is_none());
        assert!(parse(b"70 (x", STATUS, 0).is_none() && parse(b"", STATUS, 0).is_none());
        assert!(parse(b")(", STATUS, 0).is_none());
    }

    #[test]
    fn commands_are_words() {
        assert_eq!(command(b"sh\0-c\0a b\0"), Some("sh -c a b".to_owned()));
        assert_eq!(command(b"a\0\0\0"), Some("a".to_owned()));
        assert_eq!((command(b""), command(b"\0\0")), (None, None));
        assert_eq!(command(b"\x1b]0;x\x07\n"), Some("\u{fffd}]0;x\u{fffd}\u{fffd}".to_owned()));
        // What is not UTF-8 grows when it is replaced.
        assert!(command(&[0xff; MAX_COMMAND]).unwrap().len() <= MAX_COMMAND);
    }

    #[test]
    fn terminals_have_names() {
        assert_eq!(
            (terminal(0), terminal(34816), terminal(5 << 8 | 1)),
            ("?".into(), "pts/0".into(), "?".into())
        );
        assert_eq!(terminal(136 << 8 | 0x12 | 0x345 << 20), format!("pts/{}", 0x34512));
    }
}
