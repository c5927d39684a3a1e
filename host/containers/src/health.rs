//! Health checks: what is run in a container to see whether it is well, and what came of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// The least time between two checks of an image that asks for less. An image is not to be trusted with the host's time:
/// each check is a process in the guest and a write to the container's record.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

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
    /// Whether the last of them is a line for a shell, which the others are.
    #[serde(default)]
    pub in_shell: bool,
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

/// What the command line says about health checks; what is left out comes from the image, and as with Docker, so does
/// what is 0.
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
            Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => Some((rest.to_vec(), false)),
            Some((kind, [line])) if kind == "CMD-SHELL" => Some((in_shell(shell, line), true)),
            _ => None,
        };
        let test = image.and_then(|image| serde_json::from_value(image.get("Test")?.clone()).ok());
        let (command, in_shell) = match &options.command {
            Some(line) => (in_shell(shell, line), true),
            None => test.and_then(words)?,
        };
        let said = |field: &str| image?.get(field)?.as_u64().filter(|&number| number > 0);
        let duration = |wanted: Option<Duration>, field: &str, least: Duration| {
            let image = || said(field).map(|nanoseconds| Duration::from_nanos(nanoseconds).max(least));
            wanted.filter(|wanted| !wanted.is_zero()).or_else(image)
        };
        let least = LEAST_INTERVAL;
        let retries = options.retries.filter(|&count| count > 0);
        Some(Self {
            command,
            in_shell,
            interval: duration(options.interval, "Interval", least).unwrap_or(INTERVAL),
            timeout: duration(options.timeout, "Timeout", Duration::ZERO).unwrap_or(TIMEOUT),
            start_period: duration(options.start_period, "StartPeriod", Duration::ZERO).unwrap_or_default(),
            start_interval: duration(options.start_interval, "StartInterval", least)
                .unwrap_or(START_INTERVAL),
            retries: retries
                .or_else(|| said("Retries").and_then(|count| u32::try_from(count).ok()))
                .unwrap_or(RETRIES),
        })
    }

    /// Docker's form of it, as images have it.
    pub fn document(&self) -> Value {
        let test: Vec<&str> = match self.command.as_slice() {
            [.., line] if self.in_shell => vec!["CMD-SHELL", line],
            words => std::iter::once("CMD").chain(words.iter().map(String::as_str)).collect(),
        };
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        json!({
            "Test": test,
            "Interval": nanoseconds(self.interval),
            "Timeout": nanoseconds(self.timeout),
            "StartPeriod": nanoseconds(self.start_period),
            "StartInterval": nanoseconds(self.start_interval),
            "Retries": self.retries,
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
        assert!(check.in_shell);
        let none = HealthOptions { none: true, ..options };
        assert_eq!(HealthCheck::decide(Some(&image), &none, &shell()), None);
    }

    #[test]
    fn a_check_is_shown_as_it_was_given() {
        for (test, shell) in [
            (json!(["CMD-SHELL", "x | y"]), &["/bin/bash", "-c"][..]),
            (json!(["CMD", "/bin/sh", "-c", "true"]), &["/bin/sh", "-c"]),
            (json!(["CMD", "x"]), &["/bin/sh", "-c"]),
        ] {
            let shell: Vec<String> = shell.iter().map(|&word| word.to_owned()).collect();
            let image = json!({ "Test": test });
            let check = HealthCheck::decide(Some(&image), &HealthOptions::default(), &shell).unwrap();
            assert_eq!(check.document()["Test"], test);
            assert_eq!(
                HealthCheck::decide(Some(&check.document()), &HealthOptions::default(), &shell),
                Some(check)
            );
        }
    }

    #[test]
    fn nothing_is_said_by_zero() {
        let image = json!({"Test": ["CMD", "x"], "Interval": 7_000_000_000u64, "Retries": 7});
        let zero = Some(Duration::ZERO);
        let options = HealthOptions {
            interval: zero,
            timeout: zero,
            start_interval: zero,
            retries: Some(0),
            ..Default::default()
        };
        let check = HealthCheck::decide(Some(&image), &options, &shell()).unwrap();
        assert_eq!((check.interval, check.timeout), (Duration::from_secs(7), TIMEOUT));
        assert_eq!((check.start_interval, check.retries), (START_INTERVAL, 7));
        assert!(!check.in_shell);
    }

    #[test]
    fn an_image_cannot_have_the_host_check_without_a_pause() {
        let image =
            json!({"Test": ["CMD", "x"], "Interval": 1, "StartInterval": 99_999_999, "StartPeriod": 1});
        let check = HealthCheck::decide(Some(&image), &HealthOptions::default(), &shell()).unwrap();
        assert_eq!((check.interval, check.start_interval), (LEAST_INTERVAL, LEAST_INTERVAL));
        let own = Duration::from_millis(1);
        let options = HealthOptions { interval: Some(own), ..Default::default() };
        assert_eq!(HealthCheck::decide(Some(&image), &options, &shell()).unwrap().interval, own);
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
