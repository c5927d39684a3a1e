//! Durations, which JSON has as numbers of nanoseconds and Go prints with units.

use serde_json::{Value, json};

/// The one key of the object that stands for a duration while templates look at it. Fields have no such names.
const KEY: &str = "duration()";

/// The value of a duration field in a template: printed it has units, in JSON and in comparisons it is a number.
/// What is not a number of nanoseconds stays as it is.
pub fn mark(nanoseconds: Value) -> Value {
    if nanoseconds.is_i64() || nanoseconds.is_u64() { json!({ KEY: nanoseconds }) } else { nanoseconds }
}

/// The number of nanoseconds, if the value is a marked duration.
pub(super) fn number(value: &Value) -> Option<&Value> {
    value.as_object().filter(|object| object.len() == 1)?.get(KEY)
}

/// A duration as Go's `Duration.String` prints it: `1m30s`, `1.5s`, `100ms`, `0s`.
pub(super) fn text(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let below_second = |unit: u64, name: &str| format!("{sign}{}{name}", fraction(all, unit));
    match all {
        0 => "0s".to_owned(),
        1..1_000 => below_second(1, "ns"),
        1_000..1_000_000 => below_second(1_000, "µs"),
        1_000_000..1_000_000_000 => below_second(1_000_000, "ms"),
        _ => {
            let (minutes, rest) = (all / 60_000_000_000, all % 60_000_000_000);
            let seconds = fraction(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `number / unit` without zeros at its end.
fn fraction(number: u64, unit: u64) -> String {
    let (whole, rest) = (number / unit, number % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let rest = format!("{rest:0digits$}");
    format!("{whole}.{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_go_does() {
        for (nanoseconds, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_000, "1µs"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (999_999_999, "999.999999ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (59_000_000_001, "59.000000001s"),
            (60_000_000_000, "1m0s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-5_400_000_000_000, "-1h30m0s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(text(nanoseconds), expected, "{nanoseconds}");
        }
    }
}
