//! What the agent does between the greeting and the end: one loop over the host, the children and the streams.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use moat_protocol::frame::FrameError;
use moat_protocol::guest::{ContainerSpec, HostMessage};
use moat_protocol::{ExitStatus, GuestMessage, ProcessId, StreamToken, TerminalSize};

use crate::container::{Cgroup, Container, News};
use crate::control::Control;
use crate::dial::Dial;
use crate::reaper::Reaper;
use crate::streams::{BUFFER_SIZE, Flow, Relay};
use crate::sys::poll::{self, Interest};
use crate::{kmsg, network, sys};

/// How long killed processes may take to disappear before the disk is settled without waiting for them any more; one
/// that hangs in the kernel would otherwise keep the guest from ever ending.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Where the container is put together.
pub struct Place {
    /// Its root file system, a mount point.
    pub root: PathBuf,
    /// A directory for the files that are mounted over /etc/hosts and its like.
    pub etc: PathBuf,
    /// Its control group, which is created; the parent must be a cgroup2 mount.
    pub cgroup: PathBuf,
}

/// Serves the host until it asks for the end or is gone, then ends every process of the container.
pub fn serve(control: OwnedFd, dialer: &dyn Dial, place: &Place) {
    match Server::new(control, dialer, place) {
        Ok(mut server) => {
            if let Err(error) = server.run() {
                kmsg::log(format_args!("lost the host: {error}"));
            }
            server.end();
        }
        Err(error) => kmsg::log(format_args!("cannot serve the host: {error}")),
    }
}

struct Server<'a> {
    control: Control,
    dialer: &'a dyn Dial,
    place: &'a Place,
    reaper: Reaper,
    container: Option<Container>,
    relays: Vec<Relay>,
    buffer: Box<[u8]>,
}

/// What a wait has found.
struct Events {
    control: poll::Events,
    children: bool,
    news: bool,
    /// For each relay what is up at its sink, or nothing when neither end has anything.
    relays: Vec<Option<poll::Events>>,
}

impl<'a> Server<'a> {
    fn new(control: OwnedFd, dialer: &'a dyn Dial, place: &'a Place) -> nix::Result<Self> {
        sys::process::ignore_broken_pipes(true)?;
        Ok(Self {
            control: Control::new(control)?,
            dialer,
            place,
            reaper: Reaper::new()?,
            container: None,
            relays: Vec::new(),
            buffer: vec![0; BUFFER_SIZE].into_boxed_slice(),
        })
    }

    /// Returns when the host asks for the end.
    fn run(&mut self) -> Result<(), FrameError> {
        loop {
            let events = self.wait()?;
            // News of the start before the end of the process, so that the host hears of them in this order.
            if events.news {
                self.take_news()?;
            }
            if events.children {
                self.reap()?;
            }
            self.pump(&events.relays);
            if events.control & poll::OUT != 0 {
                self.control.flush()?;
            }
            if events.control & !poll::OUT != 0 {
                while let Some(message) = self.control.receive()? {
                    if matches!(message, HostMessage::Shutdown) {
                        return Ok(());
                    }
                    self.obey(message)?;
                }
            }
        }
    }

    fn wait(&self) -> Result<Events, FrameError> {
        let news = self.container.as_ref().and_then(Container::news_fd);
        let mut interests = vec![
            Interest::new(self.control.as_fd(), self.control.interest()),
            Interest::new(self.reaper.as_fd(), poll::IN),
        ];
        interests.extend(news.map(|fd| Interest::new(fd, poll::IN)));
        let first_relay = interests.len();
        for relay in &self.relays {
            let (sink, events) = relay.sink_interest();
            interests.push(Interest::new(sink, events));
            interests.extend(relay.source_interest().map(|(source, events)| Interest::new(source, events)));
        }
        poll::wait(&mut interests, None).map_err(|error| FrameError::Io(error.into()))?;
        let found = |at: usize| interests.get(at).map_or(0, Interest::found);
        let mut at = first_relay;
        let relays = self.relays.iter().map(|relay| {
            let sink = found(at);
            at += 1;
            let mut any = sink != 0;
            if relay.source_interest().is_some() {
                any |= found(at) != 0;
                at += 1;
            }
            any.then_some(sink)
        });
        let relays = relays.collect();
        let has_news = news.is_some() && found(2) != 0;
        Ok(Events { control: found(0), children: found(1) != 0, news: has_news, relays })
    }

