//! Ending a container: what `stop` asks for, and what the host going down means.

use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind};
use tokio::time::timeout;

use super::agent::MAIN;
use super::run::Run;
use super::{Monitor, Phase};
use moat_containers::state::Status;
use moat_monitor::wire::{MonitorMessage, Refusal};
use moat_records::kind::ErrorKind;
use moat_records::signal;

/// How long a process may take to be gone that was killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);

impl Monitor {
    /// The run, once there is one.
    pub(super) async fn up(&self) -> Result<Rc<Run>, Refusal> {
        let mut phases = self.phase.subscribe();
        let phase = phases.wait_for(|phase| matches!(phase, Phase::Up(_) | Phase::Over)).await;
        match phase.as_deref() {
            Ok(Phase::Up(run)) => Ok(Rc::clone(run)),
            _ => Err(match &*self.last_end.borrow() {
                MonitorMessage::Failed { message, .. } => Refusal::host(message),
                _ => Refusal {
                    kind: ErrorKind::IllegalState,
                    state: Some(Status::Exited),
                    names_container: false,
                    message: "the container has ended".to_owned(),
                },
            }),
        }
    }

    /// Returns when the container has ended for good.
    pub(super) async fn over(&self) {
        // An error would mean that the monitor is gone, and this with it.
        let _ = self.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Over)).await;
    }

    /// Asks the container to end with `signal`, kills it after `limit` seconds (negative: never), and returns when it
    /// has ended. What is left out is the container's own.
    pub(super) async fn stop(&self, signal: Option<i32>, limit: Option<i64>) -> Result<(), Refusal> {
        let process = self.container.borrow().config.process.clone();
        let signal = signal.unwrap_or(process.stop_signal);
        let limit = limit.unwrap_or(process.stop_timeout);
        self.request_stop();
        let Ok(run) = self.up().await else { return Ok(()) };
        self.emit("kill", &[("signal", signal.to_string())]);
        if run.agent.signal(MAIN, signal).await.is_err() {
            // Its guest is ending by itself just now, or is lost.
            self.end_by_force(&run).await;
            return Ok(());
        }
        let in_time = match u64::try_from(limit) {
            Ok(seconds) => timeout(Duration::from_secs(seconds), self.over()).await.is_ok(),
            Err(_) => {
                self.over().await;
                true
            }
        };
        if !in_time {
            self.emit("kill", &[("signal", signal::KILL.to_string())]);
            // A guest that cannot be told is ended below.
            let _ = run.agent.signal(MAIN, signal::KILL).await;
            self.end_by_force(&run).await;
        }
        Ok(())
    }

    /// Waits for the end of a process that was killed; a guest that does not let it die dies with it.
    pub(super) async fn end_by_force(&self, run: &Run) {
        if timeout(KILL_LIMIT, self.over()).await.is_err() {
            run.kill();
            self.over().await;
        }
    }

    /// Stops the container when this process is told to end, as all are when the host goes down. No user asked for the
    /// container's end, so its policy may start it again at the next boot.
    pub(super) async fn stop_when_told(self: Rc<Self>) {
        let Ok(mut told) = unix::signal(SignalKind::terminate()) else { return };
        if told.recv().await.is_none() {
            return;
        }
        // A process that stands still hears nothing.
        let thawed = if self.is_paused() { self.freeze(false).await } else { Ok(()) };
        if let Err(e) = thawed.and(self.stop(None, None).await) {
            tracing::warn!("cannot stop the container: {e}");
        }
    }
}
