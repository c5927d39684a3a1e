//! How fast disks and network cards may be.

use std::num::NonZeroU64;

use moat_containers::config::{DiskLimits, RateLimit, Rates};

use super::FlagError;

/// A rate, and the disks that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRate {
    image: bool,
    writable: bool,
    limit: RateLimit,
}

/// The values of the flags, in the order of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateFlags {
    /// `--network-rate`
    pub network: Option<RateLimit>,
    /// `--device-read-bps`
    pub read_bytes: Vec<DiskRate>,
    /// `--device-write-bps`
    pub write_bytes: Vec<DiskRate>,
    /// `--device-read-iops`
    pub read_operations: Vec<DiskRate>,
    /// `--device-write-iops`
    pub write_operations: Vec<DiskRate>,
}

/// One of a disk's limits.
type Field = fn(&mut DiskLimits) -> &mut Option<RateLimit>;

impl RateFlags {
    /// The rates that the flags set. The last flag about a disk wins.
    pub fn rates(self) -> Rates {
        let mut rates = Rates { network: self.network, ..Rates::default() };
        let fields: [(Vec<DiskRate>, Field); 4] = [
            (self.read_bytes, |disk| &mut disk.read_bytes),
            (self.write_bytes, |disk| &mut disk.write_bytes),
            (self.read_operations, |disk| &mut disk.read_operations),
            (self.write_operations, |disk| &mut disk.write_operations),
        ];
        for (wanted, field) in fields {
            for DiskRate { image, writable, limit } in wanted {
                if image {
                    *field(&mut rates.image) = Some(limit);
                }
                if writable {
                    *field(&mut rates.writable) = Some(limit);
                }
            }
        }
        rates
    }
}

/// The limit of a rate. The burst is a tenth of a second's worth.
fn limit(per_second: u64) -> RateLimit {
    RateLimit { per_second, burst: (per_second / 10).max(1) }
}

/// Bytes a second, such as `10m`.
pub fn bytes(text: &str) -> Result<RateLimit, FlagError> {
    super::bytes(text).map(limit).map_err(|_| FlagError::ByteRate)
}

fn operations(text: &str) -> Result<RateLimit, FlagError> {
    text.parse::<NonZeroU64>().map(|number| limit(number.get())).map_err(|_| FlagError::OperationRate)
}

/// `[DEVICE:]RATE` in bytes a second.
pub fn bytes_of(text: &str) -> Result<DiskRate, FlagError> {
    disk_rate(text, bytes)
}

/// `[DEVICE:]RATE` in requests a second.
pub fn operations_of(text: &str) -> Result<DiskRate, FlagError> {
    disk_rate(text, operations)
}

fn disk_rate(text: &str, limit: fn(&str) -> Result<RateLimit, FlagError>) -> Result<DiskRate, FlagError> {
    let (image, writable, rate) = match text.split_once(':') {
        None => (true, true, text),
        Some(("/dev/vda", rate)) => (true, false, rate),
        Some(("/dev/vdb", rate)) => (false, true, rate),
        Some((other, _)) => return Err(FlagError::Disk(other.to_owned())),
    };
    Ok(DiskRate { image, writable, limit: limit(rate)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_for_one_disk_or_each() {
        let flags = RateFlags {
            network: Some(bytes("10m").unwrap()),
            read_bytes: vec![bytes_of("1m").unwrap(), bytes_of("/dev/vdb:2m").unwrap()],
            write_operations: vec![operations_of("/dev/vdb:50").unwrap()],
            ..RateFlags::default()
        };
        let rates = flags.rates();
        let limit = |per_second, burst| Some(RateLimit { per_second, burst });
        assert_eq!(rates.network, limit(10 << 20, 1 << 20));
        assert_eq!(rates.image.read_bytes, limit(1 << 20, 104_857));
        assert_eq!(rates.writable.read_bytes, limit(2 << 20, 209_715));
        assert_eq!((rates.image.write_operations, rates.writable.write_operations), (None, limit(50, 5)));
        assert_eq!(RateFlags::default().rates(), Rates::default());
    }

    #[test]
    fn what_is_no_rate_says_so() {
        assert_eq!(bytes("0"), Err(FlagError::ByteRate));
        assert_eq!(bytes_of("fast"), Err(FlagError::ByteRate));
        assert_eq!(bytes_of("/dev/sda:1m"), Err(FlagError::Disk("/dev/sda".to_owned())));
        assert_eq!(operations_of("0"), Err(FlagError::OperationRate));
        assert_eq!(operations_of("1m"), Err(FlagError::OperationRate));
    }
}
