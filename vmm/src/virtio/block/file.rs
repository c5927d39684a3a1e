//! Positioned transfers between files and guest memory, without a buffer in between.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;

use crate::virtio::buffers::Span;

/// What `preadv` and `pwritev` take at once (`IOV_MAX`).
const MAX_PIECES: usize = 1024;

/// Fills `span` from `file` at `offset`.
///
/// # Errors
/// When the file ends before, among others.
pub fn read(file: &File, offset: u64, span: Span<'_>) -> io::Result<()> {
    transfer(offset, span, |pieces, count, offset| {
        // SAFETY: `pieces` points to `count` entries, each a live piece of guest memory, which nothing on the host
        // holds a reference to; the kernel writes within them.
        unsafe { libc::preadv(file.as_raw_fd(), pieces, count, offset) }
    })
}

/// Writes `span` to `file` at `offset`.
///
/// # Errors
/// When the file system is full, among others.
pub fn write(file: &File, offset: u64, span: Span<'_>) -> io::Result<()> {
    transfer(offset, span, |pieces, count, offset| {
        // SAFETY: `pieces` points to `count` entries, each a live piece of guest memory, which the kernel reads.
        unsafe { libc::pwritev(file.as_raw_fd(), pieces, count, offset) }
    })
}

fn transfer(
    mut offset: u64,
    mut span: Span<'_>,
    call: impl Fn(*const libc::iovec, i32, i64) -> isize,
) -> io::Result<()> {
    while !span.is_empty() {
        let pieces: Vec<libc::iovec> = span
            .slices()
            .iter()
            .take(MAX_PIECES)
            .map(|slice| libc::iovec {
                iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                iov_len: slice.len(),
            })
            .collect();
        let position = i64::try_from(offset).map_err(io::Error::other)?;
        // At most MAX_PIECES.
        match u64::try_from(call(pieces.as_ptr(), pieces.len() as i32, position)) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(done) => {
                span.take(done);
                offset += done;
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// What to do with a range that is to read as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// Free its blocks.
    Free,
    /// Keep room for it where the file system can.
    Keep,
}

/// Makes a range read as zeros without writing it.
///
/// # Errors
/// When the file system cannot.
pub fn zero(file: &File, offset: u64, length: u64, how: Zero) -> io::Result<()> {
    if how == Zero::Keep {
        // The caller keeps within the file, and a longer one is refused by the limit on the length of files.
        match fallocate(file, libc::FALLOC_FL_ZERO_RANGE, offset, length) {
            // tmpfs, for one, knows holes only.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            other => return other,
        }
    }
    // Takes no blocks, and nothing that is done without this flag.
    fallocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, length)
}

fn fallocate(file: &File, mode: i32, offset: u64, length: u64) -> io::Result<()> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    let length = i64::try_from(length).map_err(io::Error::other)?;
    loop {
        // SAFETY: no pointers; the descriptor is open as long as `file`.
        let done = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
