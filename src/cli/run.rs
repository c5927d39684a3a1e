//! `moat run`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use moat::engine::config::Tmpfs;
use moat::engine::{CreateOptions, Engine};
use moat::monitor::wire::MonitorMessage;
use moat::root::Root;
use moat_vmm::config::{MAX_VCPUS, MIN_MEMORY_MIB};

use super::attach::{self, Streams};
use super::terminal;

/// Create a container from an image and run a command in it
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  moat run --rm localhost/busybox echo hello
  moat run -it --rm localhost/debian bash
  moat run -d --name web --memory 256m localhost/nginx
  echo data | moat run -i --rm localhost/busybox wc -c

The exit code is the command's own; 125 means that Moat could not run the container, 126 that the
command cannot be executed, 127 that it was not found, and 128+N that signal N ended it."
)]
pub struct Args {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Connect stdin
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Name the container
    #[arg(long)]
    name: Option<String>,
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
    #[arg(short = 'h', long, value_name = "NAME", value_parser = parse_hostname)]
    hostname: Option<String>,
    /// Replace the image's entry point; empty for none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Memory of the virtual machine, such as 256m or 2g
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u32>,
    /// Processor time, such as 0.5 or 2; also how many processors the container sees (rounded up)
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<NonZeroU32>,
    /// Make the container's root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Mount a file system in memory
    #[arg(long, value_name = "DIR[:OPTIONS]", value_parser = parse_tmpfs)]
    tmpfs: Vec<Tmpfs>,
    /// Send what the guest's kernel prints on its serial console to stderr (slows the boot)
    #[arg(long)]
    debug_console: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Name or id of the image
    image: String,
    /// The command and its arguments, instead of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs a container to its end, or starts it in the background.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    if args.tty && args.interactive && !args.detach && !terminal::stdin_is_terminal() {
        bail!("cannot attach stdin to a TTY-enabled container because stdin is not a terminal");
    }
    if args.detach && args.debug_console {
        bail!("--debug-console prints to this terminal and does not go with --detach");
    }
    let engine = Engine::open(root)?;
    let streams = Streams {
        stdin: args.interactive && !args.detach,
        stdout: !args.detach,
        stderr: !args.detach && !args.tty,
        terminal: args.tty && !args.detach,
    };
    let (detach, debug_console) = (args.detach, args.debug_console);
    let created = engine.create_running(options(args)?)?;
    let id = created.container.id().clone();
    let connection = engine.start_monitor(created, debug_console)?;
    let attachment = attach::attach(connection, streams)?;
    let end = if detach { attachment.started()? } else { attachment.ended()? };
    match end {
        MonitorMessage::Started => {
            println!("{id}");
            Ok(ExitCode::SUCCESS)
        }
        MonitorMessage::Exited { code, error } => {
            if let Some(error) = error {
                eprintln!("moat: {error}");
            }
            Ok(ExitCode::from(code))
        }
        MonitorMessage::Failed { code, message } => {
            eprintln!("moat: cannot start container {}: {message}", id.short());
            Ok(ExitCode::from(code))
        }
    }
}

fn options(args: Args) -> anyhow::Result<CreateOptions> {
    Ok(CreateOptions {
        env: variables(&args.env_file, args.env)?,
        image: args.image,
        command: args.command,
        entrypoint: args.entrypoint,
        name: args.name,
        working_dir: args.workdir,
        user: args.user,
        hostname: args.hostname,
        terminal: args.tty,
        open_stdin: args.interactive,
        memory_mib: args.memory,
        milli_cpus: args.cpus,
        read_only: args.read_only,
        tmpfs: args.tmpfs,
        auto_remove: args.rm,
    })
}

/// The variables of the files, then those of the command line. A name alone takes its value from this process; one that
/// is not set here is taken away from the image's.
fn variables(files: &[PathBuf], flags: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut variables = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the variables in {}", path.display()))?;
        for line in
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            variables.push(variable(line).with_context(|| format!("in {}", path.display()))?);
        }
    }
    for flag in flags {
        variables.push(variable(&flag)?);
    }
    Ok(variables)
}

