//! Durations as Go writes them.

use std::time::Duration;

use super::FlagError;

/// Numbers with units, such as `1m30s` or `500ms`.
pub fn duration(text: &str) -> Result<Duration, FlagError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or(FlagError::Duration)?;
        let number: f64 = rest[..digits].parse().map_err(|_| FlagError::Duration)?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(FlagError::Duration),
            };
        rest = &rest[unit..];
    }
    if text.is_empty() {
        return Err(FlagError::Duration);
    }
    Duration::try_from_secs_f64(total).map_err(|_| FlagError::Duration)
}

/// A duration of health checks. 0 means the default of the image or of Docker.
pub fn health_duration(text: &str) -> Result<Duration, FlagError> {
    let least = Duration::from_millis(1);
    match duration(text)? {
        duration if duration.is_zero() || duration >= least => Ok(duration),
        _ => Err(FlagError::ShortHealthDuration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in
            [("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("1.5h", 5_400_000), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "1x", "-1s", "1s1"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn checks_are_not_made_in_no_time() {
        for (text, micros) in [("0", 0), ("0s", 0), ("1ms", 1000), ("1.5s", 1_500_000)] {
            assert_eq!(health_duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["1ns", "999us", "0.5ms", "-1s", ""] {
            assert!(health_duration(text).is_err(), "{text}");
        }
    }
}
