//! `moat logs`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use moat::engine::Engine;
use moat::engine::log::{Reader, Record, Source};
use moat::engine::state::Status;
use moat::root::Root;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::AsFd;

/// Print what a container's process wrote
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat logs web
  moat logs -f --tail 20 web")]
pub struct Args {
    /// Go on as the container writes, until it ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N", default_value = "all", value_parser = parse_tail)]
    tail: Tail,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Name, id, or the beginning of an id
    container: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    All,
    Lines(usize),
}

fn parse_tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        number => number.parse().map(Tail::Lines).map_err(|_| "a number of lines, or 'all'".to_owned()),
    }
}

/// How long a follower sleeps at most before it looks whether the container has ended.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// Prints the log: what was written to stdout goes to stdout, the rest to stderr.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let failed = || format!("cannot read the log of {}", container.config.name);
    // Watching starts before reading, so that nothing falls between.
    let watch = args.follow.then(|| watch(&container)).transpose().with_context(failed)?;
    let mut skip = match args.tail {
        Tail::All => 0,
        Tail::Lines(wanted) => count_lines(&mut Reader::open(&container.directory)?)?.saturating_sub(wanted),
    };
    let mut reader = Reader::open(&container.directory).with_context(failed)?;
    let mut printer = Printer { timestamps: args.timestamps, line_begins: [true; 2] };
    loop {
        // Asked before reading: what a container wrote before it was seen to have ended is all read below.
        let running =
            engine.find(container.id().as_str()).is_ok_and(|now| now.state.status == Status::Running);
        while let Some(record) = reader.read().with_context(failed)? {
            if skip > 0 {
                skip -= usize::from(ends_line(&record));
            } else {
                printer.print(&record)?;
            }
        }
        match &watch {
            Some(watch) if running => wait(watch).with_context(failed)?,
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn ends_line(record: &Record) -> bool {
    record.line.ends_with(b"\n")
}

fn count_lines(reader: &mut Reader) -> io::Result<usize> {
    let (mut lines, mut open) = (0, false);
    while let Some(record) = reader.read()? {
        open = !ends_line(&record);
        lines += usize::from(!open);
    }
    Ok(lines + usize::from(open))
}

fn watch(container: &moat::engine::container::Container) -> nix::Result<Inotify> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    watch.add_watch(container.directory.path(), AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO)?;
    Ok(watch)
}

fn wait(watch: &Inotify) -> nix::Result<()> {
    let limit = PollTimeout::try_from(FOLLOW_INTERVAL).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], limit) {
        Ok(0) | Err(Errno::EINTR) => Ok(()),
        Ok(_) => watch.read_events().map(drop),
        Err(e) => Err(e),
    }
}

struct Printer {
    timestamps: bool,
    line_begins: [bool; 2],
}

impl Printer {
    fn print(&mut self, record: &Record) -> io::Result<()> {
        let begins = std::mem::replace(&mut self.line_begins[record.source as usize], ends_line(record));
        let mut output: Box<dyn Write> = match record.source {
            Source::Stdout => Box::new(io::stdout().lock()),
            Source::Stderr => Box::new(io::stderr().lock()),
        };
        if self.timestamps && begins {
            write!(output, "{} ", format_time(record.time))?;
        }
        output.write_all(&record.line)?;
        output.flush()
    }
}

/// RFC 3339 with nine digits, as Docker prints it.
fn format_time(time: Timestamp) -> String {
    format!("{time:.9}")
}
