//! How a log is bounded.

use moat_containers::config::LogLimits;
use moat_containers::log;

use super::{FlagError, bytes};

/// A log driver. Those of Docker that serve `docker logs` mean Moat's own log.
pub fn log_driver(text: &str) -> Result<(), FlagError> {
    match text {
        "json-file" | "local" => Ok(()),
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
        _ => Err(FlagError::LogOption),
    }
}

/// The bounds that the options set over the default; nothing without options.
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
    fn logs_have_bounds() {
        assert_eq!(log_option("max-file=2"), Ok(LogOption::MaxFiles(2)));
        assert_eq!(log_option("max-size=1m"), Ok(LogOption::MaxSize(1 << 20)));
        for text in ["max-size=1k", "max-file=0", "max-age=1", "x"] {
            assert!(log_option(text).is_err(), "{text}");
        }
        assert_eq!((log_driver("json-file"), log_driver("local")), (Ok(()), Ok(())));
        assert!(log_driver("syslog").is_err_and(|e| e.to_string().contains("no driver 'syslog'")));
        let limits = log_limits(&[LogOption::MaxFiles(2)]).unwrap();
        assert_eq!((limits.max_size, limits.max_files), (log::DEFAULT_LIMITS.max_size, 2));
        assert_eq!(log_limits(&[]), None);
    }
}
