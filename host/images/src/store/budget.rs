//! What an archive expands to, counted against its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::LoadError;
use super::limits::{
    EXPANSION_FLOOR, MAX_EXPANDED, MAX_EXPANSION, MAX_LAYER, MAX_STORED_EXPANSION, STORED_FLOOR,
};

/// Counts what an archive, or the layers of an image that is pulled, expand to.
#[derive(Debug, Default)]
pub(super) struct Budget<'a> {
    totals: Totals,
    /// What this is a part of, which has the limits.
    whole: Option<&'a Budget<'a>>,
}

#[derive(Debug, Default)]
struct Totals {
    /// The bytes that came in, counted by their reader.
    input: Arc<AtomicU64>,
    /// Bytes of uncompressed files so far.
    expanded: AtomicU64,
    /// Those among them that take disk space.
    stored: AtomicU64,
}

impl<'a> Budget<'a> {
    /// For an archive of which `input` bytes have been read at any time.
    pub(super) fn new(input: Arc<AtomicU64>) -> Self {
        Self { totals: Totals { input, ..Totals::default() }, whole: None }
    }

    /// For a part of it, which can be taken back.
    pub(super) fn part(&'a self) -> Self {
        Self { totals: Totals::default(), whole: Some(self) }
    }

    /// Takes back what this part has counted.
    pub(super) fn take_back(self) {
        let Some(whole) = self.whole else { return };
        for (ours, theirs) in self.totals.all().into_iter().zip(whole.totals.all()) {
            theirs.fetch_sub(ours.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Counts bytes that came in.
    pub(super) fn receive(&self, bytes: u64) {
        self.totals.input.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = self.whole {
            whole.receive(bytes);
        }
    }

    /// Counts `expanded` bytes more, of which `stored` take disk space. They belong to a file that is called `name` and
    /// has `size` bytes so far.
    pub(super) fn spend(&self, expanded: u64, stored: u64, size: u64, name: &str) -> Result<(), LoadError> {
        let add =
            |total: &AtomicU64, more: u64| total.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let totals = &self.totals;
        let sums = (add(&totals.expanded, expanded), add(&totals.stored, stored));
        if let Some(whole) = self.whole {
            return whole.spend(expanded, stored, size, name);
        }
        let (expanded, stored) = sums;
        let input = totals.input.load(Ordering::Relaxed);
        let within = |bytes: u64, floor: u64, ratio: u64| bytes <= floor || bytes / ratio <= input;
        let limit = if size > MAX_LAYER {
            format!("{} GiB, the most a layer may have", MAX_LAYER >> 30)
        } else if expanded > MAX_EXPANDED {
            format!("{} GiB, the most an archive may have", MAX_EXPANDED >> 30)
        } else if !within(expanded, EXPANSION_FLOOR, MAX_EXPANSION) {
            format!("{} GiB and {MAX_EXPANSION} times the archive's size", EXPANSION_FLOOR >> 30)
        } else if !within(stored, STORED_FLOOR, MAX_STORED_EXPANSION) {
            format!("{} GiB and {MAX_STORED_EXPANSION} times the archive's size", STORED_FLOOR >> 30)
        } else {
            return Ok(());
        };
        Err(LoadError::Expansion { member: name.to_owned(), limit })
    }
}

impl Totals {
    fn all(&self) -> [&AtomicU64; 3] {
        [&self.input, &self.expanded, &self.stored]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_part_took_can_be_taken_back() {
        let whole = Budget::default();
        let part = whole.part();
        part.receive(1 << 20);
        part.spend(4 << 30, 0, 4 << 30, "layer.tar").unwrap();
        whole.part().spend(1, 0, 1, "layer.tar").unwrap_err();
        part.take_back();
        whole.part().spend(4 << 30, 0, 4 << 30, "layer.tar").unwrap_err();
        whole.part().receive(9 << 20);
        whole.part().spend(1, 0, 1, "layer.tar").unwrap();
    }

    /// Spends it on an archive of `input` bytes.
    fn spend(input: u64, expanded: u64, stored: u64, size: u64) -> Result<(), LoadError> {
        Budget::new(Arc::new(AtomicU64::new(input))).spend(expanded, stored, size, "layer.tar")
    }

    #[test]
    fn a_multi_gigabyte_sparse_layer_is_no_bomb() {
        spend(4 << 10, 4 << 30, 1 << 20, 4 << 30).unwrap();
    }

    #[test]
    fn bombs_are_refused() {
        // Zeros without end, something compressible without end, one huge layer, many large ones.
        for (input, expanded, stored, size) in [
            (6 << 20, 6 << 30, 0, 6 << 30),
            (2 << 20, 2 << 30, 2 << 30, 2 << 30),
            (65 << 30, 65 << 30, 0, 65 << 30),
            (257 << 30, 257 << 30, 0, 1 << 30),
        ] {
            let error = spend(input, expanded, stored, size).unwrap_err().to_string();
            assert!(error.contains("layer.tar expands to more than"), "{error}");
        }
        // The same size is fine when it is in the archive byte for byte.
        spend(60 << 30, 60 << 30, 60 << 30, 60 << 30).unwrap();
    }
}
