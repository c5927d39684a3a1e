//! Processes beside the container's first one. Each has an id, by which any client starts it, waits for it and asks about it
//! while it runs and for some time after.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use moat_containers::state::LOST_EXIT_CODE;
use moat_monitor::wire::{ExecInfo, ExecRequest, MonitorMessage, Refusal};
use moat_protocol::{ProcessId, TerminalSize};
use moat_records::id::ExecId;
use moat_records::kind::ErrorKind;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use crate::agent::{Exit, Running};
use crate::run::Run;
use crate::{Monitor, spec};

/// How many there may be, those that have ended included: each holds what it was asked for.
const MAX_EXECS: usize = 4096;

/// How long what has ended, or was never started, is remembered; Docker's.
const MEMORY: Duration = Duration::from_secs(5 * 60);

/// How far an exec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It can be started.
    Created,
    /// It is being started.
    Starting,
    /// It runs.
    Running(ProcessId),
    /// It has ended, or could not be started, with this exit code.
    Ended(u8),
}

/// One process beside the first.
pub struct Exec {
    id: ExecId,
    request: ExecRequest,
    progress: watch::Sender<Progress>,
    /// When it was created, or ended.
    since: RefCell<Instant>,
}

/// All of a container's.
#[derive(Default)]
pub struct Execs(RefCell<HashMap<ExecId, Rc<Exec>>>);

/// How an exec's process ended; an error means that the guest was lost before.
pub type ExecEnd = JoinHandle<Result<Exit, tokio::sync::oneshot::error::RecvError>>;

impl Execs {
    /// Remembers a new one.
    ///
    /// # Errors
    /// When there are too many.
    fn add(&self, exec: Exec) -> Result<Rc<Exec>, Refusal> {
        let mut all = self.0.borrow_mut();
        all.retain(|_, exec| !exec.is_forgotten());
        if all.len() >= MAX_EXECS {
            let message = format!("it has {MAX_EXECS} execs already; wait until some of them have ended");
            return Err(Refusal::new(ErrorKind::Conflict, message));
        }
        let exec = Rc::new(exec);
        all.insert(exec.id.clone(), Rc::clone(&exec));
        Ok(exec)
    }

    /// The one of this id.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, id: &ExecId) -> Result<Rc<Exec>, Refusal> {
        let found = self.0.borrow().get(id).filter(|exec| !exec.is_forgotten()).cloned();
        found.ok_or_else(|| Refusal {
            names_container: true,
            ..Refusal::new(ErrorKind::NotFound, format_args!("No such exec instance: {id}"))
        })
    }

    /// Forgets one whose only client has heard its end.
    pub fn forget(&self, exec: &Exec) {
        self.0.borrow_mut().remove(&exec.id);
    }
}

impl Exec {
    /// Its id.
    pub fn id(&self) -> &ExecId {
        &self.id
    }

    /// Whether it has a terminal.
    pub fn terminal(&self) -> bool {
        self.request.terminal
    }

    /// What a client hears about it.
    pub fn info(&self) -> ExecInfo {
        let progress = *self.progress.borrow();
        ExecInfo {
            id: self.id.clone(),
            process: self.request.clone(),
            running: matches!(progress, Progress::Starting | Progress::Running(_)),
            exit_code: if let Progress::Ended(code) = progress { Some(code) } else { None },
        }
    }

    /// Its process, while that runs.
    pub fn process(&self) -> Option<ProcessId> {
        if let Progress::Running(process) = *self.progress.borrow() { Some(process) } else { None }
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as this.
        let _ = progress.wait_for(|progress| matches!(progress, Progress::Ended(_))).await;
    }

    fn set(&self, progress: Progress) {
        *self.since.borrow_mut() = Instant::now();
        self.progress.send_replace(progress);
    }

    fn is_forgotten(&self) -> bool {
        let over = matches!(*self.progress.borrow(), Progress::Created | Progress::Ended(_));
        over && self.since.borrow().elapsed() > MEMORY
    }

    /// The words of its command, as events tell them.
    fn words(&self) -> String {
        self.request.args.join(" ")
    }

    fn named(&self) -> (&'static str, String) {
        ("execID", self.id.to_string())
    }
}

/// A process that was started, and its end.
pub struct Started {
    /// What it writes.
    pub output: Option<StdUnixStream>,
    /// What it reads.
    pub stdin: Option<StdUnixStream>,
    /// Its name in the guest.
    pub process: ProcessId,
    /// Its end.
    pub end: ExecEnd,
}

impl Monitor {
    /// Gets ready to start one more process.
    ///
    /// # Errors
    /// When there are too many already.
    pub fn exec_create(&self, request: ExecRequest) -> Result<Rc<Exec>, Refusal> {
        let id = ExecId::random(self.container.borrow().id()).map_err(Refusal::host)?;
        let exec = Exec {
            id,
            request,
            progress: watch::Sender::new(Progress::Created),
            since: RefCell::new(Instant::now()),
        };
        let exec = self.execs.add(exec)?;
        self.emit(&format!("exec_create: {}", exec.words()), &[exec.named()]);
        Ok(exec)
    }

