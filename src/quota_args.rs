//! `--cpu-period` and `--cpu-quota`, the older way to say `--cpus`.

use moat_docker::parse::{self, FlagError};

/// Processor time as a part of a period.
#[derive(clap::Args)]
pub struct QuotaArgs {
    /// Microseconds that --cpu-quota is a part of [default: 100000]
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "cpus")]
    cpu_period: Option<i64>,
    /// Processor time in each period, in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "cpus")]
    cpu_quota: Option<i64>,
}

impl QuotaArgs {
    /// Thousandths of a processor; none for no limit.
    ///
    /// # Errors
    /// When period or quota are out of bounds.
    pub fn milli_cpus(&self) -> Result<Option<u32>, FlagError> {
        parse::quota(self.cpu_period, self.cpu_quota)
    }
}
