//! The agent's loop between the greeting and the end. It serves the host, the children and the streams.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use moat_protocol::frame::FrameError;
use moat_protocol::guest::{ContainerSpec, ExecSpec, HostMessage};
use moat_protocol::{GuestMessage, ProcessId, StreamToken};

use crate::container::{Container, HOSTS, renew_resolv_conf};
use crate::control::Control;
use crate::dial::Dial;
use crate::failure::Failure;
use crate::place::Place;
use crate::process::{News, Part, Process};
use crate::reaper::Reaper;
use crate::requests::Requests;
use crate::resolver::{self, Resolver};
use crate::streams::BUFFER_SIZE;
use crate::sys::poll::{self, Interest};
use crate::{kmsg, network, stats, sys};

/// How long killed processes may take to end before the disk is settled without them. A process that hangs in the
/// kernel would otherwise keep the guest from ending.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How many processes the host can have at once. Each holds at most six descriptors here, and PID 1 may have 1024.
const MOST_PROCESSES: usize = 128;

/// Serves the host until it asks for the end or is gone. Then ends every process of the container.
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
    /// The processes that have not ended, and those whose output has not been delivered.
    processes: Vec<Process>,
    requests: Requests,
    resolver: Option<Resolver>,
    buffer: Box<[u8]>,
}

/// What an event belongs to.
#[derive(Clone, Copy)]
enum Subject {
    Process(ProcessId, Part),
    Children,
    Request(usize),
    Resolver(resolver::Part),
    Control,
}

impl<'a> Server<'a> {
    fn new(control: OwnedFd, dialer: &'a dyn Dial, place: &'a Place) -> nix::Result<Self> {
        sys::process::ignore_broken_pipes()?;
        Ok(Self {
            control: Control::new(control)?,
            dialer,
            place,
            reaper: Reaper::new()?,
            container: None,
            processes: Vec::new(),
            requests: Requests::default(),
            resolver: None,
            buffer: vec![0; BUFFER_SIZE].into_boxed_slice(),
        })
    }

    /// Returns when the host asks for the end.
    fn run(&mut self) -> Result<(), FrameError> {
        loop {
            for (subject, events) in self.wait()? {
                match subject {
                    Subject::Process(id, Part::News) => self.take_news(id)?,
                    Subject::Process(id, part) => {
                        if let Some(process) = find(&mut self.processes, id) {
                            process.pump(part, events, &mut self.buffer);
                        }
                    }
                    Subject::Children => self.reap()?,
                    Subject::Request(at) => {
                        if let Some(answer) = self.requests.hear(at, self.container.as_ref()) {
                            self.control.send_frame(answer)?;
                        }
                    }
                    Subject::Resolver(part) => {
                        let pumped = self.resolver.as_mut().map(|it| it.pump(part, events, &mut self.buffer));
                        if pumped == Some(false) {
                            self.resolver = None;
                        }
                    }
                    Subject::Control => {
                        if events & poll::OUT != 0 {
                            self.control.flush()?;
                        }
                        if events & !poll::OUT != 0 && self.listen()? {
                            return Ok(());
                        }
                    }
                }
            }
            self.processes.iter_mut().for_each(Process::sweep);
            self.processes.retain(|process| !process.is_over());
            self.requests.sweep();
        }
    }

    /// Waits for events and returns them with their subjects. The result of a start comes before the end of the
    /// process, so that the host hears of them in this order.
    fn wait(&self) -> Result<Vec<(Subject, poll::Events)>, FrameError> {
        let news = self.processes.iter().filter_map(|process| {
            Some((Subject::Process(process.id, Part::News), process.news_fd()?, poll::IN))
        });
        let streams = self.processes.iter().flat_map(|process| {
            let of = |part| Subject::Process(process.id, part);
            process.stream_interests().map(move |(part, fd, events)| (of(part), fd, events))
        });
        let requests = self.requests.interests().map(|(at, fd)| (Subject::Request(at), fd, poll::IN));
        let names = self.resolver.iter().flat_map(Resolver::interests);
        let names = names.map(|(part, fd, events)| (Subject::Resolver(part), fd, events));
        let watched: Vec<_> = news
            .chain([(Subject::Children, self.reaper.as_fd(), poll::IN)])
            .chain(streams)
            .chain(requests)
            .chain(names)
            .chain([(Subject::Control, self.control.as_fd(), self.control.interest())])
            .collect();
        let mut interests: Vec<_> =
            watched.iter().map(|(_, fd, events)| Interest::new(*fd, *events)).collect();
        poll::wait(&mut interests, None).map_err(|error| FrameError::Io(error.into()))?;
        let found =
            watched.iter().zip(interests).map(|((subject, ..), interest)| (*subject, interest.found()));
        Ok(found.filter(|(_, events)| *events != 0).collect())
    }

    /// Takes the host's messages, and returns whether it asks for the end.
    fn listen(&mut self) -> Result<bool, FrameError> {
        while let Some(message) = self.control.receive()? {
            if matches!(message, HostMessage::Shutdown) {
                return Ok(true);
            }
            self.obey(message)?;
        }
        Ok(false)
    }

