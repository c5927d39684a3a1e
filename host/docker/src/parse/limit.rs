//! Limits on processes.

use moat_containers::config::Ulimit;

use super::FlagError;

/// The names of limits, those of setrlimit(2).
pub(super) const ULIMITS: [&str; 16] = [
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

/// `NAME=SOFT[:HARD]`. -1 means no limit.
pub fn ulimit(text: &str) -> Result<Ulimit, FlagError> {
    let (name, limits) = text.split_once('=').ok_or(FlagError::Ulimit)?;
    if !ULIMITS.contains(&name) {
        return Err(FlagError::Ulimit);
    }
    let limit = |text: &str| if text == "-1" { Some(u64::MAX) } else { text.parse().ok() };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(soft).ok_or(FlagError::Ulimit)?, limit(hard).ok_or(FlagError::Ulimit)?);
    if soft > hard {
        return Err(FlagError::SoftAboveHard);
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// A limit on the number of processes. 0 and -1 mean no limit.
pub fn pids_limit(text: &str) -> Result<i64, FlagError> {
    text.parse::<i64>()
        .ok()
        .filter(|number| (-1..=i64::from(u32::MAX)).contains(number))
        .ok_or(FlagError::PidsLimit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_names_and_bounds() {
        assert_eq!(ulimit("nofile=10:20"), Ok(Ulimit { name: "nofile".to_owned(), soft: 10, hard: 20 }));
        assert_eq!(ulimit("core=-1").unwrap().hard, u64::MAX);
        for text in ["nofile", "nofile=", "nofile=2:1", "files=1", "nofile=x"] {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }
}
