//! What `run` and `create` let the user say about how fast a new container's disks and network may be.

use std::num::NonZeroU64;

use moat::engine::config::Rates;
use moat_vmm::config::{DiskLimits, RateLimit};

/// The flags, Docker's where it has them.
#[derive(clap::Args)]
pub struct RateArgs {
    /// Bytes a second that its network cards may each send, and as many receive, such as 10m
    #[arg(long, value_name = "RATE", value_parser = bytes)]
    network_rate: Option<RateLimit>,
    /// Bytes a second that it may read from its disks: /dev/vda is the image, /dev/vdb what it writes, and without a name
    /// it is each of them
    #[arg(long, value_name = "[DEVICE:]RATE", value_parser = bytes_of)]
    device_read_bps: Vec<DiskRate>,
    /// Bytes a second that it may write to its disk
    #[arg(long, value_name = "[DEVICE:]RATE", value_parser = bytes_of)]
    device_write_bps: Vec<DiskRate>,
    /// Requests a second that it may make to read from its disks
    #[arg(long, value_name = "[DEVICE:]RATE", value_parser = operations_of)]
    device_read_iops: Vec<DiskRate>,
    /// Requests a second that it may make to write to its disk
    #[arg(long, value_name = "[DEVICE:]RATE", value_parser = operations_of)]
    device_write_iops: Vec<DiskRate>,
}

/// A rate, and the disk that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DiskRate {
    image: bool,
    writable: bool,
    limit: RateLimit,
}

/// One of a disk's limits.
type Field = fn(&mut DiskLimits) -> &mut Option<RateLimit>;

impl RateArgs {
    /// What the container is to have.
    pub fn rates(self) -> Rates {
        let mut rates = Rates { network: self.network_rate, ..Rates::default() };
        let fields: [(Vec<DiskRate>, Field); 4] = [
            (self.device_read_bps, |disk| &mut disk.read_bytes),
            (self.device_write_bps, |disk| &mut disk.write_bytes),
            (self.device_read_iops, |disk| &mut disk.read_operations),
            (self.device_write_iops, |disk| &mut disk.write_operations),
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

/// What is saved up in a tenth of a second may pass at once.
fn limit(per_second: u64) -> RateLimit {
    RateLimit { per_second, burst: (per_second / 10).max(1) }
}

fn bytes(text: &str) -> Result<RateLimit, String> {
    let problem = |_| "a rate is bytes a second: a number with a unit, such as 512k or 10m".to_owned();
    super::parse::bytes(text).map(limit).map_err(problem)
}

fn operations(text: &str) -> Result<RateLimit, String> {
    let problem = |_| "a rate is requests a second: a number from 1".to_owned();
    text.parse::<NonZeroU64>().map(|number| limit(number.get())).map_err(problem)
}

fn bytes_of(text: &str) -> Result<DiskRate, String> {
    disk_rate(text, bytes)
}

fn operations_of(text: &str) -> Result<DiskRate, String> {
    disk_rate(text, operations)
}

fn disk_rate(text: &str, limit: fn(&str) -> Result<RateLimit, String>) -> Result<DiskRate, String> {
    let (image, writable, rate) = match text.split_once(':') {
        None => (true, true, text),
        Some(("/dev/vda", rate)) => (true, false, rate),
        Some(("/dev/vdb", rate)) => (false, true, rate),
        Some((other, _)) => {
            return Err(format!(
                "a container has no disk {other}: its image is /dev/vda, and what it writes is on /dev/vdb"
            ));
        }
    };
    Ok(DiskRate { image, writable, limit: limit(rate)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        rates: RateArgs,
    }

    fn parse(words: &str) -> Result<Rates, String> {
        let line = Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace()));
        Ok(line.map_err(|e| e.to_string())?.rates.rates())
    }

    #[test]
    fn rates_are_for_one_disk_or_each() {
        assert_eq!(parse("").unwrap(), Rates::default());
        let rates = parse(
            "--network-rate 10m --device-read-bps 1m --device-read-bps /dev/vdb:2m --device-write-iops /dev/vdb:50",
        )
        .unwrap();
        let limit = |per_second, burst| Some(RateLimit { per_second, burst });
        assert_eq!(rates.network, limit(10 << 20, 1 << 20));
        assert_eq!(
            (rates.image.read_bytes, rates.writable.read_bytes),
            (limit(1 << 20, 104_857), limit(2 << 20, 209_715))
        );
        assert_eq!((rates.image.write_operations, rates.writable.write_operations), (None, limit(50, 5)));
    }

    #[test]
    fn what_is_no_rate_says_so() {
        for (words, why) in [
            ("--network-rate 0", "bytes a second"),
            ("--network-rate fast", "bytes a second"),
            ("--device-read-bps /dev/sda:1m", "no disk /dev/sda"),
            ("--device-write-iops 0", "requests a second"),
            ("--device-write-iops 1m", "requests a second"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(why), "{words}: {error}");
        }
    }
}