    fn obey(&mut self, message: HostMessage) -> Result<(), FrameError> {
        match message {
            HostMessage::Start { process, token, spec } => {
                let started = self.start(process, &token, &spec);
                self.admit(process, started)
            }
            HostMessage::Exec { process, token, spec } => {
                let started = self.exec(process, &token, &spec);
                self.admit(process, started)
            }
            HostMessage::Signal { process, signal } => {
                if let Some(process) = find(&mut self.processes, process) {
                    process.signal(signal);
                }
                Ok(())
            }
            HostMessage::Resize { process, size } => {
                if let Some(process) = find(&mut self.processes, process) {
                    process.resize(size);
                }
                Ok(())
            }
            HostMessage::Archive { request, token, task } => {
                let running = running(self.container.as_ref(), &self.processes);
                let way = (self.place, self.dialer);
                let started = self.requests.archive(request, &token, &task, way, running);
                self.refuse(started)
            }
            HostMessage::Processes { request } => {
                let started = self.requests.processes(request, self.container.as_ref());
                self.refuse(started)
            }
            HostMessage::Stats { request } => {
                let stats = stats::read(&self.place.cgroup);
                self.control.send(&GuestMessage::Stats { request, stats })
            }
            HostMessage::LimitProcesses { limit } => {
                if let Some(container) = &self.container
                    && let Err(error) = container.cgroup.limit_processes(limit)
                {
                    kmsg::log(format_args!("cannot limit the number of processes: {error}"));
                }
                Ok(())
            }
            HostMessage::ConnectNetwork { request, device, interface, hosts, dns } => {
                let etc = &self.place.etc;
                let started = self.requests.network(request, || {
                    network::connect(&device, &interface, &hosts, &etc.join(HOSTS))?;
                    renew_resolv_conf(etc, &dns)
                });
                self.refuse(started)
            }
            HostMessage::DisconnectNetwork { request, device, mac } => {
                let file = self.place.etc.join(HOSTS);
                let started = self.requests.network(request, || network::disconnect(&device, mac, &file));
                self.refuse(started)
            }
            HostMessage::Shutdown => Ok(()),
        }
    }

    fn refuse(&mut self, started: Result<(), GuestMessage>) -> Result<(), FrameError> {
        started.or_else(|refusal| self.control.send(&refusal))
    }

    fn start(
        &mut self,
        id: ProcessId,
        token: &StreamToken,
        spec: &ContainerSpec,
    ) -> Result<Process, Failure> {
        if self.container.is_some() {
            return Err(Failure::setup("this guest's container has been started before"));
        }
        network::prepare(&spec.network)?;
        if spec.network.dns.is_resolved_by_host() {
            self.resolver = Some(Resolver::start(self.dialer, token)?);
        }
        let (container, process) = Container::start(id, token, spec, self.dialer, self.place)?;
        self.container = Some(container);
        Ok(process)
    }

    fn exec(&mut self, id: ProcessId, token: &StreamToken, spec: &ExecSpec) -> Result<Process, Failure> {
        if find(&mut self.processes, id).is_some() {
            return Err(Failure::setup(format!("there is a process with the name {} already", id.0)));
        }
        if self.processes.len() >= MOST_PROCESSES {
            let message =
                format!("{MOST_PROCESSES} processes have been started in the container and not ended");
            return Err(Failure::setup(message));
        }
        let running = running(self.container.as_ref(), &self.processes);
        let container = running.ok_or_else(|| Failure::setup("the container is not running"))?;
        container.exec(id, token, spec, self.dialer)
    }

    /// Takes a new process in, or tells the host why there is none.
    fn admit(&mut self, id: ProcessId, started: Result<Process, Failure>) -> Result<(), FrameError> {
        match started {
            Ok(process) => {
                self.processes.push(process);
                Ok(())
            }
            Err(failure) => self.control.send(&failure.message(id)),
        }
    }

    /// Tells the host the result of a start, if it is known.
    fn take_news(&mut self, id: ProcessId) -> Result<(), FrameError> {
        let news = find(&mut self.processes, id).and_then(Process::take_news);
        self.tell(id, news)
    }

    fn tell(&mut self, id: ProcessId, news: Option<News>) -> Result<(), FrameError> {
        match news {
            None => Ok(()),
            Some(News::Started) => self.control.send(&GuestMessage::Started { process: id }),
            Some(News::Failed(failure)) => self.control.send(&failure.message(id)),
        }
    }

    fn reap(&mut self) -> Result<(), FrameError> {
        for (pid, status) in self.reaper.reap() {
            self.requests.reaped(pid);
            let Some(process) = self.processes.iter_mut().find(|process| process.pid == Some(pid)) else {
                continue;
            };
            process.pid = None;
            let (id, news) = (process.id, process.take_news());
            let failed = process.failed();
            self.tell(id, news)?;
            if !failed {
                let oom_killed = self.container.as_ref().is_some_and(|it| it.cgroup.oom_killed());
                self.control.send(&GuestMessage::Exited { process: id, status, oom_killed })?;
            }
        }
        Ok(())
    }

    /// Ends every process that is left.
    fn end(&mut self) {
        self.processes.clear();
        self.requests.kill();
        if let Some(container) = &self.container
            && let Err(error) = container.cgroup.kill()
        {
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

/// The container, while its first process runs.
fn running<'a>(container: Option<&'a Container>, processes: &[Process]) -> Option<&'a Container> {
    container.filter(|it| processes.iter().any(|process| process.id == it.first && process.is_running()))
}

/// The process with a name. A process that failed to start has lost its name, even before it is reaped.
fn find(processes: &mut [Process], id: ProcessId) -> Option<&mut Process> {
    processes.iter_mut().find(|process| process.id == id && !process.failed())
}

fn wait_for_child(children: BorrowedFd<'_>, limit: Duration) {
    // The caller looks again in any case.
    let _ = poll::wait(&mut [Interest::new(children, poll::IN)], Some(limit));
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if let Some(container) = &self.container {
            container.cgroup.remove();
        }
    }
}
