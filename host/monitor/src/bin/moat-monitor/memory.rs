//! The monitor's own memory: it waits for most of its life, one for each container.

use std::fs;

/// Gives back to the kernel what starting a container needed and watching over it does not: freed memory, and the pages of
/// the program itself, most of which run once. They stay in the page cache, and what is still executed is mapped again.
pub fn release() {
    // SAFETY: malloc_trim(3) only hands free pages of the heap back; it can be called at any time.
    unsafe { libc::malloc_trim(0) };
    // Where the kernel does not tell, the pages stay.
    if let Some((start, length)) = fs::read_to_string("/proc/self/maps").ok().and_then(|maps| text(&maps)) {
        // SAFETY: a private mapping of a file that was never written to, as its permissions say, reads and executes as
        // before: each page comes from the file again.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
}

/// The address and the length of the mapping that holds this very function, if it cannot be written to.
fn text(maps: &str) -> Option<(usize, usize)> {
    let here = text as *const () as usize;
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        ((start..end).contains(&here) && fields.next()? == "r-xp").then_some((start, end - start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(text(&maps).is_some_and(|(_, length)| length > 1 << 20));
        release();
        assert_eq!(text("0-1 r-xp 00000000 00:00 0\n"), None);
    }
}
