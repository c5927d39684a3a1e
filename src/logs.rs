//! `moat logs`.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use moat_engine::Engine;
use moat_engine::Root;
use moat_engine::logs::{LogOptions, Record, Source};

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

/// Prints the log: what was written to stdout goes to stdout, the rest to stderr.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let tail = match args.tail {
        Tail::All => None,
        Tail::Lines(wanted) => Some(wanted),
    };
    let options = LogOptions { follow: args.follow, tail, since: args.since, until: args.until };
    let mut logs = engine.logs(container, options)?;
    let mut printer = Printer::new(args.timestamps);
    while let Some(batch) = logs.next_batch()? {
        batch.iter().try_for_each(|record| printer.print(record))?;
        printer.flush()?;
    }
    Ok(ExitCode::SUCCESS)
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
        if std::mem::replace(begins, record.line.ends_with(b"\n")) && self.timestamps {
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
