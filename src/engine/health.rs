//! Health checks: what is run in a container to see whether it is well, and what came of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// How much of a check's output is kept, in bytes.
pub const MAX_OUTPUT: usize = 4096;

/// How many results are kept.
const MAX_RESULTS: usize = 5;

/// What is run, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The command's words.
    pub command: Vec<String>,
    /// How long after one check the next begins.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How long after the start a failed check does not count.
    pub start_period: Duration,
    /// As `interval`, within the start period.
    pub start_interval: Duration,
    /// How many checks in a row must fail until the container counts as unhealthy.
    pub retries: u32,
}

/// What the command line says about health checks; what is left out comes from the image.
#[derive(Debug, Clone, Default)]
pub struct HealthOptions {
    /// `--no-healthcheck`.
    pub none: bool,
    /// A line for the shell.
    pub command: Option<String>,
    /// See [`HealthCheck`], as the others.
    pub interval: Option<Duration>,
    /// See [`HealthCheck`].
    pub timeout: Option<Duration>,
    /// See [`HealthCheck`].
    pub start_period: Option<Duration>,
    /// See [`HealthCheck`].
    pub start_interval: Option<Duration>,
    /// See [`HealthCheck`].
    pub retries: Option<u32>,
}

impl HealthCheck {
    /// The check of a container: the image's (`image` is the `Healthcheck` of its config, durations in nanoseconds)
    /// with what the command line says about it. `shell` runs lines.
    pub fn decide(image: Option<&Value>, options: &HealthOptions, shell: &[String]) -> Option<Self> {
        if options.none {
            return None;
        }
        let words = |words: Vec<String>| match words.split_first() {
            Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => Some(rest.to_vec()),
            Some((kind, [line])) if kind == "CMD-SHELL" => Some(in_shell(shell, line)),
            _ => None,
        };
        let test = image.and_then(|image| serde_json::from_value(image.get("Test")?.clone()).ok());
        let command = match &options.command {
            Some(line) => in_shell(shell, line),
            None => test.and_then(words)?,
        };
        let duration = |field: &str| {
            let nanoseconds = image?.get(field)?.as_u64()?;
            (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
        };
        let retries = || u32::try_from(image?.get("Retries")?.as_u64()?).ok();
        Some(Self {
            command,
            interval: options.interval.or_else(|| duration("Interval")).unwrap_or(INTERVAL),
            timeout: options.timeout.or_else(|| duration("Timeout")).unwrap_or(TIMEOUT),
            start_period: options.start_period.or_else(|| duration("StartPeriod")).unwrap_or_default(),
            start_interval: options
                .start_interval
                .or_else(|| duration("StartInterval"))
                .unwrap_or(START_INTERVAL),
            retries: options.retries.or_else(retries).filter(|&count| count > 0).unwrap_or(RETRIES),
        })
    }
}

fn in_shell(shell: &[String], line: &str) -> Vec<String> {
    shell.iter().cloned().chain([line.to_owned()]).collect()
}

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthStatus {
    /// Not known yet.
    Starting,
    /// The last check succeeded.
    Healthy,
    /// Too many checks in a row failed.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its exit code; -1 when it took too long or could not be run.
    pub exit_code: i32,
    /// The beginning of what it wrote.
    pub output: String,
}

/// What is known about a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// How many checks in a row have failed.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub results: Vec<HealthResult>,
}

impl Health {
    /// Before the first check.
    pub fn starting() -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, results: Vec::new() }
    }

    /// Takes a result into account; `grace` is true within the start period.
    pub fn record(&mut self, check: &HealthCheck, result: HealthResult, grace: bool) {
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if !(grace && self.status == HealthStatus::Starting) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.results.push(result);
        if self.results.len() > MAX_RESULTS {
            self.results.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shell() -> Vec<String> {
        vec!["/bin/sh".to_owned(), "-c".to_owned()]
    }

    fn result(exit_code: i32) -> HealthResult {
        HealthResult { start: Timestamp::now(), end: Timestamp::now(), exit_code, output: String::new() }
    }

    #[test]
    fn the_command_line_overrides_the_image() {
        let image =
            json!({"Test": ["CMD", "check", "me"], "Interval": 1_000_000_000u64, "Retries": 7, "Timeout": 0});
        let check = HealthCheck::decide(Some(&image), &HealthOptions::default(), &shell()).unwrap();
        assert_eq!(check.command, ["check", "me"]);
        assert_eq!((check.interval, check.timeout, check.retries), (Duration::from_secs(1), TIMEOUT, 7));
        let options =
            HealthOptions { command: Some("true".to_owned()), retries: Some(2), ..Default::default() };
        let check = HealthCheck::decide(Some(&image), &options, &shell()).unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "true"]);
        assert_eq!((check.interval, check.retries), (Duration::from_secs(1), 2));
        let none = HealthOptions { none: true, ..options };
        assert_eq!(HealthCheck::decide(Some(&image), &none, &shell()), None);
    }

    #[test]
    fn images_without_a_usable_check_have_none() {
        for image in
            [json!(null), json!({}), json!({"Test": ["NONE"]}), json!({"Test": []}), json!({"Test": 1})]
        {
            assert_eq!(HealthCheck::decide(Some(&image), &HealthOptions::default(), &shell()), None);
        }
    }

    #[test]
    fn health_follows_the_results() {
        let options = HealthOptions { command: Some("x".to_owned()), retries: Some(2), ..Default::default() };
        let check = HealthCheck::decide(None, &options, &shell()).unwrap();
        let mut health = Health::starting();
        health.record(&check, result(1), true);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        health.record(&check, result(1), false);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 1));
        health.record(&check, result(1), false);
        assert_eq!(health.status, HealthStatus::Unhealthy);
        health.record(&check, result(0), false);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        for _ in 0..10 {
            health.record(&check, result(0), false);
        }
        assert_eq!(health.results.len(), MAX_RESULTS);
    }
}
