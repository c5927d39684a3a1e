//! How fast bytes have to come, so that no server keeps a pull busy with next to nothing.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The least that must come in a second, on average over the time that a registry may say nothing, in bytes.
const LEAST_RATE: u64 = 1 << 10;

/// What has come, and since when.
#[derive(Debug)]
pub(super) struct Pace {
    patience: Duration,
    since: Instant,
    came: u64,
}

impl Pace {
    /// Begins to measure. `patience` is how long nothing may come.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, since: Instant::now(), came: 0 }
    }

    /// Counts what has come.
    ///
    /// # Errors
    /// When it is too little.
    pub(super) fn count(&mut self, bytes: usize) -> io::Result<()> {
        self.came += bytes as u64;
        let elapsed = self.since.elapsed();
        if elapsed < self.patience {
            return Ok(());
        }
        let (came, seconds) = (self.came, elapsed.as_secs());
        if came < LEAST_RATE * seconds {
            let reason = format!("the registry sent {came} bytes in {seconds} seconds, which is too slow");
            return Err(io::Error::other(reason));
        }
        *self = Self::new(self.patience);
        Ok(())
    }

    /// Leaves out some time, in which what came was measured elsewhere.
    pub(super) fn leave_out(&mut self, time: Duration) {
        self.since += time;
    }
}

/// Bytes that must come fast enough.
#[derive(Debug)]
pub(super) struct Paced<R> {
    bytes: R,
    pace: Pace,
}

impl<R> Paced<R> {
    /// Begins to read `bytes`. `patience` is how long nothing may come.
    pub(super) fn new(bytes: R, patience: Duration) -> Self {
        Self { bytes, pace: Pace::new(patience) }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        self.pace.count(n)?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte now and then.
    struct Trickle;

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(100));
            buffer[0] = 0;
            Ok(1)
        }
    }

    #[test]
    fn who_trickles_is_left() {
        let begun = Instant::now();
        let error = io::copy(&mut Paced::new(Trickle, Duration::from_secs(1)), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("too slow"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_comes_in_time_is_taken() {
        let bytes = vec![0; 100_000];
        let mut paced = Paced::new(&bytes[..], Duration::ZERO);
        assert_eq!(io::copy(&mut paced, &mut io::sink()).unwrap(), 100_000);
        let mut pace = Pace::new(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(1100));
        pace.leave_out(Duration::from_secs(1));
        pace.count(1).unwrap();
    }
}