fn variable(text: &str) -> anyhow::Result<String> {
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    if name.is_empty() || name.contains(char::is_whitespace) {
        bail!("invalid environment variable: {text}: a name without spaces comes before the '='");
    }
    match std::env::var(text) {
        Ok(value) if !text.contains('=') => Ok(format!("{text}={value}")),
        _ => Ok(text.to_owned()),
    }
}

/// Parses Docker's sizes: a number with an optional unit b, k, m or g, in powers of 1024; plain numbers are bytes.
fn parse_memory(text: &str) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, unit) = match number.chars().last() {
        Some('k') => (&number[..number.len() - 1], 1u64 << 10),
        Some('m') => (&number[..number.len() - 1], 1 << 20),
        Some('g') => (&number[..number.len() - 1], 1 << 30),
        Some('t') => (&number[..number.len() - 1], 1 << 40),
        _ => (number, 1),
    };
    let number: f64 =
        number.trim().parse().map_err(|_| "a size is a number and a unit: 512m, 2g".to_owned())?;
    let mib = (number * unit as f64 / f64::from(1u32 << 20)).ceil();
    if !(f64::from(MIN_MEMORY_MIB)..=f64::from(MAX_MEMORY_MIB)).contains(&mib) {
        return Err(format!("a virtual machine has from {MIN_MEMORY_MIB}m to {}g", MAX_MEMORY_MIB >> 10));
    }
    Ok(mib as u32)
}

/// 1 TiB; more than that no machine that Moat has been run on has.
const MAX_MEMORY_MIB: u32 = 1 << 20;

fn parse_cpus(text: &str) -> Result<NonZeroU32, String> {
    let problem = || format!("a number from 0.01 to {MAX_VCPUS}, such as 0.5 or 2");
    let number: f64 = text.parse().map_err(|_| problem())?;
    if !(0.01..=f64::from(MAX_VCPUS)).contains(&number) {
        return Err(problem());
    }
    NonZeroU32::new((number * 1000.0).round() as u32).ok_or_else(problem)
}

fn parse_hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("a host name has letters, digits and dashes, at most 64 of them".to_owned())
    }
}

fn parse_tmpfs(text: &str) -> Result<Tmpfs, String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    if !destination.starts_with('/') || destination.split('/').any(|part| part == "..") {
        return Err("an absolute path without '..', then options: /run:size=64m".to_owned());
    }
    let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    Ok(Tmpfs { destination: destination.to_owned(), options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, mib) in
            [("512m", 512), ("2g", 2048), ("1.5G", 1536), ("67108864", 64), ("128MiB", 128), ("65536k", 64)]
        {
            assert_eq!(parse_memory(text), Ok(mib), "{text}");
        }
        for text in ["", "m", "1m", "-1g", "nan", "9999999g", "12x"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_fractions() {
        assert_eq!(parse_cpus("0.5").map(NonZeroU32::get), Ok(500));
        assert_eq!(parse_cpus("2").map(NonZeroU32::get), Ok(2000));
        for text in ["0", "-1", "65", "x", "nan", "inf"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tmpfs_has_a_place_and_options() {
        let tmpfs = parse_tmpfs("/run:size=64m,ro").unwrap();
        assert_eq!(
            (tmpfs.destination.as_str(), tmpfs.options.as_slice()),
            ("/run", &["size=64m".to_owned(), "ro".to_owned()][..])
        );
        assert!(parse_tmpfs("run").is_err());
        assert!(parse_tmpfs("/a/../b").is_err());
    }

    #[test]
    fn variables_come_from_files_and_flags() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# comment\n\nA=1\n  B=two words\nMOAT_TEST_UNSET\n").unwrap();
        let read = variables(&[file.path().to_owned()], vec!["C=".to_owned()]).unwrap();
        assert_eq!(read, ["A=1", "B=two words", "MOAT_TEST_UNSET", "C="]);
        assert!(variables(&[], vec!["=x".to_owned()]).is_err());
        assert!(variables(&[], vec!["A B=x".to_owned()]).is_err());
        assert!(variables(&["/nonexistent".into()], Vec::new()).is_err());
    }
}
