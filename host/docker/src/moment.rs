//! Moments as `--since` and `--until` take them, and as Docker prints them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use thiserror::Error;

use crate::parse::duration as parse_duration;

/// The text is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a moment is a time like 2026-01-02T15:04:05Z, a date, seconds since 1970, or how long ago: 10m, 1h30m"
)]
pub struct MomentError;

/// Reads a moment: `2026-01-02T15:04:05Z`, the same without a zone (which means `zone`) or without a time, seconds
/// since 1970 with or without a fraction, or a duration before `now` such as `10m`.
///
/// # Errors
/// When the text has none of these forms.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, MomentError> {
    read(text, now, zone).ok_or(MomentError)
}

fn read(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    if text.contains('-') && text.starts_with(|c: char| c.is_ascii_digit()) {
        let utc = TimeZone::UTC;
        let (civil, zone) = text.strip_suffix('Z').map_or((text, zone), |text| (text, &utc));
        let civil = match civil.contains('T') {
            true => civil.parse::<DateTime>().ok()?,
            false => civil.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight()),
        };
        return zone.to_timestamp(civil).ok();
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(seconds) && digits(fraction) && fraction.len() <= 9 {
        return Timestamp::new(seconds.parse().ok()?, format!("{fraction:0<9}").parse().ok()?).ok();
    }
    let duration = |text: &str| parse_duration(text).ok().and_then(|ago| SignedDuration::try_from(ago).ok());
    match text.strip_prefix('-') {
        Some(ahead) => now.checked_add(duration(ahead)?).ok(),
        None => now.checked_sub(duration(text)?).ok(),
    }
}

/// A time as Go prints it: `2026-01-02 15:04:05 +0100 CET`.
pub fn go(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%F %T %z %Z").to_string()
}

/// A time as RFC 3339 with nine digits: `2026-01-02T15:04:05.000000000+01:00`.
pub fn nanoseconds(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    let text = zoned.strftime("%FT%T.%9f%:z").to_string();
    // Go writes UTC as a letter and every other zone as numbers.
    if zoned.offset().is_zero() { text.replace("+00:00", "Z") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_every_form() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (text, expected) in [
            ("2026-01-02T15:04:05Z", "2026-01-02T15:04:05Z"),
            ("2026-01-02T15:04:05.5+02:00", "2026-01-02T13:04:05.5Z"),
            ("2026-01-02T15:04:05", "2026-01-02T14:04:05Z"),
            ("2026-01-02T15:04", "2026-01-02T14:04:00Z"),
            ("2026-01-02", "2026-01-01T23:00:00Z"),
            ("2026-01-02Z", "2026-01-02T00:00:00Z"),
            ("1136073845", "2006-01-01T00:04:05Z"),
            ("1136073845.000000001", "2006-01-01T00:04:05.000000001Z"),
            ("1136073845.5", "2006-01-01T00:04:05.5Z"),
            ("10m", "2026-01-02T11:50:00Z"),
            ("1h30m", "2026-01-02T10:30:00Z"),
            ("-1h", "2026-01-02T13:00:00Z"),
            ("0", "1970-01-01T00:00:00Z"),
        ] {
            let read = parse(text, now, &zone).map(|moment| moment.to_string());
            assert_eq!(read.as_deref(), Ok(expected), "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "10", "1.", "--1h", "9999999999999999999h"] {
            let read = parse(bad, now, &zone);
            assert!(read.is_err() || bad == "10", "{bad}: {read:?}");
        }
        assert!(parse("tomorrow", now, &zone).unwrap_err().to_string().contains("10m"));
    }

    #[test]
    fn moments_are_printed_as_go_does() {
        let time: Timestamp = "2026-01-02T14:04:05.1Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(go(time, &TimeZone::UTC), "2026-01-02 14:04:05 +0000 UTC");
        assert_eq!(nanoseconds(time, &zone), "2026-01-02T15:04:05.100000000+01:00");
        assert_eq!(nanoseconds(time, &TimeZone::UTC), "2026-01-02T14:04:05.100000000Z");
    }
}
