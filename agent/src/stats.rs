//! What the container uses, as the kernel counts it.

use std::fs;
use std::path::Path;

use moat_protocol::Stats;

/// The unit of /proc/diskstats in bytes, for every disk.
const SECTOR: u64 = 512;

/// The guest's disks: the image and the writable one.
const DISKS: [&str; 2] = ["vda", "vdb"];

/// Reads the numbers of a control group and of the guest. A number whose file is missing is zero.
pub fn read(cgroup: &Path) -> Stats {
    let file = |name: &str| fs::read_to_string(cgroup.join(name)).unwrap_or_default();
    let guest = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = file("cpu.stat");
    let (block_read, block_written) = match fs::read_to_string(cgroup.join("io.stat")) {
        Ok(text) => cgroup_io(&text),
        Err(_) => disk_io(&guest("/proc/diskstats")),
    };
    let (net_received, net_sent) = network(&guest("/proc/net/dev"));
    Stats {
        cpu_usec: field(&cpu, "usage_usec"),
        cpu_user_usec: field(&cpu, "user_usec"),
        cpu_system_usec: field(&cpu, "system_usec"),
        cpus: processors(&guest("/proc/stat")),
        memory: number(&file("memory.current")).saturating_sub(field(&file("memory.stat"), "inactive_file")),
        memory_limit: field(&guest("/proc/meminfo"), "MemTotal:").saturating_mul(1024),
        pids: number(&file("pids.current")),
        block_read,
        block_written,
        net_received,
        net_sent,
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_default()
}

/// The number after a word that a line begins with.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t']))
        .find_map(|rest| rest.split_whitespace().next())
        .map_or(0, number)
}

/// `254:0 rbytes=1 wbytes=2 ...` for each disk.
fn cgroup_io(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        text.split_whitespace()
            .filter_map(|word| word.strip_prefix(key))
            .map(number)
            .fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// `major minor name reads merged SECTORS milliseconds writes merged SECTORS ...` for each disk.
fn disk_io(text: &str) -> (u64, u64) {
    let disks = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    disks.filter(|words| words.get(2).is_some_and(|name| DISKS.contains(name))).fold(
        (0, 0),
        |(read, written), words| {
            let bytes = |at: usize| words.get(at).map_or(0, |word| number(word)).saturating_mul(SECTOR);
            (read + bytes(5), written + bytes(9))
        },
    )
}

/// `name: BYTES packets (six more) BYTES packets ...` for each interface, after two lines of headings.
fn network(text: &str) -> (u64, u64) {
    let interfaces = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    interfaces.filter(|(name, _)| name.trim() != "lo").fold((0, 0), |(received, sent), (_, counters)| {
        let counters: Vec<u64> = counters.split_whitespace().map(number).collect();
        let at = |at: usize| counters.get(at).copied().unwrap_or_default();
        (received + at(0), sent + at(8))
    })
}

fn processors(stat: &str) -> u32 {
    let is_processor = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    stat.lines().filter(is_processor).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_control_group_are_read() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cpu.stat", "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnice_usec 5\n"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 3\nfile 7\ninactive_anon 9\ninactive_file 400\n"),
            ("pids.current", "12\n"),
            (
                "io.stat",
                "254:0 rbytes=100 wbytes=1 rios=9 wios=8 dbytes=7 dios=6\n254:16 rbytes=200 wbytes=2\n8:0\n",
            ),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let stats = read(directory.path());
        assert_eq!((stats.cpu_usec, stats.cpu_user_usec, stats.cpu_system_usec), (30, 10, 20));
        assert_eq!((stats.memory, stats.pids, stats.block_read, stats.block_written), (600, 12, 300, 3));
        assert!(stats.cpus > 0 && stats.memory_limit > 1 << 20);
    }

    #[test]
    fn counters_of_the_guest_are_read() {
        let disks =
            "254 0 vda 1 2 3 4 5 6 7 8\n254 16 vdb 10 20 30 40 50 60 70 80\n7 0 loop0 9 9 9 9 9 9 9 9\n";
        assert_eq!(disk_io(disks), (33 * 512, 77 * 512));
        let interfaces = "Inter-| Receive\n face |bytes\n    lo: 5 1 0 0 0 0 0 0 5 1\n  eth0:100 1 0 0 0 0 0 0 200 2 0\n eth1: 1 0 0 0 0 0 0 0 2 0\n";
        assert_eq!(network(interfaces), (101, 202));
        assert_eq!(processors("cpu 1\ncpu0 1\ncpu1 1\nctxt 1\n"), 2);
        assert_eq!((disk_io("x"), network(""), cgroup_io("x=1 rbytes=-1")), ((0, 0), (0, 0), (0, 0)));
    }
}
