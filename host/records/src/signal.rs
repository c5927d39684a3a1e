//! Signals by name and number, as `kill`, STOPSIGNAL and `--stop-signal` take them.

use nix::sys::signal::Signal;

/// The first and last real-time signals that programs use; glibc keeps 32 and 33 to itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// SIGTERM, which ends a container that names no signal of its own.
pub const TERM: i32 = 15;

/// SIGKILL.
pub const KILL: i32 = 9;

/// Reads a signal: `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`. Nothing when it is not a signal.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let real_time = |base: i32, offset: &str| -> Option<i32> {
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
        base.checked_add(offset).filter(|number| (RTMIN..=RTMAX).contains(number))
    };
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(RTMIN, offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(RTMAX, offset);
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)
}

/// The name of a signal, such as `SIGTERM`; a number for one that has none.
pub fn name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) if number == RTMIN => "SIGRTMIN".to_owned(),
        Err(_) if (RTMIN..=RTMAX).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        Err(_) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{name, parse};

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigquit", 3),
            ("9", 9),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "NOPE", "RTMIN-1", "RTMAX+1", "RTMIN+x", "SIG"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for number in 1..=64 {
            let text = name(number);
            assert_eq!(parse(&text), Some(number), "{text}");
        }
    }
}
