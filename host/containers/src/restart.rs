//! Restart policies: whether and when a container that ended starts again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The first wait before a restart, Docker's; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A run that lasted this long was a success: the next wait is the first again.
const STEADY: Duration = Duration::from_secs(10);

/// When a container starts again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it ended with a code other than 0.
    OnFailure {
        /// How often at most; no number means that there is no limit.
        retries: Option<u32>,
    },
    /// Whenever it ended, unless a user stopped it; also after the host booted.
    Always,
    /// As `Always`, but a container that a user had stopped stays stopped when the host boots.
    UnlessStopped,
}

impl RestartPolicy {
    /// Docker's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// Whether a container starts again that ended by itself with `exit_code` and was restarted `restarts` times
    /// before.
    pub fn restarts_after(self, exit_code: u8, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { retries } => exit_code != 0 && retries.is_none_or(|most| restarts < most),
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Whether a container starts when the host has booted.
    pub fn starts_at_boot(self, stopped_by_user: bool) -> bool {
        match self {
            Self::No | Self::OnFailure { .. } => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped_by_user,
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::OnFailure { retries: Some(most) } => write!(f, ":{most}"),
            _ => Ok(()),
        }
    }
}

/// Not a restart policy.
#[derive(Debug, Error)]
#[error("a restart policy is no, always, unless-stopped, on-failure or on-failure:N")]
pub struct BadPolicy;

impl FromStr for RestartPolicy {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        let (name, count) = match text.split_once(':') {
            Some((name, count)) => (name, Some(count.parse::<u32>().map_err(|_| BadPolicy)?)),
            None => (text, None),
        };
        match (name, count) {
            ("no" | "", None) => Ok(Self::No),
            ("always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            // As with Docker, 0 is no limit.
            ("on-failure", count) => Ok(Self::OnFailure { retries: count.filter(|&most| most > 0) }),
            _ => Err(BadPolicy),
        }
    }
}

/// The waits between restarts, which grow as long as runs are short.
#[derive(Debug, Default)]
pub struct BackOff(Option<Duration>);

impl BackOff {
    /// How long to wait after a run that lasted `ran`.
    pub fn after(&mut self, ran: Duration) -> Duration {
        let wait = match self.0 {
            Some(last) if ran < STEADY => (last * 2).min(LONGEST_WAIT),
            _ => FIRST_WAIT,
        };
        self.0 = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_written() {
        for text in ["no", "always", "unless-stopped", "on-failure", "on-failure:3"] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        assert_eq!("on-failure:0".parse::<RestartPolicy>().unwrap().to_string(), "on-failure");
        for text in ["yes", "always:1", "on-failure:", "on-failure:-1", "no:1"] {
            assert!(text.parse::<RestartPolicy>().is_err(), "{text}");
        }
    }

    #[test]
    fn policies_decide() {
        let twice: RestartPolicy = "on-failure:2".parse().unwrap();
        assert!(twice.restarts_after(1, 0) && twice.restarts_after(1, 1));
        assert!(!twice.restarts_after(1, 2) && !twice.restarts_after(0, 0));
        assert!(RestartPolicy::Always.restarts_after(0, 1000));
        assert!(!RestartPolicy::No.restarts_after(1, 0));
        assert!(RestartPolicy::Always.starts_at_boot(true));
        assert!(RestartPolicy::UnlessStopped.starts_at_boot(false));
        assert!(!RestartPolicy::UnlessStopped.starts_at_boot(true));
    }

    #[test]
    fn waits_grow_and_are_forgotten() {
        let mut waits = BackOff::default();
        let short = Duration::from_secs(1);
        assert_eq!(waits.after(short), Duration::from_millis(100));
        assert_eq!(waits.after(short), Duration::from_millis(200));
        assert_eq!(waits.after(short), Duration::from_millis(400));
        for _ in 0..20 {
            waits.after(short);
        }
        assert_eq!(waits.after(short), LONGEST_WAIT);
        assert_eq!(waits.after(STEADY), FIRST_WAIT);
    }
}
