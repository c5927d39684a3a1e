//! Numeric fields.

/// Reads a numeric field of a header; nothing where it holds no number.
///
/// - The field is octal, unless the top bit of its first byte is set. Spaces and NULs may stand before the digits. A NUL
///   behind them ends the field, and up to it there may be spaces. A field without digits is zero.
/// - With the top bit set the field is GNU's base-256: a big-endian number in two's complement, whose sign is the bit
///   after the top one.
///
/// No number of a header's field, which is 12 bytes long at most, is too large for the result.
pub fn number(field: &[u8]) -> Option<i128> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i128> {
    let is_fill = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_fill(byte)).unwrap_or(field.len());
    let (_, field) = field.split_at(start);
    let end = field.iter().position(is_fill).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if rest.iter().take_while(|byte| **byte != 0).any(|byte| *byte != b' ') {
        return None;
    }
    digits.iter().try_fold(0i128, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i128::from(byte - b'0')),
        _ => None,
    })
}

fn base_256(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let head = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    rest.iter().try_fold(head, |value, byte| value.checked_mul(256)?.checked_add(i128::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(cases: &[(&[u8], Option<i128>)]) {
        for (field, expected) in cases {
            assert_eq!(number(field), *expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn octal_numbers_stand_between_spaces_and_nuls() {
        check(&[
            (b"0000644\0", Some(0o644)),
            (b"00000000144 ", Some(0o144)),
            (b"0000644 \0", Some(0o644)),
            (b"    17 \0", Some(0o17)),
            (b"17", Some(0o17)),
            (b"777777777777", Some(0o777_777_777_777)),
            // A field before this one that was written one NUL too long.
            (b"\x00000644\0", Some(0o644)),
            (b" \0 \x000644", Some(0o644)),
        ]);
    }

    #[test]
    fn a_field_without_digits_is_zero() {
        check(&[(b"", Some(0)), (b"        ", Some(0)), (b"\0\0\0\0", Some(0)), (b" \0 \0", Some(0))]);
    }

    #[test]
    fn what_a_nul_has_ended_is_not_looked_at() {
        check(&[(b"12\0junk", Some(0o12)), (b"12  \0junk", Some(0o12)), (b"12\0 7 9", Some(0o12))]);
    }

    #[test]
    fn what_is_no_octal_number_is_none() {
        check(&[
            (b"12 4", None),
            (b"12 4\0", None),
            (b"1 2", None),
            (b"8", None),
            (b"129\0", None),
            (b"-1", None),
            (b"+1", None),
            (b"0x1f", None),
            (b"\t12\0", None),
            (b"12\n\0", None),
            (b"1\xb2\0", None),
            (b"junk\0", None),
        ]);
    }

    #[test]
    fn binary_numbers_have_a_sign() {
        check(&[
            (b"\x80\0\0\0\0\0\0\x05", Some(5)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(2 << 32)),
            (b"\x81\0\0\0\0\0\0\0", Some(1 << 56)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN.into())),
            (b"\xc0\0\0\0\0\0\0\0", Some(-(1 << 62))),
            (b"\x80", Some(0)),
        ]);
    }

    #[test]
    fn large_binary_numbers_are_told_apart() {
        check(&[
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX.into())),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", Some(u64::MAX.into())),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", Some(1 << 64)),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some((1 << 94) - 1)),
            (b"\xc0\0\0\0\0\0\0\0\0\0\0\0", Some(-(1 << 94))),
        ]);
    }

    #[test]
    fn what_no_header_can_hold_is_refused_without_overflow() {
        assert_eq!(number(&[b'7'; 64]), None);
        assert_eq!(number(&[0xbf; 64]), None);
        assert_eq!(number(&[0xc0; 64]), None);
        assert_eq!(number(&[0xff; 64]), Some(-1));
    }

    proptest! {
        #[test]
        fn written_numbers_are_read(value in 0u64..1 << 33, fill in 0usize..3) {
            let field = format!("{}{value:011o}\0", " ".repeat(fill));
            prop_assert_eq!(number(field.as_bytes()), Some(value.into()));
        }

        #[test]
        fn binary_numbers_are_read(value in any::<i64>()) {
            let mut field = if value < 0 { vec![0xff; 4] } else { vec![0x80, 0, 0, 0] };
            field.extend(value.to_be_bytes());
            prop_assert_eq!(number(&field), Some(value.into()));
        }

        #[test]
        fn every_field_of_a_header_is_read_or_refused(field in proptest::collection::vec(any::<u8>(), 0..=12)) {
            if let Some(value) = number(&field) {
                prop_assert!((-(1i128 << 94)..1 << 94).contains(&value));
            }
        }
    }
}
