//! Numbers and times as tar archives write them.

use crate::error::Problem;

/// A point in time; `nanoseconds` always counts forward, so one nanosecond before 1970 is second -1 and
/// 999,999,999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// Below one billion.
    pub nanoseconds: u32,
}

/// A numeric header field.
pub fn field(bytes: &[u8], name: &'static str) -> Result<i64, Problem> {
    moat_tar_header::number(bytes).and_then(|value| i64::try_from(value).ok()).ok_or(Problem::Number(name))
}

/// Like [`field`], for what cannot be negative.
pub fn unsigned(bytes: &[u8], name: &'static str) -> Result<u64, Problem> {
    u64::try_from(field(bytes, name)?).map_err(|_| Problem::Number(name))
}

/// A decimal number of a PAX record, possibly negative.
pub fn decimal(text: &[u8]) -> Option<i64> {
    // `parse` would also take a plus sign; so does Go, and nothing is lost by it.
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A time of a PAX record: seconds with any number of decimals, of which nine count.
pub fn time(text: &[u8]) -> Option<Time> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    if whole.first() == Some(&b'-') && nanoseconds > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields() {
        for (bytes, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"    17 \0", Some(0o17)),
            (b"        ", Some(0)),
            (b"\0\0\0\0", Some(0)),
            (b"77777777777", Some(0o77_777_777_777)),
            (b"12\0junk", Some(0o12)),
            (b"12 4", None),
            (b"8", None),
            (b"-1", None),
        ] {
            assert_eq!(field(bytes, "x").ok(), value, "{bytes:?}");
        }
    }

    #[test]
    fn base_256_fields() {
        for (bytes, value) in [
            (&[0x80, 0, 0, 0, 0, 0, 0, 5][..], Some(5)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(-1)),
            (&[0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Some(i64::MIN)),
            (&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(i64::MAX)),
            (&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ] {
            assert_eq!(field(bytes, "x").ok(), value, "{bytes:?}");
        }
    }

    #[test]
    fn pax_times() {
        for (text, value) in [
            ("0", Some((0, 0))),
            ("1600000000.123456789123", Some((1_600_000_000, 123_456_789))),
            ("1.5", Some((1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("-3", Some((-3, 0))),
            ("", None),
            (".5", None),
            ("1.x", None),
            ("1e9", None),
            ("99999999999999999999", None),
        ] {
            let value = value.map(|(seconds, nanoseconds)| Time { seconds, nanoseconds });
            assert_eq!(time(text.as_bytes()), value, "{text}");
        }
    }
}
