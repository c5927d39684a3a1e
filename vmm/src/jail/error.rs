//! Why the jail could not be closed.

use std::io;

/// Why the jail could not be closed. The process is then half-way in and good for nothing but ending.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The configuration names the superuser.
    #[error("the jail's user is {uid} and its group {gid}; neither may be 0")]
    Root {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// The launcher made no PID namespace.
    #[error("this is process {0} and not the first of a PID namespace of its own; start it as moat does")]
    NotFirst(i32),
    /// Threads exist, which would stay outside.
    #[error("the jail can only be entered before threads are started")]
    Threads,
    /// A filter does not compile.
    #[error("seccomp: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// The kernel refused a step.
    #[error("cannot {step}: {source}; the launcher has to be root, or in a user namespace of its own")]
    Step {
        /// Which.
        step: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Names the step in the error.
pub(super) fn at<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> JailError {
    move |error| JailError::Step { step, source: error.into() }
}
