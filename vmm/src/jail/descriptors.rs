//! The descriptors that a process starts with.

use std::io;
use std::os::fd::RawFd;

/// Closes all descriptors but the first three and those in `keep`. To be called when only those in `keep` have an owner:
/// before the process opens anything itself.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    for (first, last) in gaps(&keep) {
        // SAFETY: no pointers; by the contract above nothing owns what is closed.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The ranges above 2 that the sorted numbers leave out, both ends included.
fn gaps(keep: &[u32]) -> Vec<(u32, u32)> {
    let mut gaps = Vec::new();
    let mut first = 3;
    for number in keep {
        if *number > first {
            gaps.push((first, number - 1));
        }
        first = first.max(number.saturating_add(1));
    }
    gaps.push((first, u32::MAX));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_goes() {
        const END: u32 = u32::MAX;
        assert_eq!(gaps(&[]), [(3, END)]);
        assert_eq!(gaps(&[0, 1, 2]), [(3, END)]);
        assert_eq!(gaps(&[3, 4, 5]), [(6, END)]);
        assert_eq!(gaps(&[4, 4, 7]), [(3, 3), (5, 6), (8, END)]);
    }
}
