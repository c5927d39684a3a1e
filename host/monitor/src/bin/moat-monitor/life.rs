//! A container's life: boot, start, wait, restart, record.

use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::agent::RequestError;
use super::run::{Ends, Run};
use super::vm::{Vm, VmError};
use super::{CANNOT_RUN, Monitor, Phase, health, memory, names, network, spec};
use moat_containers::cgroup::Cgroup;
use moat_containers::health::Health;
use moat_containers::log::Writer;
use moat_containers::restart::BackOff;
use moat_containers::state::{LOST_EXIT_CODE, State, Status};
use moat_containers::{ContainerError, events};
use moat_monitor::config::Purpose;
use moat_monitor::launch::bound_log;
use moat_monitor::wire::MonitorMessage;
use moat_records::failpoint;
use moat_records::record::Lock;

/// How a run ended.
enum Outcome {
    /// The process ran.
    Exited { code: u8, oom_killed: bool, error: Option<String> },
    /// The process never ran.
    Failed { code: u8, message: String },
}

impl From<RequestError> for Outcome {
    fn from(error: RequestError) -> Self {
        Self::Failed { code: error.code, message: error.message }
    }
}

impl Monitor {
    /// Runs the container until it is not to be started again; tells what its clients are to hear.
    pub(super) async fn live(self: &Rc<Self>, lock: &Lock) -> Result<MonitorMessage, ContainerError> {
        let mut waits = BackOff::default();
        loop {
            let (outcome, ran) = self.once().await;
            let again = self.is_to_restart(&outcome);
            let (state, message) = conclude(&self.container.borrow().state, outcome);
            if state.finished.is_some() {
                self.tell_end(&state);
            }
            if !again || !self.rest(state.clone(), &message, waits.after(ran)).await? {
                self.record_end(state, lock)?;
                failpoint::hit("monitor.end-recorded");
                return Ok(message);
            }
        }
    }

    /// Boots, starts, waits; tells also how long the process ran.
    async fn once(self: &Rc<Self>) -> (Outcome, Duration) {
        match self.begin().await {
            Ok((run, ends)) => self.accompany(run, ends).await,
            Err(outcome) => (outcome, Duration::ZERO),
        }
    }

    async fn begin(self: &Rc<Self>) -> Result<(Rc<Run>, Ends), Outcome> {
        let vm = match self.boot() {
            Ok(vm) => Rc::new(vm),
            Err(e) => return Err(Outcome::Failed { code: CANNOT_RUN, message: e.to_string() }),
        };
        failpoint::hit("monitor.vm-launched");
        let (run, mut ends) = match Run::begin(Rc::clone(&vm)).await {
            Ok(begun) => begun,
            Err(e) => {
                vm.kill();
                return Err(e.into());
            }
        };
        failpoint::hit("monitor.guest-up");
        if let Err(e) = self.start(&run, &mut ends).await {
            run.finish(ends).await;
            return Err(e.into());
        }
        Ok((run, ends))
    }

    /// From the process's start to the VM's end.
    async fn accompany(self: &Rc<Self>, run: Rc<Run>, mut ends: Ends) -> (Outcome, Duration) {
        let began = Instant::now();
        self.phase.send_replace(Phase::Up(Rc::clone(&run)));
        failpoint::hit("monitor.process-started");
        self.emit("start", &[]);
        memory::release();
        let check = self.container.borrow().config.health.clone();
        let checks = check
            .map(|check| tokio::task::spawn_local(health::watch(Rc::clone(self), Rc::clone(&run), check)));
        let firewall = tokio::task::spawn_local(network::keep_firewall(Rc::clone(self)));
        let exit = run.until_exit(&mut ends).await;
        firewall.abort();
        let ran = began.elapsed();
        if let Some(checks) = checks {
            checks.abort();
        }
        failpoint::hit("monitor.process-ended");
        let outcome = match exit {
            Ok(exit) => {
                // A disk that is about to be deleted needs no goodbye.
                if !self.is_to_remove() {
                    run.shut_down().await;
                }
                Outcome::Exited { code: exit.code, oom_killed: exit.oom_killed, error: None }
            }
            Err(why) => Outcome::Exited { code: LOST_EXIT_CODE, oom_killed: false, error: Some(why) },
        };
        run.finish(ends).await;
        failpoint::hit("monitor.vm-gone");
        (outcome, ran)
    }

    fn boot(&self) -> Result<Vm, VmError> {
        let container = self.container.borrow();
        if self.config.purpose == Purpose::Run {
            self.join_networks()?;
        }
        // With a console on it, standard error is not the log but the user's.
        if !self.config.debug_console
            && let Err(e) = bound_log(std::io::stderr())
        {
            tracing::warn!("cannot shorten this log: {e}");
        }
        Vm::start(&container, &self.config, self.network.borrow().as_ref())
    }

