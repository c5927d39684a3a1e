//! Times and sizes as Docker prints them for people.

/// Text that an image or a guest chose, fit for a terminal.
pub use moat_protocol::text::{harmless, harmless_lines};

use jiff::{SignedDuration, Timestamp};

/// A duration: "Less than a second", "5 minutes", "About an hour", "3 weeks".
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (duration.as_secs_f64() / 3600.0).round() as i64);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// The time since `then`: "5 minutes ago".
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", duration(now.duration_since(then)))
}

/// A size in powers of 1000 with three significant digits: "77.9MB".
pub fn size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
}

/// A size in powers of 1000 with four significant digits, as Docker prints reclaimed space: "12.34MB".
pub fn reclaimed(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 4)
}

/// A size of memory in powers of 1024 with four significant digits: "1.945GiB".
pub fn memory(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

/// A size with `digits` significant digits, without trailing zeros.
fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut at = 0;
    while value >= base && at + 1 < units.len() {
        value /= base;
        at += 1;
    }
    let whole = match value {
        v if v >= 1000.0 => 4,
        v if v >= 100.0 => 3,
        v if v >= 10.0 => 2,
        _ => 1,
    };
    let text = format!("{value:.precision$}", precision = digits.saturating_sub(whole));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}", unit = units[at])
}

/// At most `width` characters of `text`. The last one is an ellipsis if the text is cut.
pub fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_dockers() {
        let hour = 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (300, "5 minutes"),
            (hour, "About an hour"),
            (5 * hour, "5 hours"),
            (47 * hour, "47 hours"),
            (49 * hour, "2 days"),
            (24 * 15 * hour, "2 weeks"),
            (24 * 70 * hour, "2 months"),
            (24 * 800 * hour, "2 years"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn sizes_are_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_240_000, "1.24MB"),
            (77_900_000, "77.9MB"),
            (187_000_000, "187MB"),
            (1_500_000_000, "1.5GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(reclaimed(12_344_000), "12.34MB");
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1_048_000, "1023KiB"),
            (536_870_912, "512MiB"),
            (2_088_533_115, "1.945GiB"),
        ] {
            assert_eq!(memory(bytes), text);
        }
    }

    #[test]
    fn texts_are_shortened_and_defused() {
        assert_eq!(shorten("sh -c 'echo one'", 8), "sh -c '…");
        assert_eq!(shorten("short", 8), "short");
        assert_eq!(harmless("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
        let hostile =
            "\0\t\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2028}\u{2029}\u{2066}\u{2069}";
        assert_eq!(harmless(hostile), "\u{fffd}".repeat(14));
        assert_eq!(harmless("é \u{200d}\u{202f}漢"), "é \u{200d}\u{202f}漢");
    }
}
