//! How large the balloon is to be, and how large it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::memory::PAGE_SIZE;

/// The balloon's pages have this size everywhere.
const _: () = assert!(PAGE_SIZE == 4096);
/// How many of them a MiB has.
pub const PAGES_PER_MIB: u32 = 256;

/// How many pages the balloon should have and how many it has. The device shows both to the driver; the main thread decides
/// the first.
#[derive(Default)]
pub struct Sizes {
    wanted: AtomicU32,
    actual: AtomicU32,
}

impl Sizes {
    /// The pages wanted, and those that the driver says are there.
    pub fn get(&self) -> (u32, u32) {
        (self.wanted.load(Ordering::SeqCst), self.actual.load(Ordering::SeqCst))
    }

    /// Wants another size. The bus has to tell the driver.
    pub fn want(&self, pages: u32) {
        self.wanted.store(pages, Ordering::SeqCst);
    }

    /// The driver says which size the balloon has.
    pub fn report(&self, pages: u32) {
        self.actual.store(pages, Ordering::SeqCst);
    }
}

/// The balloon in the hands of the main thread.
pub struct Target {
    /// The device's number on the bus.
    pub device: usize,
    /// What it shows to its driver.
    pub sizes: Arc<Sizes>,
}
