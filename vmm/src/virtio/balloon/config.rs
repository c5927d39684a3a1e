//! The configuration of the balloon.

use serde::{Deserialize, Serialize};

/// The balloon, with free page reporting. It has no settings and takes no descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonConfig {}
