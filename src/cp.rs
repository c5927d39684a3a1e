//! `moat cp`.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use anyhow::{Context, bail};
use moat_engine::archive::{CopyOptions, Local};
use moat_engine::{Engine, Root};

use super::human;
use super::progress::Progress;

/// Copy files between a container and this machine
///
/// CONTAINER:PATH is a path in a container, which may run or not; it is an absolute one whether it begins with '/' or
/// not. '-' reads a tar archive from standard input, or writes one to standard output. A directory whose path ends with
/// '/.' is copied without itself.
///
/// In the container files belong to root, here to the user who copies them. Here, set-user-ID bits are dropped, with
/// --archive too, and devices refused: a container's files are not to be trusted. Symbolic links are copied as they are and may point
/// anywhere.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat cp config.yml web:/etc/app/
  moat cp web:/var/log/nginx ./logs
  moat cp web:/etc/. backup/etc
  moat cp web:/data - | gzip > data.tar.gz
  tar -c src | moat cp - web:/usr/src")]
pub struct Args {
    /// Keep the files' owners
    #[arg(short, long)]
    archive: bool,
    /// Copy what a symbolic link as SRC points to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not tell about the progress; what happens anyway where stdout is no terminal
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    quiet: Option<bool>,
    /// CONTAINER:PATH, a path here, or '-'
    #[arg(value_name = "SRC")]
    source: OsString,
    /// CONTAINER:PATH, a path here, or '-'
    #[arg(value_name = "DST")]
    destination: OsString,
}

/// Copies in the one direction or the other.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    if args.source.is_empty() {
        bail!("source can not be empty");
    }
    if args.destination.is_empty() {
        bail!("destination can not be empty");
    }
    let ends = (split(&args.source)?, split(&args.destination)?);
    let options = CopyOptions { follow: args.follow_link, owners: args.archive };
    let quiet = args.quiet.unwrap_or_else(|| !io::stdout().is_terminal());
    let engine = Engine::open(root)?;
    match ends {
        (Some(_), Some(_)) => bail!("copying between containers is not supported"),
        (None, None) => bail!("must specify at least one container source"),
        (Some((container, path)), None) if args.destination == "-" => {
            if io::stdout().is_terminal() {
                bail!("refusing to write an archive to a terminal; redirect it or name a file");
            }
            let to = Local::Stream(&mut io::stdout().lock() as &mut dyn io::Write);
            engine.copy_from(&engine.find(container)?, path, to, options, |_| ())?;
        }
        (Some((container, path)), None) => {
            let progress = Progress::new("Copying from container - {bytes} {spinner}", None, quiet);
            let to = Local::Path(&args.destination);
            let container = engine.find(container)?;
            let place = engine.copy_from(&container, path, to, options, |n| progress.add(n));
            report(&progress, &place?, quiet);
        }
        (None, Some((container, path))) => {
            let quiet = quiet || args.source == "-";
            let progress = Progress::new("Copying to container - {bytes} {spinner}", None, quiet);
            let mut stdin = io::stdin().lock();
            let from = match args.source == "-" {
                true => Local::Stream(&mut stdin as &mut dyn io::Read),
                false => Local::Path(args.source.as_os_str()),
            };
            let container = engine.find(container)?;
            let place = engine.copy_to(&container, from, path, options, |n| progress.add(n));
            report(&progress, &place?, quiet);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells where everything went.
fn report(progress: &Progress, place: &str, quiet: bool) {
    let bytes = progress.finish();
    if !quiet {
        eprintln!("Successfully copied {} to {}", human::size(bytes), human::harmless(place));
    }
}

/// The container and the path in it, if it is one. A path here that has a colon begins with `/` or `.`.
fn split(argument: &OsStr) -> anyhow::Result<Option<(&str, &str)>> {
    let bytes = argument.as_bytes();
    if bytes.starts_with(b"/") || bytes.starts_with(b".") || !bytes.contains(&b':') {
        return Ok(None);
    }
    let text = argument.to_str().with_context(|| format!("{} is not UTF-8", argument.display()))?;
    Ok(text.split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_as_docker_does() {
        for (argument, expected) in [
            ("web:/a", Some(("web", "/a"))),
            ("web:a:b", Some(("web", "a:b"))),
            ("web:", Some(("web", ""))),
            ("/tmp/a:b", None),
            ("./a:b", None),
            ("../a:b", None),
            (".:b", None),
            ("-", None),
            ("file", None),
        ] {
            assert_eq!(split(OsStr::new(argument)).unwrap(), expected, "{argument}");
        }
    }
}
