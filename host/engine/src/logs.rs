//! What a container's first process wrote: the verb `logs`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use jiff::Timestamp;
use moat_containers::Container;
use moat_containers::log::Reader;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

pub use moat_containers::log::{Record, Source};

use crate::{Engine, EngineError};

/// How long a follower sleeps at most before it looks whether the container has ended.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// How many records are given at once.
const BATCH: usize = 1024;

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether to go on as the container writes, until it ends.
    pub follow: bool,
    /// Only so many of the last lines; all when absent.
    pub tail: Option<usize>,
    /// Only what was written from this time on.
    pub since: Option<Timestamp>,
    /// Only what was written until this time.
    pub until: Option<Timestamp>,
}

/// A log that is being read.
pub struct Logs<'e> {
    engine: &'e Engine,
    container: Container,
    options: LogOptions,
    reader: Reader,
    /// The last lines, read before the rest.
    kept: VecDeque<Record>,
    watch: Option<Inotify>,
    /// Whether nothing more comes.
    over: bool,
}

impl Engine {
    /// Opens a container's log.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn logs(&self, container: Container, options: LogOptions) -> Result<Logs<'_>, EngineError> {
        if container.config.no_log {
            return Err(EngineError::NoLog(container.config.name));
        }
        let open = || -> io::Result<(Option<Inotify>, Reader, VecDeque<Record>)> {
            // Watching starts before reading, so that nothing falls between.
            let watch = options.follow.then(|| watch(&container)).transpose()?;
            let mut reader = Reader::open(&container.directory)?;
            let kept = match options.tail {
                None => VecDeque::new(),
                Some(wanted) => last_lines(&mut reader, wanted)?,
            };
            Ok((watch, reader, kept))
        };
        match open() {
            Ok((watch, reader, kept)) => {
                Ok(Logs { engine: self, container, options, reader, kept, watch, over: false })
            }
            Err(source) => Err(EngineError::Log { container: container.config.name, source }),
        }
    }
}

impl Logs<'_> {
    /// The next records, at least one; it waits for them when the log is followed. Nothing when it is over.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Record>>, EngineError> {
        self.batch()
            .map_err(|source| EngineError::Log { container: self.container.config.name.clone(), source })
    }

    fn batch(&mut self) -> io::Result<Option<Vec<Record>>> {
        let mut batch = Vec::new();
        while !self.over {
            // Asked before reading: what a container wrote before it was seen to have ended is all read below.
            let running = self.runs();
            let late = self.options.until.is_some_and(|until| Timestamp::now() > until);
            while batch.len() < BATCH
                && let Some(record) = next(&mut self.kept, &mut self.reader)?
            {
                if self.options.until.is_some_and(|until| record.time > until) {
                    self.over = true;
                    break;
                }
                if self.options.since.is_none_or(|since| record.time >= since) {
                    batch.push(record);
                }
            }
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
            match &self.watch {
                Some(watch) if running && !late && !self.over => wait(watch)?,
                _ => self.over = true,
            }
        }
        Ok(None)
    }

    fn runs(&self) -> bool {
        self.watch.is_some()
            && self.engine.find(self.container.id().as_str()).is_ok_and(|now| now.state.status.is_live())
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

#[cfg(test)]
mod tests {
    use moat_containers::config::LogLimits;
    use moat_containers::log::Writer;
    use moat_records::root::Root;

    use super::*;

    #[test]
    fn a_tail_is_not_shortened_by_what_comes_meanwhile() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let directory = moat_containers::Directory::of(&root, moat_containers::testing::container().id());
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
}
