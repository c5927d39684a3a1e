//! How many bytes have passed: a bar on a terminal, once the work takes a while.

use std::cell::Cell;
use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long work goes on in silence: most takes less.
const PATIENCE: Duration = Duration::from_secs(1);

/// The progress of one piece of work.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    bytes: Cell<u64>,
    /// Not shown yet, but to be shown.
    waiting: Cell<bool>,
}

impl Progress {
    /// Of work on `length` bytes, if that is known. `template` is how indicatif shows it.
    pub fn new(template: &str, length: Option<u64>, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        // A wrong template shows in the bar's looks, not in the work.
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let waiting = Cell::new(!quiet && io::stderr().is_terminal());
        Self { bar, start: Instant::now(), bytes: Cell::new(0), waiting }
    }

    /// So many more bytes have passed.
    pub fn add(&self, bytes: u64) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        self.bar.inc(bytes);
        self.appear();
    }

    /// What is being done now.
    pub fn tell(&self, what: String) {
        self.bar.set_message(what);
        self.appear();
    }

    /// Takes the bar away; the answer is how many bytes have passed.
    pub fn finish(&self) -> u64 {
        self.bar.finish_and_clear();
        self.bytes.get()
    }

    /// A reader whose bytes are counted.
    pub fn watch<R: Read>(&self, reader: R) -> impl Read {
        Watched { reader, progress: self }
    }

    fn appear(&self) {
        if self.waiting.get() && self.start.elapsed() > PATIENCE {
            self.waiting.set(false);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

struct Watched<'a, R> {
    reader: R,
    progress: &'a Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.progress.add(n as u64);
        Ok(n)
    }
}
