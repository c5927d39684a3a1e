//! One client: its request, and what it hears about it.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;

use moat_protocol::{ArchiveTask, ProcessId, TerminalSize};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::agent::MAIN;
use super::link::{self, Receiver, Sender};
use super::run::Run;
use super::wire::{ClientMessage, ExecRequest, MonitorMessage};
use super::{Monitor, Phase, spec};
use crate::engine::id::random_hex;
use crate::engine::{Purpose, signal};

/// How long a client may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// What a session answers its request with, beyond what it has sent already.
type Answer = Result<MonitorMessage, String>;

/// Takes clients for ever.
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
/// In words, when the client asks for nothing.
pub async fn begin(monitor: &Rc<Monitor>, client: UnixStream) -> Result<(), String> {
    let counted = Counted::new(monitor);
    let (mut receiver, sender) = link::split(client);
    let request = timeout(REQUEST_LIMIT, receiver.receive()).await;
    let request: ClientMessage =
        request.map_err(|_| "it asked for nothing".to_owned())?.map_err(|e| e.to_string())?;
    let mut output = None;
    if let ClientMessage::Attach { output: wanted, size, .. } = &request {
        if size.is_some() {
            monitor.size.set(*size);
        }
        // Before anything else happens: it misses nothing from here on.
        if *wanted {
            output = Some(monitor.hub.join().map_err(|e| e.to_string())?);
        }
    }
    let session = Session { monitor: Rc::clone(monitor), receiver, sender };
    // Judged by the state in which it arrived, whatever becomes of the container before it is served.
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
    async fn serve(mut self, request: ClientMessage, refusal: Option<String>, output: Option<StdUnixStream>) {
        let answer = match refusal {
            Some(message) => Ok(MonitorMessage::Refused { message }),
            None => self.answer(request, output).await,
        };
        let message = answer.unwrap_or_else(|message| MonitorMessage::Refused { message });
        // A client that has gone does not want to know.
        let _ = self.sender.send(&message).await;
    }

    /// Why a request is not carried out, if it is not.
    fn refusal(&self, request: &ClientMessage) -> Option<String> {
        let Some(verb) = request.verb() else { return Some("that is no request".to_owned()) };
        let looks = matches!(request, ClientMessage::Archive { .. });
        if self.monitor.purpose == Purpose::Look && !looks {
            return Some("the container's files are being read; try again in a moment".to_owned());
        }
        self.monitor.container.borrow().permit(verb).err().map(|e| e.to_string())
    }

    async fn answer(&mut self, request: ClientMessage, output: Option<StdUnixStream>) -> Answer {
        match request {
            ClientMessage::Attach { stdin, size, .. } => self.attach(stdin, output, size).await,
            ClientMessage::Exec { process, size } => self.exec(&process, size).await,
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
                let stats = self.monitor.up().await?.agent.stats().await.map_err(|e| e.message)?;
                Ok(MonitorMessage::Stats { stats })
            }
            ClientMessage::Processes => {
                let processes = self.monitor.up().await?.agent.processes().await.map_err(|e| e.message)?;
                Ok(MonitorMessage::Processes { processes })
            }
            ClientMessage::Archive { task } => self.archive(task).await,
            ClientMessage::Resize { .. } | ClientMessage::Hangup | ClientMessage::Detach => {
                Err("that is no request".to_owned())
            }
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
    ) -> Result<(), String> {
        let message = MonitorMessage::Started {
            output: output.is_some(),
            stdin: stdin.is_some(),
            terminal,
            stdin_ends,
        };
        let descriptors: Vec<BorrowedFd<'_>> =
            [&output, &stdin].into_iter().flatten().map(AsFd::as_fd).collect();
        self.sender.send_with(&message, &descriptors).await.map_err(|e| e.to_string())
    }

    async fn exec(&mut self, request: &ExecRequest, size: Option<TerminalSize>) -> Answer {
        let run = self.monitor.up().await?;
        let spec = spec::exec_spec(&self.monitor.container.borrow().config, request, size)
            .map_err(|e| e.to_string())?;
        let words = request.args.join(" ");
        let named = [("execID", random_hex(32).map_err(|e| e.to_string())?)];
        self.monitor.emit(&format!("exec_create: {words}"), &named);
        let running = match run.agent.exec(spec).await {
            Ok(running) => running,
            Err(e) => return Ok(MonitorMessage::Failed { code: e.code, message: e.message }),
        };
        self.monitor.emit(&format!("exec_start: {words}"), &named);
        // A client that leaves takes its ends along; what the process still writes then goes nowhere.
        let mut rest = running.output.as_ref().and_then(|output| output.try_clone().ok());
        let sent = self.started(running.output, running.stdin, request.terminal, true).await;
        let process = running.process;
        let monitor = Rc::clone(&self.monitor);
        let [name] = named.clone();
        let mut ended = spawn_local(async move {
            let exit = running.exit.await;
            let code = exit.as_ref().map_or_else(|_| "137".to_owned(), |exit| exit.code.to_string());
            monitor.emit("exec_die", &[name, ("exitCode", code)]);
            exit
        });
        if sent.is_ok() {
            tokio::select! {
                exit = &mut ended => return Ok(match exit {
                    Ok(Ok(exit)) => MonitorMessage::Exited { code: exit.code, error: None },
                    _ => MonitorMessage::Exited {
                        code: crate::engine::state::LOST_EXIT_CODE,
                        error: Some("the container ended".to_owned()),
                    },
                }),
                left = follow(&self.monitor, &mut self.receiver, &run, process, &mut rest) => {
                    if left == Left::Detached {
                        self.monitor.emit("exec_detach", &named);
                    }
                }
            }
        }
        if let Some(rest) = rest {
            spawn_local(discard(rest));
        }
        Ok(MonitorMessage::Done)
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
            Err(e) if !ends => return Err(e.message),
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
        monitor.engine.rename_held(&mut container, name).map_err(|e| e.to_string())?;
        Ok(MonitorMessage::Done)
    }

    async fn archive(&mut self, task: ArchiveTask) -> Answer {
        let run = self.monitor.up().await?;
        let archiving = run.agent.archive(task).await.map_err(|e| e.message)?;
        if let Some(stream) = &archiving.stream {
            let sent = self.sender.send_with(&MonitorMessage::Stream, &[stream.as_fd()]).await;
            sent.map_err(|e| e.to_string())?;
        }
        // The client has it now; its end of the stream is the only one.
        drop(archiving.stream);
        let result = tokio::select! {
            result = archiving.done => result.map_err(|_| "the guest went away".to_owned())?,
            _ = self.receiver.receive() => return Ok(MonitorMessage::Done),
        };
        Ok(match result {
            Ok(stat) => MonitorMessage::ArchiveDone { stat },
            Err((failure, message)) => MonitorMessage::ArchiveFailed { failure, message },
        })
    }
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
        // A guest that is lost is seen by whoever waits for the process's end.
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
