//! Reading what happened: the lines that [`super::events`] writes, across rotations, and as they come.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::{Event, older_path, path};
use crate::root::Root;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// The longest line that is waited for. Labels make lines long, but nothing that long was written by us.
const MAX_LINE: usize = 16 << 20;

/// The events of a root, the oldest first.
#[derive(Debug)]
pub struct EventLog {
    root: Root,
    watch: Inotify,
    /// Files after the current one, the next one last.
    ahead: Vec<File>,
    current: Option<File>,
    /// What was read of the current file and is not told yet.
    buffer: Vec<u8>,
    /// Whether the first line has to be dropped, because it was begun before.
    torn: bool,
}

impl EventLog {
    /// All events that are on record, and those to come.
    ///
    /// # Errors
    /// When a file cannot be opened or the root cannot be watched.
    pub fn from_the_start(root: &Root) -> io::Result<Self> {
        // From the newest to the oldest: after a rotation in between both are the same file.
        let mut log = Self::open(root)?;
        let newest = open_if_there(&path(root))?;
        let oldest = open_if_there(&older_path(root))?;
        for file in [newest, oldest].into_iter().flatten() {
            if !log.ahead.last().is_some_and(|known| same_file(known, &file)) {
                log.ahead.push(file);
            }
        }
        Ok(log)
    }

    /// Only the events to come.
    ///
    /// # Errors
    /// As [`EventLog::from_the_start`].
    pub fn from_now_on(root: &Root) -> io::Result<Self> {
        let mut log = Self::open(root)?;
        if let Some(mut file) = open_if_there(&path(root))? {
            let end = file.seek(SeekFrom::End(0))?;
            if end > 0 {
                let mut last = [0];
                file.seek(SeekFrom::Start(end - 1))?;
                file.read_exact(&mut last)?;
                log.torn = last != *b"\n";
            }
            log.current = Some(file);
        }
        Ok(log)
    }

    fn open(root: &Root) -> io::Result<Self> {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        watch.add_watch(root.path(), changes)?;
        Ok(Self {
            root: root.clone(),
            watch,
            ahead: Vec::new(),
            current: None,
            buffer: Vec::new(),
            torn: false,
        })
    }

    /// The next event, or nothing when there is none yet. A line that is no event is passed over.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&mut self) -> io::Result<Option<Event>> {
        loop {
            while let Some(line) = self.line()? {
                if std::mem::take(&mut self.torn) {
                    continue;
                }
                match serde_json::from_slice(&line) {
                    Ok(event) => return Ok(Some(event)),
                    Err(e) => tracing::warn!("a line of the events is damaged: {e}"),
                }
            }
            let Some(next) = self.next_file()? else { return Ok(None) };
            // The last lines may have come between the reading and the rotation.
            if self.current.is_some() && self.fill()? > 0 {
                self.ahead.push(next);
                continue;
            }
            self.current = Some(next);
            self.buffer.clear();
        }
    }

    /// Waits until something may have happened, at most for `limit`.
    ///
    /// # Errors
    /// When the watch fails.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map_or(PollTimeout::NONE, |limit| {
            // Rounded up, so that a wait is never a busy loop.
            PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)], limit) {
            Ok(0) | Err(Errno::EINTR) => Ok(()),
            Ok(_) => Ok(self.watch.read_events().map(drop)?),
            Err(e) => Err(e.into()),
        }
    }

    /// The next whole line of the current file.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&b| b == b'\n') {
                return Ok(Some(self.buffer.drain(..=searched + at).collect()));
            }
            searched = self.buffer.len();
            if searched > MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of the events has no end"));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads on in the current file.
    fn fill(&mut self) -> io::Result<usize> {
        let Some(file) = &mut self.current else { return Ok(0) };
        let known = self.buffer.len();
        self.buffer.resize(known + CHUNK, 0);
        let read = loop {
            match file.read(&mut self.buffer[known..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(known + *read.as_ref().unwrap_or(&0));
        read
    }

    /// The file to go on with after the current one.
    fn next_file(&mut self) -> io::Result<Option<File>> {
        if let Some(file) = self.ahead.pop() {
            return Ok(Some(file));
        }
        let Some(newest) = open_if_there(&path(&self.root))? else { return Ok(None) };
        let Some(current) = &self.current else { return Ok(Some(newest)) };
        if same_file(current, &newest) {
            return Ok(None);
        }
        // After one rotation the current file is the older one; after two there is one in between.
        match open_if_there(&older_path(&self.root))? {
            Some(older) if !same_file(current, &older) && !same_file(&newest, &older) => {
                self.ahead.push(newest);
                Ok(Some(older))
            }
            _ => Ok(Some(newest)),
        }
    }
}

fn open_if_there(path: &std::path::Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn same_file(a: &File, b: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(a).is_some() && identity(a) == identity(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    fn root() -> (tempfile::TempDir, Root) {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        (temporary, root)
    }

    fn line(action: &str) -> Vec<u8> {
        let event = Event {
            time: jiff::Timestamp::now(),
            kind: super::super::Kind::Container,
            action: action.to_owned(),
            id: "1".to_owned(),
            attributes: BTreeMap::new(),
        };
        let mut line = serde_json::to_vec(&event).unwrap();
        line.push(b'\n');
        line
    }

    fn write(root: &Root, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(path(root)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn rotate(root: &Root) {
        fs::rename(path(root), older_path(root)).unwrap();
    }

    fn actions(log: &mut EventLog) -> Vec<String> {
        std::iter::from_fn(|| log.read().unwrap()).map(|event| event.action).collect()
    }

    #[test]
    fn events_are_followed_across_rotations() {
        let (_temporary, root) = root();
        let mut log = EventLog::from_the_start(&root).unwrap();
        assert!(actions(&mut log).is_empty());
        write(&root, &line("a"));
        log.wait(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(actions(&mut log), ["a"]);
        write(&root, &line("b"));
        rotate(&root);
        write(&root, &line("c"));
        assert_eq!(actions(&mut log), ["b", "c"]);
        for action in ["d", "e"] {
            write(&root, &line(action));
            rotate(&root);
        }
        write(&root, &line("f"));
        // What was rotated away twice cannot be opened any more, except by who had it open.
        assert_eq!(actions(&mut log), ["d", "e", "f"]);
        assert_eq!(actions(&mut EventLog::from_the_start(&root).unwrap()), ["e", "f"]);
    }

    #[test]
    fn half_a_line_is_waited_for_and_damage_is_passed_over() {
        let (_temporary, root) = root();
        let whole = line("whole");
        write(&root, &whole[..10]);
        let mut late = EventLog::from_now_on(&root).unwrap();
        let mut log = EventLog::from_the_start(&root).unwrap();
        assert!(actions(&mut log).is_empty());
        write(&root, &whole[10..]);
        write(&root, b"{\"not\": \"ours\"}\n\xff\n");
        write(&root, &line("next"));
        assert_eq!(actions(&mut log), ["whole", "next"]);
        assert_eq!(actions(&mut late), ["next"]);
    }

    #[test]
    fn only_what_comes_is_told_to_who_asks_for_that() {
        let (_temporary, root) = root();
        write(&root, &line("before"));
        let mut log = EventLog::from_now_on(&root).unwrap();
        assert!(actions(&mut log).is_empty());
        write(&root, &line("after"));
        assert_eq!(actions(&mut log), ["after"]);
    }
}
