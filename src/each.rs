//! Commands that take several containers.

use std::process::ExitCode;

use moat_engine::Container;
use moat_engine::{Engine, EngineError};

/// Does `work` with each container that `wanted` names and prints what was typed for it; goes on after an error.
pub fn each(
    engine: &Engine,
    wanted: &[String],
    work: impl FnMut(&Container) -> Result<(), EngineError>,
) -> ExitCode {
    match count_failures(engine, wanted, |_| false, work) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// As [`each`]; tells how many errors there were. One that is `forgiven` is told to the user and does not count.
pub fn count_failures(
    engine: &Engine,
    wanted: &[String],
    forgiven: impl Fn(&EngineError) -> bool,
    mut work: impl FnMut(&Container) -> Result<(), EngineError>,
) -> usize {
    let mut failures = 0;
    for name in wanted {
        match engine.find(name).and_then(|container| work(&container)) {
            Ok(()) => say!("{name}"),
            Err(e) => {
                failures += usize::from(!forgiven(&e));
                super::complain(super::explain(&e.into()));
            }
        }
    }
    failures
}
