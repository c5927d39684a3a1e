//! Changing what a container may use while it runs.

use moat_protocol::HostMessage;

use super::{Monitor, Phase};
use moat_containers::cgroup::Cgroup;
use moat_containers::state::Status;
use moat_containers::{ContainerError, ResourceUpdate};
use moat_monitor::wire::{MonitorMessage, Refusal};
use moat_records::kind::ErrorKind;

impl Monitor {
    /// Processor time and processes change at once. Memory changes as far as the balloon can take it: a VM cannot grow
    /// beyond what it was started with.
    pub(super) async fn update(&self, update: ResourceUpdate) -> Result<MonitorMessage, Refusal> {
        let run = match &*self.phase.borrow() {
            Phase::Up(run) => Some(run.clone()),
            _ => None,
        };
        let before = self.container.borrow().config.resources;
        let after = update.apply(before);
        if let Some(run) = &run {
            let booted = run.vm().resources();
            if after.memory_mib > booted.memory_mib {
                return Err(Refusal::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the virtual machine was started with {} MiB and cannot grow beyond that while it runs: stop the container, update it and start it again",
                        booted.memory_mib
                    ),
                ));
            }
            if after.vcpus() > booted.vcpus() {
                return Err(Refusal::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the virtual machine was started with {} processors and cannot get more while it runs: stop the container, update it and start it again",
                        booted.vcpus()
                    ),
                ));
            }
            if after.memory_mib != before.memory_mib && self.is_paused() {
                return Err(Refusal {
                    kind: ErrorKind::IllegalState,
                    state: Some(Status::Paused),
                    names_container: false,
                    message: "the container is paused, so that its guest cannot give memory away or take it \
                              back: unpause it first"
                        .to_owned(),
                });
            }
            let mut limits = after;
            // The guest still owns what the balloon has not taken yet.
            limits.memory_mib = booted.memory_mib;
            let cgroup = Cgroup::of(self.container.borrow().id());
            cgroup.update(&limits, booted.vcpus()).map_err(ContainerError::from)?;
            if after.memory_mib != before.memory_mib {
                run.vm().set_memory(after.memory_mib).await.map_err(Refusal::host)?;
            }
            if after.pids_limit != before.pids_limit {
                let limit = after.pids_limit.map(Into::into);
                run.agent.send(&HostMessage::LimitProcesses { limit }).await?;
            }
        }
        let mut container = self.container.borrow_mut();
        self.containers.update(&mut container, &update)?;
        Ok(MonitorMessage::Done)
    }
}
