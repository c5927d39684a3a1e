//! The host's ends of a process's streams.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use moat_protocol::ProcessId;
use moat_protocol::output::{self, OUTPUT_HEADER, Source};

/// The host's ends of a process's streams.
#[derive(Debug)]
pub struct Streams {
    pub process: ProcessId,
    pub terminal: bool,
    pub stdin: Option<UnixStream>,
    pub output: Option<UnixStream>,
    pub names: Option<UnixStream>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { process: ProcessId(0), terminal: false, stdin: None, output: None, names: None }
    }
}

impl Streams {
    pub fn type_in(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next piece of output; a terminal's is all stdout. Nothing at the end.
    pub fn next(&mut self) -> Option<(Source, Vec<u8>)> {
        let connection = self.output.as_mut()?;
        if self.terminal {
            let mut bytes = vec![0; 4096];
            let count = connection.read(&mut bytes).unwrap();
            bytes.truncate(count);
            return (count > 0).then_some((Source::Stdout, bytes));
        }
        let mut header = [0; OUTPUT_HEADER];
        let count = connection.read(&mut header).unwrap();
        if count == 0 {
            return None;
        }
        connection.read_exact(&mut header[count..]).unwrap();
        let (source, length) = output::parse(header).unwrap();
        let mut bytes = vec![0; length];
        connection.read_exact(&mut bytes).unwrap();
        Some((source, bytes))
    }

    /// Reads output until `text` appears in it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.next() {
                Some((_, bytes)) => seen.extend(bytes),
                None => panic!("the end came before {text:?} in {:?}", String::from_utf8_lossy(&seen)),
            }
            let so_far = String::from_utf8_lossy(&seen);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
        }
    }

    /// Reads both outputs to their end.
    pub fn read_all(&mut self) -> (String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some((source, bytes)) = self.next() {
            match source {
                Source::Stdout => stdout.extend(bytes),
                Source::Stderr => stderr.extend(bytes),
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(stdout), text(stderr))
    }
}
