//! How fast a device may be: token buckets, and the alarm for when there are tokens again.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::timerfd::TimerFd;

use crate::syscalls::{Allowed, any, is, only};
use crate::virtio::worker::Events;

/// A token bucket: on average `per_second` units, and after a pause up to `burst` at once. The field that has the limit says
/// whether a unit is a byte or an operation. One operation is never cut in two: a large one passes, and the next waits for
/// what it took too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Units in a second, from 1.
    pub per_second: u64,
    /// Units that may be saved up, from 1.
    pub burst: u64,
}

/// No wait is shorter: a timer for each frame would cost more than the frame.
const TICK: Duration = Duration::from_millis(1);

/// Levels are kept in these parts of a token, so that a nanosecond brings a whole number of them.
const PARTS: i128 = 1_000_000_000;

/// A token bucket that can be overdrawn: what passes is never cut, and the next has to wait for longer.
#[derive(Debug)]
struct Bucket {
    /// Tokens a second, which is parts a nanosecond.
    per_second: i128,
    /// The most parts there can be.
    full: i128,
    level: i128,
    /// When `level` was right.
    at: Instant,
}

impl Bucket {
    fn new(limit: RateLimit, now: Instant) -> Self {
        // A burst that is used up within a tick would make that the rate.
        let burst = limit.burst.max(limit.per_second / 500).max(1);
        let full = i128::from(burst) * PARTS;
        Self { per_second: limit.per_second.max(1).into(), full, level: full, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        self.at = now;
        // Both factors are below 2^64, or close to it: more than 500 years of nanoseconds would be too many.
        let gained = i128::try_from(passed).unwrap_or(i128::MAX).saturating_mul(self.per_second);
        self.level = self.level.saturating_add(gained).min(self.full);
    }

    /// How long until something may pass; `None` is now.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        if self.level > 0 {
            return None;
        }
        let nanoseconds = -self.level / self.per_second + 1;
        Some(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)).max(TICK))
    }

    fn take(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(i128::from(tokens) * PARTS);
    }
}

/// What has to be passed in one direction: a bucket of bytes, a bucket of operations, or neither.
#[derive(Debug, Default)]
pub struct Gate {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

impl Gate {
    /// A gate with full buckets.
    pub fn new(bytes: Option<RateLimit>, operations: Option<RateLimit>) -> Self {
        let bucket = |limit: Option<RateLimit>| limit.map(|limit| Bucket::new(limit, Instant::now()));
        Self { bytes: bucket(bytes), operations: bucket(operations) }
    }

    /// Whether there is nothing to pass.
    pub fn is_open_for_good(&self) -> bool {
        self.bytes.is_none() && self.operations.is_none()
    }

    /// How long until something may pass; `None` is now.
    pub fn wait(&mut self) -> Option<Duration> {
        if self.is_open_for_good() {
            return None;
        }
        let now = Instant::now();
        let wait = |bucket: &mut Option<Bucket>| bucket.as_mut().and_then(|bucket| bucket.wait(now));
        wait(&mut self.bytes).max(wait(&mut self.operations))
    }

    /// One operation of so many bytes passes.
    pub fn pass(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes);
        }
        if let Some(bucket) = &mut self.operations {
            bucket.take(1);
        }
    }
}

/// What an [`Alarm`] asks of the kernel, on the thread of its worker.
pub const ALARM_CALLS: &[Allowed] = &[
    only(
        libc::SYS_timerfd_create,
        &[is(0, libc::CLOCK_MONOTONIC), is(1, libc::TFD_CLOEXEC)],
        "waiting for tokens",
    ),
    any(libc::SYS_timerfd_settime, "setting that"),
];

/// A timer among a worker's events.
pub struct Alarm {
    timer: TimerFd,
    due: Option<Instant>,
}

impl Alarm {
    /// A silent one, whose events have `token`.
    ///
    /// # Errors
    /// When there is no timer to be had.
    pub fn new(events: &Events, token: u64) -> io::Result<Self> {
        let timer = TimerFd::new()?;
        // SAFETY: the descriptor is that of `timer`, which outlives the borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(timer.as_raw_fd()) };
        // Edge-triggered: the timer tells once each time it goes off, and need not be read.
        events.add(fd, token, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        Ok(Self { timer, due: None })
    }

    /// Goes off after `wait`, or earlier if it was to go off earlier.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set(&mut self, wait: Duration) -> io::Result<()> {
        let due = Instant::now() + wait.min(Duration::from_secs(3600));
        if self.due.is_none_or(|earlier| due < earlier) {
            self.timer.reset(wait.min(Duration::from_secs(3600)), None)?;
            self.due = Some(due);
        }
        Ok(())
    }

    /// It went off.
    pub fn rang(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(per_second: u64, burst: u64) -> RateLimit {
        RateLimit { per_second, burst }
    }

    #[test]
    fn a_burst_passes_and_what_follows_waits_for_what_was_too_much() {
        let start = Instant::now();
        let mut bucket = Bucket::new(limit(1000, 100), start);
        bucket.take(99);
        assert_eq!(bucket.wait(start), None);
        bucket.take(501);
        let wait = bucket.wait(start).unwrap();
        assert!((500..=501).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(bucket.wait(start + wait), None);
        // A long pause saves no more than the burst up.
        let later = start + Duration::from_secs(3600);
        assert_eq!(bucket.wait(later), None);
        bucket.take(100);
        assert!(bucket.wait(later).is_some());
    }

    #[test]
    fn extremes_neither_overflow_nor_pass_for_ever() {
        let start = Instant::now();
        for limit in [limit(u64::MAX, u64::MAX), limit(1, 1), limit(0, 0), limit(u64::MAX, 0)] {
            let mut bucket = Bucket::new(limit, start);
            for _ in 0..3 {
                bucket.take(u64::MAX);
            }
            assert!(bucket.wait(start).is_some());
            bucket.wait(start + Duration::from_secs(1 << 33));
        }
    }

    proptest! {
        /// A device that waits as long as told gets the rate, and never more than the rate and the burst.
        #[test]
        fn the_rate_holds(per_second in 1u64..1_000_000_000, burst in 1u64..100_000, sizes in prop::collection::vec(1u64..70_000, 1..200)) {
            let start = Instant::now();
            let (mut now, mut bucket) = (start, Bucket::new(limit(per_second, burst), start));
            let mut total = 0;
            for size in &sizes {
                while let Some(wait) = bucket.wait(now) {
                    now += wait;
                }
                bucket.take(*size);
                total += size;
            }
            let allowed = (now - start).as_secs_f64() * per_second as f64 + burst.max(per_second / 500) as f64;
            let last = *sizes.last().unwrap();
            prop_assert!((total - last) as f64 <= allowed * 1.000_001 + 1.0, "{total} in {:?}", now - start);
        }
    }
}
