//! A VM that is up, and the container's first process in it.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;

use moat_protocol::HostMessage;
use nix::sys::socket::{Shutdown, shutdown};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::agent::{AGENT_LIMIT, Agent, Exit, RequestError, Running};
use super::hub::Hub;
use super::vm::Vm;
use moat_containers::log::Writer;

/// What clients can see and do while a VM is up.
pub struct Run {
    /// The guest's agent.
    pub agent: Rc<Agent>,
    vm: Rc<Vm>,
    kill: Notify,
    stdin: RefCell<Option<StdUnixStream>>,
}

/// The other side of a [`Run`]: what its one owner waits for.
pub struct Ends {
    /// Tells why the guest was lost; nothing once it has.
    lost: Option<JoinHandle<String>>,
    exit: Option<oneshot::Receiver<Exit>>,
    output: Option<JoinHandle<()>>,
}

impl Ends {
    /// Waits until the guest is lost and tells why. It can be given up at any moment, and asked for again.
    pub async fn until_lost(&mut self) -> String {
        let gone = || "the guest went away".to_owned();
        let Some(lost) = &mut self.lost else { return gone() };
        let why = lost.await.unwrap_or_else(|_| gone());
        // A task tells its result once.
        self.lost = None;
        why
    }
}

impl Run {
    /// Waits for the VM's agent.
    ///
    /// # Errors
    /// When the guest does not come up.
    pub async fn begin(vm: Rc<Vm>) -> Result<(Rc<Self>, Ends), RequestError> {
        let agent = Rc::new(Agent::greet(&vm).await?);
        let serving = (Rc::clone(&agent), Rc::clone(&vm));
        let lost = spawn_local(async move { serving.0.serve(&serving.1).await });
        let run = Self { agent, vm, kill: Notify::new(), stdin: RefCell::new(None) };
        Ok((Rc::new(run), Ends { lost: Some(lost), exit: None, output: None }))
    }

    /// The VM.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// Takes over the first process's streams.
    ///
    /// # Errors
    /// When the runtime cannot watch them.
    pub fn carry(
        &self,
        ends: &mut Ends,
        running: Running,
        hub: &Rc<Hub>,
        terminal: bool,
        log: Option<Writer>,
    ) -> io::Result<()> {
        *self.stdin.borrow_mut() = running.stdin;
        ends.exit = Some(running.exit);
        if let Some(output) = running.output {
            output.set_nonblocking(true)?;
            let output = UnixStream::from_std(output)?;
            ends.output = Some(spawn_local(Rc::clone(hub).carry(output, terminal, log)));
        }
        Ok(())
    }

    /// A copy of the first process's input, if it has one and it has not ended.
    pub fn stdin(&self) -> Option<StdUnixStream> {
        self.stdin.borrow().as_ref().and_then(|stdin| stdin.try_clone().ok())
    }

    /// The first process reads its end of file.
    pub fn end_input(&self) {
        if let Some(stdin) = self.stdin.borrow_mut().take() {
            // A process that reads no more has closed it already.
            let _ = shutdown(stdin.as_raw_fd(), Shutdown::Write);
        }
    }

    /// Ends the run; the guest is not asked.
    pub fn kill(&self) {
        self.kill.notify_one();
    }

    /// Waits until the first process has ended and its output is complete.
    ///
    /// # Errors
    /// A sentence for the user, when the guest is lost or was killed.
    pub async fn until_exit(&self, ends: &mut Ends) -> Result<Exit, String> {
        let killed = || "the container was killed".to_owned();
        let Some(exit) = &mut ends.exit else { return Err("the container was never started".to_owned()) };
        let exit = tokio::select! {
            // What arrived before the guest was lost counts.
            biased;
            exit = exit => exit.ok(),
            () = self.kill.notified() => return Err(killed()),
        };
        let Some(exit) = exit else {
            return Err(ends.until_lost().await);
        };
        if let Some(output) = &mut ends.output {
            tokio::select! {
                _ = output => {}
                () = self.kill.notified() => return Err(killed()),
            }
            ends.output = None;
        }
        Ok(exit)
    }

    /// Has the guest write its disk back and power off.
    pub async fn shut_down(&self) {
        let gone = async {
            // A guest that cannot be told is killed after the same wait as one that does not listen.
            let _ = self.agent.send(&HostMessage::Shutdown).await;
            self.vm.ended().await
        };
        if timeout(AGENT_LIMIT, gone).await.is_err() {
            tracing::warn!("the guest did not power off within {} s and is killed", AGENT_LIMIT.as_secs());
        }
    }

    /// Ends the VM and lets what it has written reach its readers.
    pub async fn finish(&self, mut ends: Ends) {
        self.vm.kill();
        if let Some(output) = ends.output.take() {
            // It ends by itself; that it panicked is in the monitor's log.
            let _ = output.await;
        }
        let _ = ends.until_lost().await;
        *self.stdin.borrow_mut() = None;
    }
}
