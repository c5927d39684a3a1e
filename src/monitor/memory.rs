//! The monitor's own memory: it waits for most of its life, one for each container.

/// Gives back to the kernel what was freed. Starting a container needs a few times what watching over it does.
pub fn release() {
    // SAFETY: malloc_trim(3) only hands free pages of the heap back; it can be called at any time.
    unsafe { libc::malloc_trim(0) };
}
