//! Resource limits.

use moat_protocol::guest::Rlimit;

use crate::failure::{Context, Failure};
use crate::sys::process::set_limit;

/// The names that OCI knows, in the order of the kernel's numbers.
const NAMES: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// Sets the limits of the calling process.
pub fn apply(limits: &[Rlimit]) -> Result<(), Failure> {
    for limit in limits {
        let number = number(limit)?;
        let what = format!("cannot set {} to {}:{}", limit.kind, limit.soft, limit.hard);
        set_limit(number, limit.soft, limit.hard).context(&what)?;
    }
    Ok(())
}

fn number(limit: &Rlimit) -> Result<u32, Failure> {
    let at = NAMES.iter().position(|name| *name == limit.kind);
    let at = at.ok_or_else(|| Failure::setup(format!("unknown resource limit \"{}\"", limit.kind)))?;
    if limit.soft > limit.hard {
        let Rlimit { kind, soft, hard } = limit;
        return Err(Failure::setup(format!("the soft {kind} of {soft} is above the hard one of {hard}")));
    }
    Ok(at as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(kind: &str, soft: u64, hard: u64) -> Rlimit {
        Rlimit { kind: kind.to_owned(), hard, soft }
    }

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number) in [
            ("RLIMIT_CPU", libc::RLIMIT_CPU),
            ("RLIMIT_CORE", libc::RLIMIT_CORE),
            ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
            ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
            ("RLIMIT_AS", libc::RLIMIT_AS),
            ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
        ] {
            assert_eq!(super::number(&limit(name, 1, u64::MAX)), Ok(number));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(number(&limit("RLIMIT_FUN", 1, 2)).unwrap_err().message.contains("RLIMIT_FUN"));
        assert!(number(&limit("RLIMIT_CPU", 2, 1)).unwrap_err().message.contains("above"));
    }
}
