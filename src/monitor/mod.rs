//! One per container: owns its VM, streams, log and exit status.
