//! Values of flags, as Docker writes them.

use std::time::Duration;

use moat::engine::config::{LogLimits, Tmpfs, Ulimit};
use moat::engine::{log, signal};
use moat_vmm::config::{MAX_VCPUS, MIN_MEMORY_MIB};

/// Docker's sizes in bytes: a number with an optional unit b, k, m or g, in powers of 1024; plain numbers are bytes.
fn size(text: &str) -> Result<f64, String> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, unit) = match number.chars().last() {
        Some('k') => (&number[..number.len() - 1], 1u64 << 10),
        Some('m') => (&number[..number.len() - 1], 1 << 20),
        Some('g') => (&number[..number.len() - 1], 1 << 30),
        Some('t') => (&number[..number.len() - 1], 1 << 40),
        _ => (number, 1),
    };
    let number: f64 =
        number.trim().parse().map_err(|_| "a size is a number and a unit: 512m, 2g".to_owned())?;
    Ok(number * unit as f64)
}

/// A size in whole bytes, at least one.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    // 2^53: beyond that a float skips numbers.
    if (1.0..=9.0e15).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err("a size of at least one byte".to_owned())
    }
}

/// The memory of a virtual machine, in MiB. 0 stands for what there is when nothing is said, as with Docker.
pub fn memory(text: &str) -> Result<u32, String> {
    let mib = (size(text)? / f64::from(1u32 << 20)).ceil();
    if mib == 0.0 {
        return Ok(0);
    }
    if !(f64::from(MIN_MEMORY_MIB)..=f64::from(MAX_MEMORY_MIB)).contains(&mib) {
        return Err(format!("a virtual machine has from {MIN_MEMORY_MIB}m to {}g", MAX_MEMORY_MIB >> 10));
    }
    Ok(mib as u32)
}

/// 1 TiB; more than that no machine that Moat has been run on has.
const MAX_MEMORY_MIB: u32 = 1 << 20;

/// Processor time, in thousandths of one processor. 0 stands for no limit, as with Docker.
pub fn cpus(text: &str) -> Result<u32, String> {
    let problem = || format!("a number from 0.01 to {MAX_VCPUS}, such as 0.5 or 2");
    let number: f64 = text.parse().map_err(|_| problem())?;
    if number != 0.0 && !(0.01..=f64::from(MAX_VCPUS)).contains(&number) {
        return Err(problem());
    }
    Ok((number * 1000.0).round() as u32)
}

pub fn hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("a host name has letters, digits and dashes, at most 64 of them".to_owned())
    }
}

pub fn tmpfs_mount(text: &str) -> Result<Tmpfs, String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    if !destination.starts_with('/') || destination.split('/').any(|part| part == "..") {
        return Err("an absolute path without '..', then options: /run:size=64m".to_owned());
    }
    let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    Ok(Tmpfs { destination: destination.to_owned(), options })
}

/// A signal's name or number.
pub fn signal(text: &str) -> Result<i32, String> {
    signal::parse(text).ok_or_else(|| "a signal's name or number, such as TERM or 15".to_owned())
}

/// Go's durations: numbers with units, such as `1m30s` or `500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let problem = || "a duration is numbers with units: 30s, 1m30s, 500ms".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(problem)?;
        let number: f64 = rest[..digits].parse().map_err(|_| problem())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(problem()),
            };
        rest = &rest[unit..];
    }
    if text.is_empty() {
        return Err(problem());
    }
    Duration::try_from_secs_f64(total).map_err(|_| problem())
}

/// A duration of health checks. 0 stands for what the image or Docker says.
pub fn health_duration(text: &str) -> Result<Duration, String> {
    let least = Duration::from_millis(1);
    match duration(text)? {
        duration if duration.is_zero() || duration >= least => Ok(duration),
        _ => Err("it cannot be less than 1ms; 0s stands for the default".to_owned()),
    }
}

