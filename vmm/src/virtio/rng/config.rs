//! The configuration of the entropy device.

use serde::{Deserialize, Serialize};

/// The entropy device. It has no settings and takes no descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RngConfig {}
