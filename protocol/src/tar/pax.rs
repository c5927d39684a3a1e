//! PAX records: `LENGTH KEY=VALUE` and a line feed, where the length is that of the whole record.

/// What the key of an extended attribute starts with.
pub const XATTR: &[u8] = b"SCHILY.xattr.";

/// Appends a record.
pub fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, an equals sign and a line feed.
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    // The length counts its own digits.
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} ").bytes());
    records.extend([key, b"=", value, b"\n"].concat());
}

/// Writes a time as records have it: seconds, and a fraction if there is one.
pub fn time((seconds, nanoseconds): (i64, u32)) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    // Nanoseconds count upwards, the fraction of a negative number downwards.
    let (sign, whole, fraction) = if seconds < 0 {
        ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds)
    } else {
        ("", seconds.unsigned_abs(), nanoseconds)
    };
    format!("{sign}{whole}.{fraction:09}")
}

/// Reads such a time; digits beyond nanoseconds are cut.
pub fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = if whole == "-" { 0 } else { whole.parse().ok()? };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: u32 = format!("{:0<9.9}", fraction).parse().ok()?;
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

/// Splits records into keys and values. Nothing where a record is damaged.
pub fn parse(mut records: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !records.is_empty() {
        let blank = records.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
        let record = records.get(blank + 1..length)?;
        records = &records[length..];
        let record = record.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        found.push((&record[..equals], &record[equals + 1..]));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for length in [1, 80, 90, 91, 92, 93, 94, 95, 985, 990, 9_980, 9_990, 70_000] {
            let mut records = Vec::new();
            push(&mut records, b"path", &vec![b'x'; length]);
            push(&mut records, b"SCHILY.xattr.user.a", b"with = and \n and \0");
            let parsed = parse(&records).unwrap();
            assert_eq!(parsed[0], (&b"path"[..], &vec![b'x'; length][..]));
            assert_eq!(parsed[1].1, b"with = and \n and \0");
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"6 a=b\nx",
            b"0 a=b\n",
            b"2 \n",
            b"6 aab\n",
            b"-6 a=b\n",
            b"99999999999999999999999 a=b\n",
            b" a=b\n",
            b"6  a=b\n",
            b"18446744073709551615 a=b\n",
        ] {
            assert_eq!(parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times_survive() {
        for moment in [(0, 0), (1, 5), (1_700_000_000, 999_999_999), (-1, 0), (-1, 500_000_000), (-2, 1)] {
            assert_eq!(parse_time(time(moment).as_bytes()), Some(moment), "{}", time(moment));
        }
        assert_eq!(parse_time(b"12.3456789012345"), Some((12, 345_678_901)));
        assert_eq!(parse_time(b"-0.5"), Some((-1, 500_000_000)));
        for bad in [&b""[..], b".", b"1.x", b"x", b"1e3", b"99999999999999999999", b"1.-5"] {
            assert_eq!(parse_time(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
