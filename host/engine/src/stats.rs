//! What containers use: numbers from many of them at once, and how they change.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use moat_containers::Container;
use moat_containers::state::{Status, Verb};
use moat_monitor::Connection;
use moat_monitor::wire::{ClientMessage, MonitorMessage};
pub use moat_protocol::Stats;
use moat_records::id::ContainerId;
use moat_records::kind::ErrorKind;

use crate::Engine;
use crate::reach::Reached;

/// How many containers are asked at once. They answer from their own virtual machines, so most of the time is waiting.
const MOST_THREADS: usize = 32;

/// How long a container may take to answer, Docker's.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of a container's use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// Its numbers, and the processor time since the look before, in percent of one processor.
    Numbers(Stats, f64),
    /// It does not run and uses nothing.
    Idle,
    /// It cannot tell: it is paused, or on its way.
    Unknown,
    /// It is not there any more.
    Gone,
}

/// Looks at containers again and again.
pub struct Sampler<'e> {
    engine: &'e Engine,
    /// Processor time in microseconds, and when it was that.
    before: HashMap<ContainerId, (u64, Instant)>,
}

impl<'e> Sampler<'e> {
    /// A sampler that has not looked yet.
    pub fn new(engine: &'e Engine) -> Self {
        Self { engine, before: HashMap::new() }
    }

    /// What each of `containers` uses now.
    pub fn look(&mut self, containers: &[Container]) -> Vec<Sample> {
        let answers = ask_all(self.engine, containers);
        let before = std::mem::take(&mut self.before);
        let samples = containers.iter().zip(answers).map(|(container, (mut sample, when))| {
            if let Sample::Numbers(stats, percent) = &mut sample {
                *percent = before.get(container.id()).map_or(0.0, |(used, then)| {
                    usage(stats.cpu_usec.saturating_sub(*used), when.duration_since(*then).as_micros())
                });
                self.before.insert(container.id().clone(), (stats.cpu_usec, when));
            }
            sample
        });
        samples.collect()
    }
}

/// Percent of one processor.
fn usage(microseconds: u64, of: u128) -> f64 {
    if of == 0 { 0.0 } else { microseconds as f64 * 100.0 / of as f64 }
}

/// Asks all containers, some at a time, and tells when each answered.
fn ask_all(engine: &Engine, containers: &[Container]) -> Vec<(Sample, Instant)> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(vec![(Sample::Unknown, Instant::now()); containers.len()]);
    std::thread::scope(|scope| {
        let running = containers.iter().filter(|container| container.state.status.is_live()).count();
        for _ in 0..running.clamp(1, MOST_THREADS) {
            scope.spawn(|| {
                while let Some((at, container)) = take(&next, containers) {
                    let answer = (ask_one(engine, container), Instant::now());
                    if let Ok(mut answers) = answers.lock() {
                        answers[at] = answer;
                    }
                }
            });
        }
    });
    answers.into_inner().unwrap_or_default()
}

fn take<'c>(next: &AtomicUsize, containers: &'c [Container]) -> Option<(usize, &'c Container)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    containers.get(at).map(|container| (at, container))
}

fn ask_one(engine: &Engine, container: &Container) -> Sample {
    match container.state.status {
        Status::Created | Status::Exited => return Sample::Idle,
        // A guest that stands still cannot answer.
        Status::Paused | Status::Restarting => return Sample::Unknown,
        Status::Running => {}
    }
    let stream = match engine.reach(container, Verb::Stats) {
        Ok(Reached::Monitor(stream)) => stream,
        Ok(Reached::Idle(_) | Reached::Already(_)) => return Sample::Idle,
        Err(e) if e.kind() == ErrorKind::NotFound => return Sample::Gone,
        Err(_) => return Sample::Unknown,
    };
    // It may be paused from now on: one that does not answer must not hold up the others.
    if stream.set_read_timeout(Some(PATIENCE)).is_err() {
        return Sample::Unknown;
    }
    match Connection::new(stream).ask(&ClientMessage::Stats) {
        Ok(MonitorMessage::Stats { stats }) => Sample::Numbers(stats, 0.0),
        // It ends, or cannot tell just now; the next look tells.
        _ => Sample::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_records::root::Root;

    #[test]
    fn one_busy_processor_is_a_hundred_percent() {
        assert_eq!(usage(1_000_000, 1_000_000), 100.0);
        assert_eq!(usage(500_000, 1_000_000), 50.0);
        assert_eq!(usage(2_000_000, 1_000_000), 200.0);
        assert_eq!(usage(1, 0), 0.0);
    }

    #[test]
    fn containers_that_cannot_answer_are_not_asked() {
        let temporary = tempfile::tempdir().unwrap();
        let engine = Engine::open(Root::open(temporary.path()).unwrap()).unwrap();
        let mut containers = vec![moat_containers::testing::container(); 3];
        containers[1].state.status = Status::Paused;
        containers[2].state.status = Status::Running;
        let samples = Sampler::new(&engine).look(&containers);
        assert_eq!(samples, [Sample::Idle, Sample::Unknown, Sample::Gone]);
    }
}
