//! Pausing: the VM's threads stand still and use no processor.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Monitor;
use crate::engine::state::Status;

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
    /// In words; the container is then as it was.
    pub(super) async fn freeze(&self, frozen: bool) -> Result<(), String> {
        let run = self.up().await?;
        run.vm().freeze(frozen).map_err(|e| e.to_string())?;
        let reached = async {
            while run.vm().is_frozen() != frozen {
                sleep(Duration::from_millis(2)).await;
            }
        };
        if timeout(FREEZE_LIMIT, reached).await.is_err() {
            let _ = run.vm().freeze(!frozen);
            return Err("the kernel did not stop the virtual machine in time; it runs on".to_owned());
        }
        let status = if frozen { Status::Paused } else { Status::Running };
        self.change(|state| state.status = status).map_err(|e| e.to_string())?;
        self.emit(if frozen { "pause" } else { "unpause" }, &[]);
        Ok(())
    }
}
