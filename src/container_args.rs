//! What `run` and `create` let the user say about a new container.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use moat_engine::CreateOptions;
use moat_engine::config::{Security, Tmpfs, Ulimit};
use moat_engine::health::HealthOptions;
use moat_engine::restart::RestartPolicy;

use super::guest_args::GuestArgs;
use super::network_args::NetworkArgs;
use super::parse::{self, SecurityOption, Stream};
use super::quota_args::QuotaArgs;
use super::rate_args::RateArgs;

/// The flags, the image and the command.
#[derive(clap::Args)]
pub struct ContainerArgs {
    /// Connect stdin
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Connect only this stream: STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM", value_parser = parse::stream)]
    pub attach: Vec<Stream>,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    /// Name the container
    #[arg(long)]
    name: Option<String>,
    /// Write the container's id to a file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Set a variable; NAME alone takes its value from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file, one NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME", value_parser = parse::own_hostname)]
    hostname: Option<String>,
    /// Say something about the container
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = parse::label)]
    label: Vec<(String, String)>,
    /// Read labels from a file, one NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Replace the image's entry point; empty for none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Run an init as PID 1 that reaps orphans and passes signals on
    #[arg(long)]
    init: bool,
    /// Start again when it ends: no, always, unless-stopped, on-failure[:N]
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: RestartPolicy,
    /// The signal that asks it to end [default: the image's, or TERM]
    #[arg(long, value_name = "SIGNAL", value_parser = parse::signal)]
    stop_signal: Option<i32>,
    /// Seconds until it is killed when it is asked to end; -1 for never [default: 10]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    resources: ResourceArgs,
    #[command(flatten)]
    rates: RateArgs,
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    health: HealthArgs,
    /// Make the container's root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Mount a file system in memory
    #[arg(long, value_name = "DIR[:OPTIONS]", value_parser = parse::tmpfs_mount)]
    tmpfs: Vec<Tmpfs>,
    #[command(flatten)]
    guest: GuestArgs,
    /// Name or id of the image; then the command and its arguments, instead of the image's
    // One list: after the image nothing is a flag of ours.
    #[arg(value_name = "IMAGE [COMMAND]", required = true, trailing_var_arg = true)]
    image_and_command: Vec<String>,
}

/// What it may use.
#[derive(clap::Args)]
struct ResourceArgs {
    /// Memory of the virtual machine, such as 256m or 2g
    #[arg(short, long, value_name = "SIZE", value_parser = parse::memory)]
    memory: Option<u32>,
    /// Processor time, such as 0.5 or 2; also how many processors the container sees (rounded up)
    #[arg(long, value_name = "NUMBER", value_parser = parse::cpus)]
    cpus: Option<u32>,
    #[command(flatten)]
    quota: QuotaArgs,
    /// How many processes it may have; -1 for no limit
    #[arg(long, value_name = "NUMBER", value_parser = parse::pids_limit, allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Limit each process, such as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = parse::ulimit)]
    ulimit: Vec<Ulimit>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = parse::shm_size)]
    shm_size: Option<u64>,
}

/// What its processes may do.
#[derive(clap::Args)]
struct SecurityArgs {
    /// Add a capability, or ALL
    #[arg(long, value_name = "NAME", value_parser = parse::capability)]
    cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "NAME", value_parser = parse::capability)]
    cap_drop: Vec<String>,
    /// Let it do everything inside its virtual machine
    #[arg(long)]
    privileged: bool,
    /// no-new-privileges keeps processes from gaining privileges, systempaths=unconfined hides nothing of /proc and /sys
    #[arg(long, value_name = "OPTION", value_parser = parse::security_option)]
    security_opt: Vec<SecurityOption>,
    /// Set a kernel parameter of the container
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::sysctl)]
    sysctl: Vec<(String, String)>,
}

