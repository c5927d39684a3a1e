//! An initramfs with this program as `/init` (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).

/// Whether an ELF program runs without a dynamic loader.
pub fn is_static(program: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let half = |at: usize| u16::from_le_bytes([program[at], program[at + 1]]);
    let (start, size, count) = (program[32] as usize, usize::from(half(54)), usize::from(half(56)));
    (0..count).all(|index| {
        let at = start + index * size;
        u32::from_le_bytes(program[at..at + 4].try_into().unwrap()) != INTERPRETER
    })
}

/// The archive.
pub fn archive(program: &[u8]) -> Vec<u8> {
    const DIRECTORY: u32 = 0o040_755;
    const DEVICE: u32 = 0o020_600;
    const PROGRAM: u32 = 0o100_755;
    let mut archive = Vec::new();
    for directory in ["dev", "proc", "sys", "mnt"] {
        entry(&mut archive, directory, DIRECTORY, (0, 0), &[]);
    }
    // A program without these cannot even start.
    entry(&mut archive, "dev/console", DEVICE, (5, 1), &[]);
    entry(&mut archive, "dev/null", DEVICE, (1, 3), &[]);
    entry(&mut archive, "init", PROGRAM, (0, 0), program);
    entry(&mut archive, "TRAILER!!!", 0, (0, 0), &[]);
    archive
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
    let fields = [
        archive.len() as u32 + 1,
        mode,
        0,
        0,
        1,
        0,
        content.len() as u32,
        0,
        0,
        device.0,
        device.1,
        name.len() as u32 + 1,
        0,
    ];
    archive.extend(b"070701");
    fields.iter().for_each(|field| archive.extend(format!("{field:08x}").bytes()));
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
