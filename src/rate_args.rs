//! The flags of `run` and `create` about how fast a new container's disks and network may be.

use moat_docker::parse::rate::{DiskRate, RateFlags, bytes, bytes_of, operations_of};
use moat_engine::config::{RateLimit, Rates};

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

impl RateArgs {
    /// What the container is to have.
    pub fn rates(self) -> Rates {
        let flags = RateFlags {
            network: self.network_rate,
            read_bytes: self.device_read_bps,
            write_bytes: self.device_write_bps,
            read_operations: self.device_read_iops,
            write_operations: self.device_write_iops,
        };
        flags.rates()
    }
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