/// What tells whether it is well.
#[derive(clap::Args)]
struct HealthArgs {
    /// A line for the shell that fails when the container is not well
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two checks [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse::health_duration)]
    health_interval: Option<Duration>,
    /// Time a check may take [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse::health_duration)]
    health_timeout: Option<Duration>,
    /// Time after the start in which a failed check does not count [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = parse::health_duration)]
    health_start_period: Option<Duration>,
    /// Time between two checks in the start period [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse::health_duration)]
    health_start_interval: Option<Duration>,
    /// How many failed checks in a row mean that it is not well [default: 3]
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// Do not check, even if the image has a health check
    #[arg(long, conflicts_with_all = ["health_cmd", "health_interval", "health_timeout", "health_start_period", "health_start_interval", "health_retries"])]
    no_healthcheck: bool,
}

impl ContainerArgs {
    /// The image, as it was typed.
    pub fn image(&self) -> &str {
        // There is at least one word.
        self.image_and_command.first().map_or("", String::as_str)
    }

    /// The word after the image, if there is one.
    pub fn program(&self) -> Option<&str> {
        self.image_and_command.get(1).map(String::as_str)
    }

    /// What the engine is to create. `attached` tells whether a client is connected from the start.
    ///
    /// # Errors
    /// When values do not go together or a file cannot be read.
    pub fn options(self, attached: bool) -> anyhow::Result<CreateOptions> {
        if self.rm && self.restart != RestartPolicy::No {
            bail!("--rm and --restart do not go together: a container that is removed cannot start again");
        }
        let mut words = self.image_and_command.into_iter();
        let (image, command) = (words.next().unwrap_or_default(), words.collect());
        let pids_limit = self.resources.pids_limit.and_then(|limit| u32::try_from(limit).ok());
        let (network, expose) = self.network.request()?;
        let mut labels = labels(&self.label_file)?;
        labels.extend(self.label);
        let security_opt = self.security.security_opt;
        let resources = self.resources;
        let quota = resources.quota.milli_cpus()?;
        let options = CreateOptions {
            network,
            expose,
            env: variables(&self.env_file, self.env)?,
            image,
            command,
            entrypoint: self.entrypoint,
            name: self.name,
            working_dir: self.workdir,
            user: self.user,
            hostname: self.hostname.filter(|name| !name.is_empty()),
            terminal: self.tty,
            open_stdin: self.interactive,
            stdin_once: self.interactive && attached,
            memory_mib: resources.memory.filter(|&mib| mib > 0),
            milli_cpus: resources.cpus.or(quota).and_then(NonZeroU32::new),
            pids_limit: pids_limit.and_then(NonZeroU32::new),
            ulimits: resources.ulimit,
            shm_size: resources.shm_size.filter(|&size| size > 0),
            rates: self.rates.rates(),
            read_only: self.read_only,
            tmpfs: self.tmpfs,
            auto_remove: self.rm,
            labels,
            restart: self.restart,
            health: self.health.options(),
            security: Security {
                privileged: self.security.privileged,
                cap_add: self.security.cap_add,
                cap_drop: self.security.cap_drop,
                no_new_privileges: security_opt.contains(&SecurityOption::NoNewPrivileges(true)),
                unmasked: security_opt.contains(&SecurityOption::Unmasked),
            },
            sysctls: self.security.sysctl.into_iter().collect(),
            init: self.init,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            ..CreateOptions::default()
        };
        Ok(self.guest.add_to(options))
    }
}

impl HealthArgs {
    fn options(self) -> HealthOptions {
        HealthOptions {
            none: self.no_healthcheck,
            command: self.health_cmd.filter(|command| !command.is_empty()),
            interval: self.health_interval,
            timeout: self.health_timeout,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
            retries: self.health_retries,
        }
    }
}

/// What `take` makes of each line of the files that says something.
fn lines<T>(files: &[PathBuf], take: impl Fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let mut taken = Vec::new();
    for path in files {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        // Editors of Windows begin a file with a byte order mark.
        let lines = text.strip_prefix('\u{feff}').unwrap_or(&text).lines().map(str::trim_start);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            taken.push(take(line).with_context(|| format!("in {}", path.display()))?);
        }
    }
    Ok(taken)
}

