//! One client: its request, and what it hears about it.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;

use moat_protocol::frame::FrameError;
use moat_protocol::{ArchiveTask, ProcessId, TerminalSize};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::agent::MAIN;
use super::execs::{Exec, Started};
use super::link::{self, Receiver, Sender};
use super::run::Run;
use super::{Monitor, Phase};
use moat_monitor::config::Purpose;
use moat_monitor::wire::{ClientMessage, ExecRequest, MonitorMessage, Refusal};
use moat_records::id::ExecId;
use moat_records::kind::ErrorKind;
use moat_records::signal;

/// How long a client may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// What a session answers its request with, beyond what it has sent already.
type Answer = Result<MonitorMessage, Refusal>;

/// Takes clients as long as the monitor lives.
pub async fn accept(monitor: &Rc<Monitor>, listener: &UnixListener) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let monitor = Rc::clone(monitor);
                spawn_local(async move {
                    // A client that goes away without a word is no news.
                    let _ = begin(&monitor, client).await;
                });
            }
            Err(e) => {
                // Out of descriptors, most likely: those who are connected go first.
                tracing::warn!("cannot take another client: {e}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Hears a client's request and serves it in a task of its own.
///
/// # Errors
/// When the client asks for nothing.
pub async fn begin(monitor: &Rc<Monitor>, client: UnixStream) -> Result<(), Refusal> {
    let counted = Counted::new(monitor);
    let (mut receiver, mut sender) = link::split(client);
    let request = timeout(REQUEST_LIMIT, receiver.receive()).await;
    if let Ok(Err(error @ (FrameError::Version { .. } | FrameError::Message(_)))) = &request {
        // A client of another version hears why; one that has gone does not want to know.
        let refusal =
            Refusal::new(ErrorKind::Unsupported, format_args!("its monitor does not know that: {error}"));
        let _ = sender.send(&MonitorMessage::Refused(refusal)).await;
    }
    let request: ClientMessage = request
        .map_err(|_| Refusal::new(ErrorKind::Invalid, "it asked for nothing"))?
        .map_err(Refusal::host)?;
    let mut output = None;
    if let ClientMessage::Attach { output: wanted, size, .. } = &request {
        if size.is_some() {
            monitor.size.set(*size);
        }
        // Before anything else happens: it misses nothing from here on.
        if *wanted {
            output = Some(monitor.hub.join().map_err(Refusal::host)?);
        }
    }
    let session = Session { monitor: Rc::clone(monitor), receiver, sender };
    // Judged by the state in which it arrived, also if the container is in another one when it is served.
    let refusal = session.refusal(&request);
    spawn_local(async move {
        session.serve(request, refusal, output).await;
        drop(counted);
    });
    Ok(())
}

/// A client that is connected.
struct Counted(Rc<Monitor>);

impl Counted {
    fn new(monitor: &Rc<Monitor>) -> Self {
        monitor.clients.send_modify(|count| *count += 1);
        Self(Rc::clone(monitor))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.clients.send_modify(|count| *count -= 1);
    }
}

struct Session {
    monitor: Rc<Monitor>,
    receiver: Receiver<ClientMessage>,
    sender: Sender<MonitorMessage>,
}

impl Session {
    async fn serve(
        mut self,
        request: ClientMessage,
        refusal: Option<Refusal>,
        output: Option<StdUnixStream>,
    ) {
        let answer = match refusal {
            Some(refusal) => Err(refusal),
            None => self.answer(request, output).await,
        };
        let message = answer.unwrap_or_else(MonitorMessage::Refused);
        // A client that has gone does not want to know.
        let _ = self.sender.send(&message).await;
    }

    /// Why a request is not carried out, if it is not.
    fn refusal(&self, request: &ClientMessage) -> Option<Refusal> {
        if *request == ClientMessage::Unknown {
            let message = "its monitor is of an older release of Moat and does not know that request; stop the \
                           container and start it again for one of this release";
            return Some(Refusal::new(ErrorKind::Unsupported, message));
        }
        let Some(verb) = request.verb() else { return Some(no_request()) };
        let looks = matches!(request, ClientMessage::Archive { .. });
        if self.monitor.config.purpose == Purpose::Look && !looks {
            return Some(Refusal::new(
                ErrorKind::Busy,
                "the container's files are being read; try again in a moment",
            ));
        }
        self.monitor.container.borrow().permit(verb).err().map(Refusal::from)
    }

    async fn answer(&mut self, request: ClientMessage, output: Option<StdUnixStream>) -> Answer {
        match request {
            ClientMessage::Attach { stdin, size, .. } => self.attach(stdin, output, size).await,
            ClientMessage::Exec { process, size } => self.exec(process, size).await,
            ClientMessage::ExecCreate { process } => {
                let exec = self.monitor.exec_create(process)?;
                Ok(MonitorMessage::ExecCreated { id: exec.id().clone() })
            }
            ClientMessage::ExecStart { id, stdin, output, size } => {
                let exec = self.monitor.execs.find(&id)?;
                self.exec_start(&exec, (stdin, output), size).await
            }
            ClientMessage::ExecResize { id, size } => {
                self.monitor.exec_resize(&id, size).await.map(|()| MonitorMessage::Done)
            }
            ClientMessage::ExecInspect { id } => self.exec_info(&id, false).await,
            ClientMessage::ExecWait { id } => self.exec_info(&id, true).await,
            ClientMessage::Kill { signal } => self.kill(signal).await,
            ClientMessage::Stop { signal, timeout, keep } => self.stop(signal, timeout, keep).await,
            ClientMessage::Pause => self.monitor.freeze(true).await.map(|()| MonitorMessage::Done),
            ClientMessage::Unpause => self.monitor.freeze(false).await.map(|()| MonitorMessage::Done),
            ClientMessage::Wait => {
                self.monitor.over().await;
                Ok(self.monitor.last_end.borrow().clone())
            }
            ClientMessage::Update { update } => self.monitor.update(update).await,
            ClientMessage::Rename { name } => self.rename(&name),
            ClientMessage::Connect { join } => self.monitor.connect(join).await,
            ClientMessage::Disconnect { network } => self.monitor.disconnect(&network).await,
            ClientMessage::Stats => {
                let stats = self.monitor.up().await?.agent.stats().await?;
                Ok(MonitorMessage::Stats { stats })
            }
            ClientMessage::Processes => {
                let processes = self.monitor.up().await?.agent.processes().await?;
                Ok(MonitorMessage::Processes { processes })
            }
            ClientMessage::Archive { task } => self.archive(task).await,
            ClientMessage::Resize { .. }
            | ClientMessage::Hangup
            | ClientMessage::Detach
            | ClientMessage::Unknown => Err(no_request()),
        }
    }

    async fn attach(
        &mut self,
        wants_stdin: bool,
        output: Option<StdUnixStream>,
        size: Option<TerminalSize>,
    ) -> Answer {
        if wants_stdin || output.is_some() {
            self.monitor.emit("attach", &[]);
        }
        let joins = matches!(*self.monitor.phase.borrow(), Phase::Up(_));
        let Ok(run) = self.monitor.up().await else { return Ok(self.monitor.last_end.borrow().clone()) };
        let stdin = if wants_stdin { run.stdin() } else { None };
        let (terminal, once) = {
            let process = &self.monitor.container.borrow().config.process;
            (process.terminal, process.stdin_once)
        };
        if let Some(size) = size {
            // A process is told of a change only, and one that has drawn its screen already must draw it again.
            if joins {
                let _ = run.agent.resize(MAIN, other_than(size)).await;
            }
            let _ = run.agent.resize(MAIN, size).await;
            tell_size(&self.monitor, size);
        }
        let has_stdin = stdin.is_some();
        self.started(output, stdin, terminal, once).await?;
        let mut phases = self.monitor.phase.subscribe();
        let ended = phases.wait_for(|phase| !matches!(phase, Phase::Up(now) if Rc::ptr_eq(now, &run)));
        let mut kept = None;
        let left = tokio::select! {
            _ = ended => return Ok(self.monitor.last_end.borrow().clone()),
            left = follow(&self.monitor, &mut self.receiver, &run, MAIN, &mut kept) => left,
        };
        if left == Left::Detached {
            self.monitor.emit("detach", &[]);
        }
        if left == Left::Gone && has_stdin && once {
            run.end_input();
        }
        Ok(MonitorMessage::Done)
    }

    async fn started(
        &mut self,
        output: Option<StdUnixStream>,
        stdin: Option<StdUnixStream>,
        terminal: bool,
        stdin_ends: bool,
    ) -> Result<(), Refusal> {
        let message = MonitorMessage::Started {
            output: output.is_some(),
            stdin: stdin.is_some(),
            terminal,
            stdin_ends,
        };
        let descriptors: Vec<BorrowedFd<'_>> =
            [&output, &stdin].into_iter().flatten().map(AsFd::as_fd).collect();
        self.sender.send_with(&message, &descriptors).await.map_err(Refusal::host)
    }

    /// Starts a process for this client and stays with it.
    async fn exec_start(
        &mut self,
        exec: &Rc<Exec>,
        wanted: (bool, bool),
        size: Option<TerminalSize>,
    ) -> Answer {
        let run = self.monitor.up().await?;
        let started = match self.monitor.exec_start(&run, exec, wanted, size).await? {
            Ok(started) => started,
            Err(failed) => return Ok(failed),
        };
        let Started { output, stdin, process, mut end } = started;
        // A client that leaves takes its ends along; what the process still writes then goes nowhere.
        let mut rest = output.as_ref().and_then(|output| output.try_clone().ok());
        let sent = self.started(output, stdin, exec.terminal(), true).await;
        if sent.is_ok() {
            tokio::select! {
                exit = &mut end => return Ok(match exit {
                    Ok(Ok(exit)) => MonitorMessage::Exited { code: exit.code, error: None },
                    _ => MonitorMessage::Exited {
                        code: moat_containers::state::LOST_EXIT_CODE,
                        error: Some("the container ended".to_owned()),
                    },
                }),
                left = follow(&self.monitor, &mut self.receiver, &run, process, &mut rest) => {
                    if left == Left::Detached {
                        self.monitor.emit("exec_detach", &[("execID", exec.id().to_string())]);
                    }
                }
            }
        }
        if let Some(rest) = rest {
            spawn_local(discard(rest));
        }
        Ok(MonitorMessage::Done)
    }

    /// Creates and starts a process for this client alone.
    async fn exec(&mut self, process: ExecRequest, size: Option<TerminalSize>) -> Answer {
        let wanted = (process.stdin, process.output);
        let exec = self.monitor.exec_create(process)?;
        let answer = self.exec_start(&exec, wanted, size).await;
        if !exec.info().running {
            self.monitor.execs.forget(&exec);
        }
        answer
    }

    /// What is known of an exec; with `wait` once it has ended.
    async fn exec_info(&self, id: &ExecId, wait: bool) -> Answer {
        let exec = self.monitor.execs.find(id)?;
        if wait {
            exec.ended().await;
        }
        Ok(MonitorMessage::Exec { exec: exec.info() })
    }

    async fn kill(&mut self, signal: i32) -> Answer {
        let ends = {
            let container = self.monitor.container.borrow();
            signal == signal::KILL || signal == container.config.process.stop_signal
        };
        if ends {
            // As with Docker, the policy does not bring back what was killed.
            self.monitor.by_user.set(true);
            self.monitor.request_stop();
        }
        let Ok(run) = self.monitor.up().await else { return Ok(MonitorMessage::Done) };
        if self.monitor.is_paused() {
            self.monitor.freeze(false).await?;
        }
        self.monitor.emit("kill", &[("signal", signal.to_string())]);
        match run.agent.signal(MAIN, signal).await {
            Ok(()) if signal != signal::KILL => {}
            Err(e) if !ends => return Err(e.into()),
            // A guest that cannot be told is ending by itself just now, or is lost.
            _ => self.monitor.end_by_force(&run).await,
        }
        Ok(MonitorMessage::Done)
    }

    async fn stop(&mut self, signal: Option<i32>, limit: Option<i64>, keep: bool) -> Answer {
        self.monitor.keep.set(keep || self.monitor.keep.get());
        self.monitor.by_user.set(true);
        self.monitor.stop(signal, limit).await?;
        self.monitor.emit("stop", &[]);
        Ok(MonitorMessage::Done)
    }

    fn rename(&self, name: &str) -> Answer {
        let monitor = &self.monitor;
        let mut container = monitor.container.borrow_mut();
        monitor.containers.rename(&mut container, name)?;
        Ok(MonitorMessage::Done)
    }

    async fn archive(&mut self, task: ArchiveTask) -> Answer {
        let run = self.monitor.up().await?;
        let archiving = run.agent.archive(task).await?;
        if let Some(stream) = &archiving.stream {
            let sent = self.sender.send_with(&MonitorMessage::Stream, &[stream.as_fd()]).await;
            sent.map_err(Refusal::host)?;
        }
        // The client has it now; its end of the stream is the only one.
        drop(archiving.stream);
        let result = tokio::select! {
            result = archiving.done => result.map_err(|_| Refusal::host("the guest went away"))?,
            _ = self.receiver.receive() => return Ok(MonitorMessage::Done),
        };
        Ok(match result {
            Ok(stat) => MonitorMessage::ArchiveDone { stat },
            Err((failure, message)) => MonitorMessage::ArchiveFailed { failure, message },
        })
    }
}

/// The answer to a message that starts no session.
fn no_request() -> Refusal {
    Refusal::new(ErrorKind::Invalid, "that is not a request")
}

fn tell_size(monitor: &Monitor, size: TerminalSize) {
    monitor.emit("resize", &[("height", size.rows.to_string()), ("width", size.columns.to_string())]);
}

/// A size that differs from `size` as Docker's does.
fn other_than(size: TerminalSize) -> TerminalSize {
    let other = |length: u16| length.checked_add(1).unwrap_or(length - 1);
    TerminalSize { rows: other(size.rows), columns: other(size.columns) }
}

/// How a client ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It said so.
    Detached,
    /// It is gone.
    Gone,
}

/// Passes signals and sizes on until the client leaves. `output` is let go of when the client reads it no more.
async fn follow(
    monitor: &Monitor,
    receiver: &mut Receiver<ClientMessage>,
    run: &Run,
    process: ProcessId,
    output: &mut Option<StdUnixStream>,
) -> Left {
    loop {
        // The task that waits for the process's end sees a guest that is lost.
        let _ = match receiver.receive().await {
            Ok(ClientMessage::Kill { signal }) => {
                if process == MAIN {
                    monitor.emit("kill", &[("signal", signal.to_string())]);
                }
                run.agent.signal(process, signal).await
            }
            Ok(ClientMessage::Resize { size }) => {
                if process == MAIN {
                    tell_size(monitor, size);
                }
                run.agent.resize(process, size).await
            }
            Ok(ClientMessage::Hangup) => {
                *output = None;
                Ok(())
            }
            Ok(ClientMessage::Detach) => return Left::Detached,
            Ok(_) | Err(_) => return Left::Gone,
        };
    }
}

/// Reads a stream to its end and throws it away.
async fn discard(stream: StdUnixStream) {
    let prepared = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
    let Ok(mut stream) = prepared else { return };
    let mut scrap = [0; 4096];
    while stream.read(&mut scrap).await.is_ok_and(|length| length > 0) {}
}
