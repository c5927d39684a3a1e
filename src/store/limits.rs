//! What an archive may demand of the host. Each limit is far beyond what images in use need, and low enough that a
//! hostile archive costs bounded memory, disk and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::LoadError;

/// The largest JSON document (manifest, index or config), in bytes; the size that registries allow a manifest.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// The most members of an archive. The oldest `docker save` format has four for each layer; this leaves room for 60
/// images of [`MAX_LAYERS`] layers.
pub const MAX_MEMBERS: usize = 32 << 10;

/// The longest name of a member, in bytes. The names that image archives use are under 100.
pub const MAX_MEMBER_NAME: usize = 1 << 10;

/// The largest extended header (PAX or GNU long name) of a member, in bytes: some names and numbers.
pub const MAX_EXTENDED_HEADER: u64 = 64 << 10;

/// How many symbolic links one after the other lead to a layer. `docker save` needs one.
pub const MAX_LINKS: usize = 8;

/// The most images of one archive; each costs the reading of several documents.
pub const MAX_IMAGES: usize = 1 << 10;

/// The most names that an archive gives its images: one for each of [`MAX_IMAGES`]. Every name is a line of the list of
/// images, which each command reads.
pub const MAX_NAMES: usize = MAX_IMAGES;

/// How deep indexes of manifests are nested. Image builders make one or two levels.
pub const MAX_INDEX_DEPTH: usize = 4;

/// The most layers of an image: twice what Docker's storage can stack. Each is an open file of a running VM.
pub const MAX_LAYERS: usize = 256;

/// The largest layer, uncompressed, in bytes.
pub const MAX_LAYER: u64 = 64 << 30;

/// The most bytes that all layers of an archive have, uncompressed.
pub const MAX_EXPANDED: u64 = 256 << 30;

/// Up to here an archive may expand in any ratio, in bytes. Runs of zeros cost time but no disk space, and a layer may
/// well hold a sparse file of some GB that compresses to nothing.
pub const EXPANSION_FLOOR: u64 = 4 << 30;

/// Beyond [`EXPANSION_FLOOR`], how many bytes come from one byte of the archive, at most.
pub const MAX_EXPANSION: u64 = 500;

/// Like [`EXPANSION_FLOOR`], counting only what takes disk space.
pub const STORED_FLOOR: u64 = 1 << 30;

/// Beyond [`STORED_FLOOR`], how many bytes that take disk space come from one byte of the archive, at most. Text logs,
/// the most compressible thing in images, reach about 30.
pub const MAX_STORED_EXPANSION: u64 = 200;

/// The largest window of a zstd stream, as a power of two: 128 MiB of memory, the most that `zstd` itself takes
/// without being asked.
pub const ZSTD_WINDOW_LOG: u32 = 27;

/// What is read after the end mark of an archive before the rest is ignored, in bytes: the padding that `tar` adds,
/// and then some, so that a program writing into our standard input is not killed by a closed pipe.
pub const MAX_PADDING: u64 = 16 << 20;

/// Counts what an archive, or the layers of an image that is pulled, expand to.
#[derive(Debug, Default)]
pub(super) struct Budget<'a> {
    totals: Totals,
    /// What this is a part of, which has the limits.
    whole: Option<&'a Budget<'a>>,
}

#[derive(Debug, Default)]
struct Totals {
    /// The bytes that came in, kept by whoever reads them.
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
