//! Starts the probe and talks with it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use moat_vmm::config::{Fd, JailConfig, MemoryConfig, VmConfig};
use moat_vmm::launch::{Child, Exit, Launch};

/// A user and a group that no other process has, as far as a test can know.
pub const JAIL: JailConfig = JailConfig { uid: 61_234, gid: 61_235 };

/// A probe that runs.
pub struct Probe {
    pub child: Child,
    talk: BufReader<UnixStream>,
    errors: File,
}

/// A configuration that says `id`; the probe looks at the report and the kernel only.
pub fn config(id: &str, report: Fd, kernel: Fd) -> VmConfig {
    VmConfig {
        id: id.to_owned(),
        vcpus: 1,
        memory_mib: 32,
        memory: MemoryConfig::default(),
        kernel,
        initramfs: kernel,
        command_line: String::new(),
        devices: Vec::new(),
        report,
        control: None,
        debug_console: None,
        jail: JAIL,
    }
}

impl Probe {
    /// Starts this program as the probe `id`.
    pub fn start(id: &str) -> Self {
        Self::start_with(id, |_| {})
    }

    /// As [`Probe::start`], with more for the launch.
    pub fn start_with(id: &str, prepare: impl FnOnce(&mut Launch)) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut launch = Launch::new();
        let report = launch.add(theirs.into());
        let kernel = launch.add(file("the kernel"));
        let errors = tempfile::tempfile().unwrap();
        launch.stderr(errors.try_clone().unwrap().into());
        prepare(&mut launch);
        let child = launch.start(&std::env::current_exe().unwrap(), &config(id, report, kernel)).unwrap();
        Self { child, talk: BufReader::new(ours), errors }
    }

    /// The next line that the probe says.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.talk.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the probe ended: {:?}, {}", self.child.wait(), self.errors());
        line.trim_end().to_owned()
    }

    /// Everything that the probe says until it ends.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        self.talk.read_to_string(&mut text).unwrap();
        text
    }

    /// Lets a waiting probe go on.
    pub fn go_on(&mut self) {
        self.talk.get_mut().write_all(b"\n").unwrap();
    }

    /// What it wrote on standard error.
    pub fn errors(&mut self) -> String {
        use std::io::Seek;
        let mut text = String::new();
        self.errors.rewind().unwrap();
        self.errors.read_to_string(&mut text).unwrap();
        text
    }

    /// Waits for a probe that should do well.
    pub fn finish(mut self) -> String {
        let said = self.rest();
        let exit = self.child.wait().unwrap();
        assert_eq!(exit, Exit::Status(0), "{said}\n{}", self.errors());
        said
    }

    /// A file of /proc about the probe.
    pub fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.pid())).unwrap()
    }

    /// A field of /proc/PID/status.
    pub fn status(&self, field: &str) -> String {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().replace('\t', " ")
    }
}

/// Left over when a test fails.
impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open file that holds `text`.
pub fn file(text: &str) -> OwnedFd {
    use std::io::Seek;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file.into()
}