    /// Starts a process, with input and output if those are wanted and it was created with them. An error of the guest is
    /// an answer of its own, with Docker's exit code.
    ///
    /// # Errors
    /// When it was started before, or the container is not up.
    pub async fn exec_start(
        self: &Rc<Self>,
        run: &Run,
        exec: &Rc<Exec>,
        (stdin, output): (bool, bool),
        size: Option<TerminalSize>,
    ) -> Result<Result<Started, MonitorMessage>, Refusal> {
        if *exec.progress.borrow() != Progress::Created {
            let message = format_args!("Error: Exec command {} has already run", exec.id);
            return Err(Refusal { names_container: true, ..Refusal::new(ErrorKind::Conflict, message) });
        }
        exec.set(Progress::Starting);
        let request = ExecRequest {
            stdin: exec.request.stdin && stdin,
            output: exec.request.output && output,
            ..exec.request.clone()
        };
        let spec = spec::exec_spec(&self.container.borrow().config, &request, size).map_err(Refusal::host);
        let started = match spec {
            Ok(spec) => run.agent.exec(spec).await,
            Err(refusal) => {
                exec.set(Progress::Ended(crate::CANNOT_RUN));
                return Err(refusal);
            }
        };
        match started {
            Ok(running) => Ok(Ok(self.exec_runs(exec, running))),
            Err(e) => {
                exec.set(Progress::Ended(e.code));
                Ok(Err(MonitorMessage::Failed { code: e.code, message: e.message }))
            }
        }
    }

    fn exec_runs(self: &Rc<Self>, exec: &Rc<Exec>, running: Running) -> Started {
        exec.set(Progress::Running(running.process));
        self.emit(&format!("exec_start: {}", exec.words()), &[exec.named()]);
        let (monitor, exec) = (Rc::clone(self), Rc::clone(exec));
        let end = spawn_local(async move {
            let exit = running.exit.await;
            let code = exit.as_ref().map_or(LOST_EXIT_CODE, |exit| exit.code);
            monitor.emit("exec_die", &[exec.named(), ("exitCode", code.to_string())]);
            exec.set(Progress::Ended(code));
            exit
        });
        Started { output: running.output, stdin: running.stdin, process: running.process, end }
    }

    /// Tells the terminal of a process that runs a new size.
    ///
    /// # Errors
    /// When it does not run, or the guest is lost.
    pub async fn exec_resize(&self, id: &ExecId, size: TerminalSize) -> Result<(), Refusal> {
        let Some(process) = self.execs.find(id)?.process() else {
            let message = format_args!("exec {id} does not run");
            return Err(Refusal { names_container: true, ..Refusal::new(ErrorKind::Conflict, message) });
        };
        Ok(self.up().await?.agent.resize(process, size).await?)
    }
}

#[cfg(test)]
mod tests {
    use moat_records::id::ContainerId;

    use super::*;

    fn exec() -> Exec {
        Exec {
            id: ExecId::random(&ContainerId::random().unwrap()).unwrap(),
            request: ExecRequest::default(),
            progress: watch::Sender::new(Progress::Created),
            since: RefCell::new(Instant::now()),
        }
    }

    #[test]
    fn an_exec_is_known_until_its_end_is_old() {
        let execs = Execs::default();
        let exec = execs.add(exec()).unwrap();
        let long_ago = Instant::now().checked_sub(MEMORY + Duration::from_secs(1)).unwrap();
        for (progress, running, code) in [
            (Progress::Created, false, None),
            (Progress::Starting, true, None),
            (Progress::Running(ProcessId(7)), true, None),
            (Progress::Ended(3), false, Some(3)),
        ] {
            exec.set(progress);
            let info = execs.find(exec.id()).unwrap().info();
            assert_eq!((info.running, info.exit_code), (running, code), "{progress:?}");
            *exec.since.borrow_mut() = long_ago;
            assert_eq!(execs.find(exec.id()).is_ok(), running, "{progress:?}");
        }
    }

    #[test]
    fn there_are_only_so_many_and_old_ones_make_room() {
        let execs = Execs::default();
        let first = execs.add(exec()).unwrap();
        for _ in 1..MAX_EXECS {
            execs.add(exec()).unwrap();
        }
        assert_eq!(execs.add(exec()).err().unwrap().kind, ErrorKind::Conflict);
        *first.since.borrow_mut() = Instant::now().checked_sub(MEMORY + Duration::from_secs(1)).unwrap();
        execs.add(exec()).unwrap();
        assert_eq!(execs.find(first.id()).err().unwrap().kind, ErrorKind::NotFound);
    }
}