    fn obey(&mut self, message: HostMessage) -> Result<(), FrameError> {
        match message {
            HostMessage::Start { process, token, spec } => self.start(process, &token, &spec),
            HostMessage::Signal { process, signal } => {
                self.signal(process, signal);
                Ok(())
            }
            HostMessage::Resize { process, size } => {
                self.resize(process, size);
                Ok(())
            }
            HostMessage::Shutdown => Ok(()),
        }
    }

    fn start(
        &mut self,
        process: ProcessId,
        token: &StreamToken,
        spec: &ContainerSpec,
    ) -> Result<(), FrameError> {
        if self.container.is_some() {
            let failure = crate::container::Failure::setup("this guest's container has been started before");
            return self.control.send(&failure.message(process));
        }
        network::prepare();
        match Container::start(process, token, spec, self.dialer, self.place) {
            Ok((container, relays)) => {
                self.container = Some(container);
                self.relays = relays;
                Ok(())
            }
            Err(failure) => self.control.send(&failure.message(process)),
        }
    }

    fn running(&mut self, process: ProcessId) -> Option<&mut Container> {
        self.container.as_mut().filter(|container| container.process == process)
    }

    fn signal(&mut self, process: ProcessId, signal: i32) {
        // A process that has been reaped has no pid here any more, so a recycled one is never hit.
        let Some(pid) = self.running(process).and_then(|container| container.pid) else { return };
        if let Err(error) = sys::process::kill(pid, signal) {
            kmsg::log(format_args!("cannot send signal {signal}: {error}"));
        }
    }

    fn resize(&mut self, process: ProcessId, size: TerminalSize) {
        if let Some(container) = self.running(process) {
            container.resize(size);
        }
    }

    /// Hears from the process that is being started.
    fn take_news(&mut self) -> Result<(), FrameError> {
        let Some(container) = &mut self.container else { return Ok(()) };
        loop {
            let message = match container.take_news() {
                News::None => return Ok(()),
                News::Terminal(relays) => {
                    self.relays.extend(relays);
                    continue;
                }
                News::Started => GuestMessage::Started { process: container.process },
                News::Failed(failure) => {
                    self.relays.clear();
                    failure.message(container.process)
                }
            };
            self.control.send(&message)?;
        }
    }

    fn reap(&mut self) -> Result<(), FrameError> {
        let pid = self.container.as_ref().and_then(|container| container.pid);
        let Some(status) = self.reaper.reap(pid) else { return Ok(()) };
        self.take_news()?;
        self.report_exit(status)
    }

    fn report_exit(&mut self, status: ExitStatus) -> Result<(), FrameError> {
        let Some(container) = &mut self.container else { return Ok(()) };
        container.pid = None;
        if container.failed() {
            return Ok(());
        }
        let oom_killed = container.cgroup.oom_killed();
        self.control.send(&GuestMessage::Exited { process: container.process, status, oom_killed })
    }

    fn pump(&mut self, events: &[Option<poll::Events>]) {
        let mut hung_up = false;
        let mut events = events.iter().copied().chain(std::iter::repeat(None));
        self.relays.retain_mut(|relay| {
            let Some(Some(sink)) = events.next() else { return true };
            let goes_on = relay.pump(sink, &mut self.buffer) == Flow::Open;
            hung_up |= !goes_on && relay.is_terminal_output();
            goes_on
        });
        if hung_up {
            // Nobody sees the terminal any more: with its last descriptor it hangs up, as a line would.
            self.relays.retain(|relay| !relay.is_terminal());
            if let Some(container) = &mut self.container {
                container.hang_up();
            }
        }
    }

    /// Ends every process that is left.
    fn end(&mut self) {
        self.relays.clear();
        let Some(container) = &self.container else { return };
        if let Err(error) = container.cgroup.kill() {
            kmsg::log(format_args!("cannot kill the container: {error}"));
        }
        let deadline = Instant::now() + END_LIMIT;
        while !self.reaper.is_alone() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                kmsg::log("a killed process does not end");
                return;
            }
            wait_for_child(self.reaper.as_fd(), left);
        }
    }
}

fn wait_for_child(children: BorrowedFd<'_>, limit: Duration) {
    // Whatever comes of it, the caller looks again.
    let _ = poll::wait(&mut [Interest::new(children, poll::IN)], Some(limit));
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if let Some(container) = &self.container {
            Cgroup::remove(&container.cgroup);
        }
    }
}