/// `NAME=SOFT[:HARD]`; -1 for no limit.
pub fn ulimit(text: &str) -> Result<Ulimit, String> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let problem = || format!("a limit is NAME=SOFT[:HARD], with a name of {}", NAMES.join(" "));
    let (name, limits) = text.split_once('=').ok_or_else(problem)?;
    if !NAMES.contains(&name) {
        return Err(problem());
    }
    let limit = |text: &str| if text == "-1" { Some(u64::MAX) } else { text.parse().ok() };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(soft).ok_or_else(problem)?, limit(hard).ok_or_else(problem)?);
    if soft > hard {
        return Err("the soft limit is above the hard limit".to_owned());
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// `NAME=VALUE`, or a name alone for an empty value.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        return Err("a label is NAME or NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// `NAME=VALUE` of a kernel parameter.
pub fn sysctl(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a kernel parameter is NAME=VALUE")?;
    let sound =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) && !name.contains("..");
    if name.is_empty() || !sound {
        return Err("a kernel parameter's name is like net.ipv4.ip_forward".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A capability's name, without `CAP_`, in capitals; or `ALL`.
pub fn capability(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let known = name == "ALL"
        || moat_protocol::defaults::all_capabilities().iter().any(|known| known.to_string() == name);
    if known {
        Ok(name.to_owned())
    } else {
        Err(format!("there is no capability {name}, see capabilities(7)"))
    }
}

/// A limit on the number of processes; 0 and -1 for none.
pub fn pids_limit(text: &str) -> Result<i64, String> {
    text.parse::<i64>()
        .ok()
        .filter(|number| (-1..=i64::from(u32::MAX)).contains(number))
        .ok_or_else(|| "a number of processes, -1 for no limit".to_owned())
}

/// Who keeps the log. Docker's drivers that keep it for `docker logs` stand for Moat's own.
pub fn log_driver(text: &str) -> Result<(), String> {
    match text {
        "json-file" | "local" => Ok(()),
        other => Err(format!(
            "Moat keeps every container's log itself and has no driver '{other}'; json-file and local stand for that"
        )),
    }
}

/// One of the log's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOption {
    /// How large a file grows.
    MaxSize(u64),
    /// How many files are kept.
    MaxFiles(usize),
}

/// `max-size=SIZE` or `max-file=N`.
pub fn log_option(text: &str) -> Result<LogOption, String> {
    let problem = || "a log option is max-size=SIZE or max-file=NUMBER".to_owned();
    match text.split_once('=').ok_or_else(problem)? {
        ("max-size", size) => {
            let size = bytes(size)?;
            // A record must fit.
            let least = 64 << 10;
            if size < least {
                Err("a log file has at least 64k".to_owned())
            } else {
                Ok(LogOption::MaxSize(size))
            }
        }
        ("max-file", count) => count
            .parse()
            .ok()
            .filter(|count| (1..=log::MAX_FILES).contains(count))
            .map(LogOption::MaxFiles)
            .ok_or_else(|| format!("a log has 1 to {} files", log::MAX_FILES)),
        _ => Err(problem()),
    }
}

/// What the options say together; nothing when there are none.
pub fn log_limits(options: &[LogOption]) -> Option<LogLimits> {
    let mut limits = log::DEFAULT_LIMITS;
    for option in options {
        match *option {
            LogOption::MaxSize(size) => limits.max_size = size,
            LogOption::MaxFiles(count) => limits.max_files = count,
        }
    }
    (!options.is_empty()).then_some(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, mib) in [
            ("512m", 512),
            ("2g", 2048),
            ("1.5G", 1536),
            ("67108864", 64),
            ("128MiB", 128),
            ("65536k", 64),
            ("0", 0),
        ] {
            assert_eq!(memory(text), Ok(mib), "{text}");
        }
        for text in ["", "m", "1m", "-1g", "nan", "9999999g", "12x"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_fractions() {
        for (text, thousandths) in [("0.5", 500), ("2", 2000), ("0", 0), ("0.0", 0), ("1.5", 1500)] {
            assert_eq!(cpus(text), Ok(thousandths), "{text}");
        }
        for text in ["0.001", "-1", "65", "x", "nan", "inf"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tmpfs_has_a_place_and_options() {
        let tmpfs = tmpfs_mount("/run:size=64m,ro").unwrap();
        assert_eq!(
            (tmpfs.destination.as_str(), tmpfs.options.as_slice()),
            ("/run", &["size=64m".to_owned(), "ro".to_owned()][..])
        );
        assert!(tmpfs_mount("run").is_err());
        assert!(tmpfs_mount("/a/../b").is_err());
    }

    #[test]
    fn durations_are_gos() {
        for (text, millis) in
            [("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("1.5h", 5_400_000), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "1x", "-1s", "1s1"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn checks_are_not_made_in_no_time() {
        for (text, micros) in [("0", 0), ("0s", 0), ("1ms", 1000), ("1.5s", 1_500_000)] {
            assert_eq!(health_duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["1ns", "999us", "0.5ms", "-1s", ""] {
            assert!(health_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_have_names_and_bounds() {
        assert_eq!(ulimit("nofile=10:20"), Ok(Ulimit { name: "nofile".to_owned(), soft: 10, hard: 20 }));
        assert_eq!(ulimit("core=-1").unwrap().hard, u64::MAX);
        for text in ["nofile", "nofile=", "nofile=2:1", "files=1", "nofile=x"] {
            assert!(ulimit(text).is_err(), "{text}");
        }
        assert_eq!(capability("cap_net_admin").as_deref(), Ok("NET_ADMIN"));
        assert_eq!(capability("all").as_deref(), Ok("ALL"));
        assert!(capability("FLY").is_err());
        assert_eq!(log_option("max-file=2"), Ok(LogOption::MaxFiles(2)));
        assert_eq!(log_option("max-size=1m"), Ok(LogOption::MaxSize(1 << 20)));
        for text in ["max-size=1k", "max-file=0", "max-age=1", "x"] {
            assert!(log_option(text).is_err(), "{text}");
        }
        assert_eq!((log_driver("json-file"), log_driver("local")), (Ok(()), Ok(())));
        assert!(log_driver("syslog").is_err_and(|e| e.contains("no driver 'syslog'")));
        assert!(sysctl("kernel.msgmax=1").is_ok());
        for text in ["kernel.msgmax", "a..b=1", "=1", "a b=1"] {
            assert!(sysctl(text).is_err(), "{text}");
        }
    }
}
