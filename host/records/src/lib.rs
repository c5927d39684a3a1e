//! What every part of the host keeps and how: paths under the root directory, records that are replaced whole, locks, ids
//! and names, and the journal of events.

pub mod failpoint;
pub mod format;
pub mod id;
pub mod journal;
pub mod kind;
pub mod record;
pub mod root;
pub mod signal;
