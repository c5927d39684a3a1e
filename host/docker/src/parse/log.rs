//! How a log is bounded.

use moat_containers::config::LogLimits;
use moat_containers::log;

use super::{FlagError, bytes};

/// Docker's options that say how its drivers keep what every log here has, or what no line of it shows.
pub(super) const IDLE: [&str; 9] = [
    "mode",
    "max-buffer-size",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "cache-disabled",
];

/// A log driver: whether there is a log. Those of Docker that serve `docker logs` mean Moat's own log.
pub fn log_driver(text: &str) -> Result<bool, FlagError> {
    match text {
        "" | "json-file" | "local" => Ok(true),
        "none" => Ok(false),
        other => Err(FlagError::LogDriver(other.to_owned())),
    }
}

/// One of the log's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOption {
    /// The size of a file in bytes.
    MaxSize(u64),
    /// The number of files.
    MaxFiles(usize),
    /// One without effect.
    Idle,
}

/// `max-size=SIZE` or `max-file=N`.
pub fn log_option(text: &str) -> Result<LogOption, FlagError> {
    match text.split_once('=').ok_or(FlagError::LogOption)? {
        ("max-size", size) => {
            let size = bytes(size)?;
            // The longest record must fit.
            let least = 64 << 10;
            if size < least { Err(FlagError::SmallLogFile) } else { Ok(LogOption::MaxSize(size)) }
        }
        ("max-file", count) => count
            .parse()
            .ok()
            .filter(|count| (1..=log::MAX_FILES).contains(count))
            .map(LogOption::MaxFiles)
            .ok_or(FlagError::LogFiles),
        (name, _) if IDLE.contains(&name) || name.starts_with("cache-") => Ok(LogOption::Idle),
        (name, _) => Err(FlagError::UnknownLogOption(name.to_owned())),
    }
}

/// The bounds that the options set over the default; nothing without options.
pub fn log_limits(options: &[LogOption]) -> Option<LogLimits> {
    let mut limits = log::DEFAULT_LIMITS;
    for option in options {
        match *option {
            LogOption::MaxSize(size) => limits.max_size = size,
            LogOption::MaxFiles(count) => limits.max_files = count,
            LogOption::Idle => {}
        }
    }
    (!options.is_empty()).then_some(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_have_bounds() {
        assert_eq!(log_option("max-file=2"), Ok(LogOption::MaxFiles(2)));
        assert_eq!(log_option("max-size=1m"), Ok(LogOption::MaxSize(1 << 20)));
        for text in ["max-size=1k", "max-file=0", "max-age=1", "x"] {
            assert!(log_option(text).is_err(), "{text}");
        }
        assert_eq!((log_driver("json-file"), log_driver("local")), (Ok(true), Ok(true)));
        assert_eq!((log_driver("none"), log_option("mode=non-blocking")), (Ok(false), Ok(LogOption::Idle)));
        assert!(log_driver("syslog").is_err_and(|e| e.to_string().contains("no driver 'syslog'")));
        let limits = log_limits(&[LogOption::MaxFiles(2)]).unwrap();
        assert_eq!((limits.max_size, limits.max_files), (log::DEFAULT_LIMITS.max_size, 2));
        assert_eq!(log_limits(&[]), None);
    }
}
