//! Lines on standard error. Lines that a guest can cause go through [`guest`], which limits their number.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lines that guests may cause per [`WINDOW`]; enough to see what is wrong with a broken driver.
const LINES_PER_WINDOW: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

struct Limiter {
    window: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

static GUEST: Mutex<Limiter> = Mutex::new(Limiter { window: None, lines: 0, suppressed: 0 });

impl Limiter {
    /// Whether a line may be written at `now`; with it, how many were not since the last one.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.window.is_none_or(|start| now.duration_since(start) >= WINDOW) {
            self.window = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES_PER_WINDOW {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Writes a line that the guest caused, unless it caused too many lately.
pub fn guest(line: fmt::Arguments<'_>) {
    let admitted = GUEST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).admit(Instant::now());
    match admitted {
        Some(0) => write(line),
        Some(suppressed) => write(format_args!("{line} ({suppressed} similar lines left out)")),
        None => {}
    }
}

/// Writes a line that the guest has no hand in.
pub fn host(line: fmt::Arguments<'_>) {
    write(line);
}

fn write(line: fmt::Arguments<'_>) {
    use std::io::Write;
    // Not eprintln: that panics when standard error is closed.
    let _ = writeln!(std::io::stderr(), "moat-vmm: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut limiter = Limiter { window: None, lines: 0, suppressed: 0 };
        let start = Instant::now();
        let admitted = (0..1000).filter(|_| limiter.admit(start).is_some()).count();
        assert_eq!(admitted, LINES_PER_WINDOW as usize);
        assert_eq!(limiter.admit(start + WINDOW), Some(1000 - u64::from(LINES_PER_WINDOW)));
    }
}
