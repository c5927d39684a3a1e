//! `moat logs`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use moat::engine::Engine;
use moat::engine::container::Container;
use moat::engine::log::{Reader, Record, Source};
use moat::root::Root;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::moment;

/// Print what a container's process wrote
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat logs web
  moat logs -f --tail 20 web
  moat logs --since 10m --until 2026-01-02T15:04:05Z web")]
pub struct Args {
    /// Go on as the container writes, until it ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N", default_value = "all", value_parser = parse_tail, allow_negative_numbers = true)]
    tail: Tail,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Only what was written from this time on, or so long ago
    #[arg(long, value_name = "TIME", value_parser = moment::parse_moment)]
    since: Option<Timestamp>,
    /// Only what was written until this time
    #[arg(long, value_name = "TIME", value_parser = moment::parse_moment, allow_hyphen_values = true)]
    until: Option<Timestamp>,
    /// For those who know it from Docker; there are no details
    #[arg(long)]
    details: bool,
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
        // As with Docker.
        number if number.parse::<i64>().is_ok_and(|number| number < 0) => Ok(Tail::All),
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
    let mut reader = Reader::open(&container.directory).with_context(failed)?;
    let mut kept = match args.tail {
        Tail::All => VecDeque::new(),
        Tail::Lines(wanted) => last_lines(&mut reader, wanted).with_context(failed)?,
    };
    let mut printer = Printer::new(args.timestamps);
    loop {
        // Asked before reading: what a container wrote before it was seen to have ended is all read below.
        let running = engine.find(container.id().as_str()).is_ok_and(|now| now.state.status.is_live());
        let over = args.until.is_some_and(|until| Timestamp::now() > until);
        while let Some(record) = next(&mut kept, &mut reader).with_context(failed)? {
            if args.until.is_some_and(|until| record.time > until) {
                printer.flush()?;
                return Ok(ExitCode::SUCCESS);
            } else if args.since.is_none_or(|since| record.time >= since) {
                printer.print(&record)?;
            }
        }
        printer.flush()?;
        match &watch {
            Some(watch) if running && !over => wait(watch).with_context(failed)?,
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn ends_line(record: &Record) -> bool {
    record.line.ends_with(b"\n")
}

/// Reads all there is and keeps the last `wanted` lines. What is not finished yet counts as a line.
fn last_lines(reader: &mut Reader, wanted: usize) -> io::Result<VecDeque<Record>> {
    let (mut kept, mut ended) = (VecDeque::new(), 0);
    while let Some(record) = reader.read()? {
        let open = usize::from(!ends_line(&record));
        ended += 1 - open;
        kept.push_back(record);
        while ended + open > wanted {
            let Some(first) = kept.pop_front() else { break };
            ended -= usize::from(ends_line(&first));
        }
    }
    Ok(kept)
}

/// The next record: one that was kept, or else the log's.
fn next(kept: &mut VecDeque<Record>, reader: &mut Reader) -> io::Result<Option<Record>> {
    kept.pop_front().map_or_else(|| reader.read(), |record| Ok(Some(record)))
}

/// Tells of what is written to the log, of changes of the state, and of the end of the container's directory.
fn watch(container: &Container) -> nix::Result<Inotify> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
    watch.add_watch(container.directory.path(), changes)?;
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

/// Prints records in their order, many at a time.
struct Printer {
    timestamps: bool,
    /// For stdout and stderr, whether a line begins.
    line_begins: [bool; 2],
    /// What is not written yet, all of it for `target`.
    pending: Vec<u8>,
    target: Source,
}

/// How much is held back at most, in bytes.
const PENDING: usize = 64 << 10;

impl Printer {
    fn new(timestamps: bool) -> Self {
        Self { timestamps, line_begins: [true; 2], pending: Vec::new(), target: Source::Stdout }
    }

    fn print(&mut self, record: &Record) -> io::Result<()> {
        // Where both go to one place, their order there is the recorded one.
        if record.source != self.target || self.pending.len() > PENDING {
            self.flush()?;
            self.target = record.source;
        }
        let begins = &mut self.line_begins[usize::from(record.source == Source::Stderr)];
        if std::mem::replace(begins, ends_line(record)) && self.timestamps {
            write!(self.pending, "{} ", format_time(record.time))?;
        }
        self.pending.extend_from_slice(&record.line);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        match self.target {
            _ if pending.is_empty() => Ok(()),
            Source::Stdout => {
                let mut output = io::stdout().lock();
                output.write_all(&pending)?;
                output.flush()
            }
            Source::Stderr => io::stderr().lock().write_all(&pending),
        }
    }
}

/// RFC 3339 with nine digits, as Docker prints it.
fn format_time(time: Timestamp) -> String {
    format!("{time:.9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(source: Source, line: &[u8]) -> Record {
        Record { time: "2026-01-02T15:04:05.5Z".parse().unwrap(), source, line: line.to_vec() }
    }

    #[test]
    fn tails_are_numbers_or_all() {
        assert_eq!(parse_tail("0"), Ok(Tail::Lines(0)));
        assert_eq!(parse_tail("-1"), Ok(Tail::All));
        assert_eq!(parse_tail("all"), Ok(Tail::All));
        assert!(parse_tail("many").is_err() && parse_tail("").is_err());
    }

    #[test]
    fn a_tail_is_not_shortened_by_what_comes_meanwhile() {
        use moat::engine::config::LogLimits;
        use moat::engine::log::Writer;
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let directory = moat::engine::container::Directory::of(&root, crate::cli::testing::container().id());
        std::fs::create_dir_all(directory.path()).unwrap();
        let limits = LogLimits { max_size: 200, max_files: 2 };
        let mut writer = Writer::open(&directory, limits).unwrap();
        let mut reader = Reader::open(&directory).unwrap();
        writer.write(Source::Stdout, b"1\n2\n3\n4\n").unwrap();
        let mut kept = last_lines(&mut reader, 2).unwrap();
        // More than a file holds.
        writer.write(Source::Stdout, b"5\n6\n7\n8\n9\n10\n11\n12\n13\n14").unwrap();
        writer.finish().unwrap();
        let mut text = Vec::new();
        while let Some(record) = next(&mut kept, &mut reader).unwrap() {
            text.extend(record.line);
        }
        assert_eq!(String::from_utf8(text).unwrap(), "3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14");
        let last = |wanted| {
            let kept = last_lines(&mut Reader::open(&directory).unwrap(), wanted).unwrap();
            let lines: Vec<u8> = kept.into_iter().flat_map(|record| record.line).collect();
            String::from_utf8(lines).unwrap()
        };
        assert_eq!((last(0).as_str(), last(1).as_str(), last(3).as_str()), ("", "14", "12\n13\n14"));
    }

    #[test]
    fn times_stand_at_the_beginning_of_lines_only() {
        let mut printer = Printer::new(true);
        printer.print(&record(Source::Stdout, b"part of ")).unwrap();
        printer.print(&record(Source::Stdout, b"a line\n")).unwrap();
        printer.print(&record(Source::Stdout, b"next")).unwrap();
        let time = "2026-01-02T15:04:05.500000000Z";
        let expected = format!("{time} part of a line\n{time} next");
        assert_eq!(String::from_utf8(std::mem::take(&mut printer.pending)).unwrap(), expected);
    }

    #[test]
    fn what_goes_elsewhere_is_written_first() {
        let mut printer = Printer::new(false);
        printer.print(&record(Source::Stdout, b"")).unwrap();
        printer.print(&record(Source::Stderr, b"")).unwrap();
        assert_eq!(printer.target, Source::Stderr);
        assert!(printer.pending.is_empty());
    }
}