/// The labels of the files.
fn labels(files: &[PathBuf]) -> anyhow::Result<BTreeMap<String, String>> {
    let labels = lines(files, |line| match parse::label(line) {
        Ok((name, _)) if name.contains(char::is_whitespace) => bail!("the label '{name}' has blanks in it"),
        other => other.map_err(anyhow::Error::msg),
    });
    Ok(labels?.into_iter().collect())
}

/// The variables of the files, then those of the command line. A name alone takes its value from this process. One that is
/// not set here is taken away from the image's by the command line, and as with Docker, says nothing in a file.
pub fn variables(files: &[PathBuf], flags: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut variables = lines(files, |line| match name_of(line) {
        name if name.contains(char::is_whitespace) => bail!("the variable '{name}' has blanks in it"),
        _ => variable(line),
    })?;
    variables.retain(|variable| variable.contains('='));
    for flag in flags {
        variables.push(variable(&flag)?);
    }
    Ok(variables)
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

fn variable(text: &str) -> anyhow::Result<String> {
    if name_of(text).is_empty() {
        bail!("invalid environment variable: {text}: a name comes before the '='");
    }
    match std::env::var(text) {
        Ok(value) if !text.contains('=') => Ok(format!("{text}={value}")),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    // As in `run`, -h is the host name.
    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        container: ContainerArgs,
    }

    #[test]
    fn after_the_image_nothing_is_a_flag_of_ours() {
        let parse = |words: &str| {
            let line = Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace()));
            line.map(|line| line.container.options(true).unwrap()).map_err(|e| e.to_string())
        };
        for command in ["-h db -u root -psecret -e x", "--help", "-- -t", "sh -c true", "--rm --name=x"] {
            let options = parse(&format!("-t --name box localhost/db {command}")).unwrap();
            assert_eq!(
                (options.image.as_str(), options.command.join(" ").as_str()),
                ("localhost/db", command)
            );
            assert_eq!(options.name.as_deref(), Some("box"));
            assert!(options.terminal && options.hostname.is_none() && options.user.is_none());
        }
        assert!(parse("localhost/db").unwrap().command.is_empty());
        assert!(parse("--rm").unwrap_err().contains("IMAGE"));
        assert!(parse("--nonsense localhost/db").unwrap_err().contains("--nonsense"));
    }

    #[test]
    fn labels_come_from_files_and_flags() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# comment\na=1\nb=two words\n\nbare\n").unwrap();
        let path = file.path().to_str().unwrap();
        let line = Line::try_parse_from([
            "x",
            "--label",
            "a=2",
            "--label-file",
            path,
            "--log-driver",
            "local",
            "img",
        ]);
        let options = line.unwrap().container.options(true).unwrap();
        let labels: Vec<_> = options.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(labels, ["a=2", "b=two words", "bare="]);
        std::fs::write(file.path(), "=x\n").unwrap();
        assert!(super::labels(&[file.path().to_owned()]).is_err());
    }

    #[test]
    fn zero_is_the_default() {
        let line = Line::try_parse_from(["x", "-m", "0", "--cpus", "0", "img"]).unwrap();
        let options = line.container.options(true).unwrap();
        assert_eq!((options.memory_mib, options.milli_cpus), (None, None));
    }

    #[test]
    fn variables_come_from_files_and_flags() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}# comment\n\nA=1\n  B=two words\nMOAT_TEST_UNSET\n").unwrap();
        let read = variables(&[file.path().to_owned()], vec!["C=".to_owned()]).unwrap();
        assert_eq!(read, ["A=1", "B=two words", "C="]);
        assert_eq!(variables(&[], vec!["MOAT_TEST_UNSET".to_owned()]).unwrap(), ["MOAT_TEST_UNSET"]);
        assert!(variables(&[], vec!["=x".to_owned()]).is_err());
        assert_eq!(variables(&[], vec!["A B=x".to_owned()]).unwrap(), ["A B=x"]);
        std::fs::write(file.path(), "A B=x\n").unwrap();
        assert!(variables(&[file.path().to_owned()], Vec::new()).is_err());
        assert!(variables(&["/nonexistent".into()], Vec::new()).is_err());
    }
}
