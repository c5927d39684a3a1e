//! Pausing: the VM's threads stand still and use no processor.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Monitor;
use moat_containers::state::Status;
use moat_monitor::wire::Refusal;

/// How long the kernel may take to stop a VM's threads.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

impl Monitor {
    /// Whether the container is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.container.borrow().state.status == Status::Paused
    }

    /// Pauses the container, or lets it go on.
    ///
    /// # Errors
    /// When the kernel does not do it in time; the container is then as it was.
    pub(super) async fn freeze(&self, frozen: bool) -> Result<(), Refusal> {
        let run = self.up().await?;
        run.vm().freeze(frozen).map_err(Refusal::host)?;
        let reached = async {
            while run.vm().is_frozen() != frozen {
                sleep(Duration::from_millis(2)).await;
            }
        };
        if timeout(FREEZE_LIMIT, reached).await.is_err() {
            let _ = run.vm().freeze(!frozen);
            return Err(Refusal::host("the kernel did not stop the virtual machine in time; it runs on"));
        }
        let status = if frozen { Status::Paused } else { Status::Running };
        self.change(|state| state.status = status)?;
        self.emit(if frozen { "pause" } else { "unpause" }, &[]);
        Ok(())
    }
}
