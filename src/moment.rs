//! Moments of flags, read against this host's clock and time zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat_docker::moment::{self, MomentError};

/// Reads the value of `--since` or `--until`.
pub fn parse_moment(text: &str) -> Result<Timestamp, MomentError> {
    moment::parse(text, Timestamp::now(), &TimeZone::system())
}