    async fn start(&self, run: &Run, ends: &mut Ends) -> Result<(), RequestError> {
        let (spec, log, terminal) = {
            let container = self.container.borrow();
            let config = &container.config;
            let log = (!config.no_log).then(|| Writer::open(&container.directory, config.log)).transpose();
            let log =
                log.map_err(|e| RequestError::setup(format!("cannot open the container's log: {e}")))?;
            let attachment = self.attachment();
            let spec = spec::container_spec(config, attachment.as_ref(), self.size.get())
                .map_err(RequestError::setup)?;
            (spec, log, config.process.terminal)
        };
        let mut running = run.agent.start(spec).await?;
        if let Some(connection) = running.names.take() {
            names::spawn(connection, self.containers.root(), &self.container.borrow().config);
        }
        run.carry(ends, running, &self.hub, terminal, log).map_err(RequestError::setup)?;
        self.change(|state| {
            state.status = Status::Running;
            state.started = Some(Timestamp::now());
        })
        .map_err(RequestError::setup)?;
        let has_check = self.container.borrow().config.health.is_some();
        self.change(|state| state.health = has_check.then(Health::starting)).map_err(RequestError::setup)
    }

    /// Whether the policy wants it to start again.
    fn is_to_restart(&self, outcome: &Outcome) -> bool {
        let container = self.container.borrow();
        match outcome {
            Outcome::Exited { code, .. } => {
                !self.stop.get() && container.config.restart.restarts_after(*code, container.state.restarts)
            }
            Outcome::Failed { .. } => false,
        }
    }

    fn is_to_remove(&self) -> bool {
        self.container.borrow().config.auto_remove && !self.keep.get()
    }

    /// Waits for the next start. False when the container was stopped meanwhile.
    async fn rest(
        &self,
        state: State,
        message: &MonitorMessage,
        wait: Duration,
    ) -> Result<bool, ContainerError> {
        let restarts = state.restarts + 1;
        Cgroup::of(self.container.borrow().id()).destroy()?;
        self.change(|current| *current = State { status: Status::Restarting, ..state })?;
        *self.last_end.borrow_mut() = message.clone();
        self.phase.send_replace(Phase::Resting);
        let stopped = self.stopped.notified();
        if !self.stop.get() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped => {}
            }
        }
        if self.stop.get() {
            return Ok(false);
        }
        self.change(|state| {
            state.status = Status::Running;
            state.restarts = restarts;
        })?;
        self.phase.send_replace(Phase::Starting);
        Ok(true)
    }

    /// Records how it ended and removes what it left on the host.
    fn record_end(&self, mut state: State, lock: &Lock) -> Result<(), ContainerError> {
        self.leave_networks();
        state.stopped_by_user = self.by_user.get();
        if self.is_to_remove() {
            self.container.borrow().remove(self.containers.root(), lock)?;
            self.emit("destroy", &[]);
            return Ok(());
        }
        Cgroup::of(self.container.borrow().id()).destroy()?;
        self.change(|current| *current = state)
    }

    fn tell_end(&self, state: &State) {
        if state.oom_killed {
            self.emit("oom", &[]);
        }
        events::emit_die(self.containers.root(), &self.container.borrow(), state);
    }

    /// The first client went away before it said what it wants.
    pub(super) fn abandon(
        &self,
        purpose: Purpose,
        lock: &Lock,
        why: &str,
    ) -> Result<MonitorMessage, ContainerError> {
        let message = format!("the client went away: {why}");
        let (state, message) =
            conclude(&self.container.borrow().state, Outcome::Failed { code: CANNOT_RUN, message });
        if purpose == Purpose::Run {
            self.record_end(state, lock)?;
        }
        Ok(message)
    }

    /// Boots the VM without the container's process and serves clients until the last one has gone.
    pub(super) async fn look(self: &Rc<Self>) -> MonitorMessage {
        let failed = |code, message| MonitorMessage::Failed { code, message };
        let vm = match self.boot() {
            Ok(vm) => Rc::new(vm),
            Err(e) => return failed(CANNOT_RUN, e.to_string()),
        };
        let end = match Run::begin(Rc::clone(&vm)).await {
            Ok((run, mut ends)) => {
                self.phase.send_replace(Phase::Up(Rc::clone(&run)));
                let mut clients = self.clients.subscribe();
                // What it yields locks the count, which the next client changes: it must be gone before anything waits.
                let alone = async { drop(clients.wait_for(|&count| count == 0).await) };
                let end = tokio::select! {
                    () = alone => {
                        run.shut_down().await;
                        MonitorMessage::Done
                    }
                    why = ends.until_lost() => failed(CANNOT_RUN, why),
                };
                vm.kill();
                end
            }
            Err(e) => {
                vm.kill();
                failed(e.code, e.message)
            }
        };
        if let Err(e) = Cgroup::of(self.container.borrow().id()).destroy() {
            tracing::warn!("{e}");
        }
        end
    }
}

fn conclude(before: &State, outcome: Outcome) -> (State, MonitorMessage) {
    match outcome {
        Outcome::Exited { code, oom_killed, error } => {
            let state = State {
                status: Status::Exited,
                finished: Some(Timestamp::now()),
                exit_code: code,
                oom_killed,
                error: error.clone(),
                ..before.clone()
            };
            (state, MonitorMessage::Exited { code, error })
        }
        // As with Docker, a container whose process never ran stays "created", with the code and the error.
        Outcome::Failed { code, message } => {
            let status = if before.finished.is_some() { Status::Exited } else { Status::Created };
            let state = State { status, exit_code: code, error: Some(message.clone()), ..before.clone() };
            (state, MonitorMessage::Failed { code, message })
        }
    }
}
