//! Asks a container now and then how it is.

use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use moat_protocol::output::{self, OUTPUT_HEADER};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::agent::Running;
use super::run::Run;
use super::{Monitor, spec};
use moat_containers::health::{Health, HealthCheck, HealthResult, MAX_OUTPUT};
use moat_containers::state::Status;
use moat_monitor::wire::ExecRequest;
use moat_records::signal;

/// How long output may come after the check itself has ended.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Checks until it is aborted. A container that is paused is left alone.
pub async fn watch(monitor: Rc<Monitor>, run: Rc<Run>, check: HealthCheck) {
    let began = Instant::now();
    loop {
        let grace = began.elapsed() < check.start_period;
        sleep(if grace { check.start_interval } else { check.interval }).await;
        if monitor.container.borrow().state.status != Status::Running {
            continue;
        }
        let result = probe(&monitor, &run, &check).await;
        if monitor.container.borrow().state.status != Status::Running {
            // It was paused meanwhile, which says nothing about its health.
            continue;
        }
        let grace = began.elapsed() < check.start_period;
        record(&monitor, &check, result, grace);
    }
}

fn record(monitor: &Monitor, check: &HealthCheck, result: HealthResult, grace: bool) {
    let mut changed = None;
    let recorded = monitor.change(|state| {
        let health = state.health.get_or_insert_with(Health::starting);
        let before = health.status;
        health.record(check, result, grace);
        changed = (health.status != before).then_some(health.status);
    });
    if let Err(e) = recorded {
        tracing::warn!("cannot record the container's health: {e}");
    }
    if let Some(status) = changed {
        monitor.emit(&format!("health_status: {}", status.name()), &[]);
    }
}

async fn probe(monitor: &Monitor, run: &Run, check: &HealthCheck) -> HealthResult {
    let start = Timestamp::now();
    let result = |exit_code, output| HealthResult { start, end: Timestamp::now(), exit_code, output };
    let request = ExecRequest { args: check.command.clone(), output: true, ..ExecRequest::default() };
    let spec = match spec::exec_spec(&monitor.container.borrow().config, &request, None) {
        Ok(spec) => spec,
        Err(e) => return result(-1, e.to_string()),
    };
    let mut running = match run.agent.exec(spec).await {
        Ok(running) => running,
        Err(e) => return result(-1, e.message),
    };
    let mut output = Vec::new();
    let ended = timeout(check.timeout, outcome(&mut running, &mut output)).await;
    let exit_code = match ended {
        Ok(code) => code,
        Err(_) => {
            let _ = run.agent.signal(running.process, signal::KILL).await;
            output = format!("Health check exceeded timeout ({:?})", check.timeout).into_bytes();
            -1
        }
    };
    result(exit_code, String::from_utf8_lossy(&output).into_owned())
}

/// Waits for a check's end and keeps the beginning of what it wrote.
async fn outcome(running: &mut Running, kept: &mut Vec<u8>) -> i32 {
    let stream = running.output.take().and_then(|stream| {
        stream.set_nonblocking(true).ok()?;
        UnixStream::from_std(stream).ok()
    });
    let Some(mut stream) = stream else { return -1 };
    let code = {
        let reading = read(&mut stream, kept);
        tokio::pin!(reading);
        let mut read_all = false;
        loop {
            tokio::select! {
                () = &mut reading, if !read_all => read_all = true,
                exit = &mut running.exit => {
                    if !read_all {
                        let _ = timeout(AFTERMATH, reading).await;
                    }
                    break exit.map_or(-1, |exit| i32::from(exit.code));
                }
            }
        }
    };
    kept.truncate(MAX_OUTPUT);
    code
}

/// Reads output frames to their end; what goes beyond the limit is thrown away.
async fn read(stream: &mut UnixStream, kept: &mut Vec<u8>) {
    let mut header = [0; OUTPUT_HEADER];
    let mut chunk = vec![0; MAX_OUTPUT];
    while stream.read_exact(&mut header).await.is_ok() {
        let Ok((_, mut left)) = output::parse(header) else { return };
        while left > 0 {
            let most = left.min(chunk.len());
            match stream.read(&mut chunk[..most]).await {
                Ok(length @ 1..) => {
                    left -= length;
                    let room = MAX_OUTPUT.saturating_sub(kept.len());
                    kept.extend_from_slice(&chunk[..length.min(room)]);
                }
                _ => return,
            }
        }
    }
}
