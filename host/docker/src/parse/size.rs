//! Sizes, and processor time.

use moat_containers::config::{MAX_MEMORY_MIB, MAX_VCPUS, MIN_MEMORY_MIB};

use super::FlagError;

/// A size in bytes: a number with an optional unit b, k, m, g or t, in powers of 1024.
fn size(text: &str) -> Result<f64, FlagError> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, unit) = match number.chars().last() {
        Some('k') => (&number[..number.len() - 1], 1u64 << 10),
        Some('m') => (&number[..number.len() - 1], 1 << 20),
        Some('g') => (&number[..number.len() - 1], 1 << 30),
        Some('t') => (&number[..number.len() - 1], 1 << 40),
        _ => (number, 1),
    };
    let number: f64 = number.trim().parse().map_err(|_| FlagError::Size)?;
    Ok(number * unit as f64)
}

/// The least memory that Docker lets a container have, in MiB.
pub(super) const LEAST_MEMORY_MIB: u32 = 6;

/// The size of /dev/shm in bytes. As with Docker, 0 means the default.
pub fn shm_size(text: &str) -> Result<u64, FlagError> {
    if size(text)? == 0.0 { Ok(0) } else { bytes(text) }
}

/// Processor time, in thousandths of one processor: `quota` of each `period`, both in microseconds. 0 stands for Docker's
/// period, and for no limit.
pub fn quota(period: Option<i64>, quota: Option<i64>) -> Result<Option<u32>, FlagError> {
    let period = period.filter(|period| *period != 0).unwrap_or(100_000);
    if !(1_000..=1_000_000).contains(&period) {
        return Err(FlagError::CpuPeriod);
    }
    match quota.unwrap_or(0) {
        0 | -1 => Ok(None),
        quota if quota >= 1_000 => {
            let thousandths = quota.checked_mul(1_000).map(|quota| quota / period);
            let most = i64::from(MAX_VCPUS) * 1_000;
            let within = thousandths.filter(|thousandths| (10..=most).contains(thousandths));
            within
                .and_then(|thousandths| u32::try_from(thousandths).ok())
                .map(Some)
                .ok_or(FlagError::CpuQuota)
        }
        _ => Err(FlagError::CpuQuota),
    }
}

/// A size in whole bytes, at least one.
pub fn bytes(text: &str) -> Result<u64, FlagError> {
    let bytes = size(text)?;
    // Beyond 2^53 a float skips numbers.
    if (1.0..=9.0e15).contains(&bytes) { Ok(bytes as u64) } else { Err(FlagError::NoByte) }
}

/// The memory of a virtual machine, in MiB. As with Docker, 0 means the default. What Docker takes and a virtual machine
/// cannot run in stands for the least that it can.
pub fn memory(text: &str) -> Result<u32, FlagError> {
    let mib = (size(text)? / f64::from(1u32 << 20)).ceil();
    if mib == 0.0 {
        return Ok(0);
    }
    if !(f64::from(LEAST_MEMORY_MIB)..=f64::from(MAX_MEMORY_MIB)).contains(&mib) {
        return Err(FlagError::Memory);
    }
    Ok((mib as u32).max(MIN_MEMORY_MIB))
}

/// Processor time, in thousandths of one processor. As with Docker, 0 means no limit.
pub fn cpus(text: &str) -> Result<u32, FlagError> {
    let number: f64 = text.parse().map_err(|_| FlagError::Cpus)?;
    if number != 0.0 && !(0.01..=f64::from(MAX_VCPUS)).contains(&number) {
        return Err(FlagError::Cpus);
    }
    Ok((number * 1000.0).round() as u32)
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
            ("6m", MIN_MEMORY_MIB),
        ] {
            assert_eq!(memory(text), Ok(mib), "{text}");
        }
        for text in ["", "m", "1m", "-1g", "nan", "9999999g", "12x"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_quota_is_processor_time() {
        assert_eq!(quota(None, Some(50_000)), Ok(Some(500)));
        assert_eq!(quota(Some(50_000), Some(75_000)), Ok(Some(1_500)));
        assert_eq!(quota(Some(0), Some(0)), Ok(None));
        assert_eq!((quota(Some(50_000), None), quota(None, Some(-1))), (Ok(None), Ok(None)));
        assert_eq!(quota(Some(999), Some(50_000)), Err(FlagError::CpuPeriod));
        for wrong in [-2, 1, 999, i64::MAX] {
            assert_eq!(quota(None, Some(wrong)), Err(FlagError::CpuQuota), "{wrong}");
        }
        assert_eq!((shm_size("0"), shm_size("1m")), (Ok(0), Ok(1 << 20)));
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
}
