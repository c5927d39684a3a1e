//! Disks as the kernel of this machine mounts them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use moat_rootfs::{Source, build_index};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Whether disks can be mounted here; makes mounts private to the test's thread, so they go with it however it ends.
///
/// Without root the test fails, unless `MOAT_TEST_WITHOUT_ROOT=1` says that this is known.
pub fn can_mount() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let namespace = || unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS);
    let why = if !root {
        "it needs root to mount"
    } else if let Err(error) = namespace() {
        panic!("cannot make a mount namespace: {error}");
    } else {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        return true;
    };
    assert!(std::env::var_os("MOAT_TEST_WITHOUT_ROOT").is_some_and(|value| value == "1"), "not run: {why}");
    eprintln!("not run: {why}");
    false
}

/// The disk of some layers, mounted.
pub struct Mounted {
    pub root: PathBuf,
    /// The file that is mounted.
    pub image: PathBuf,
    pub directory: tempfile::TempDir,
}

impl Mounted {
    pub fn new<R: Read + Seek>(layers: &mut [R]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk");
        write_disk(layers, &image);
        let root = directory.path().join("mnt");
        fs::create_dir(&root).unwrap();
        // A loop device, as the guest has a block device too.
        super::run(Command::new("mount").args(["-t", "erofs", "-o", "ro,loop"]).args([&image, &root]));
        Self { root, image, directory }
    }

    /// The same from layers in memory.
    pub fn of(layers: &[Vec<u8>]) -> Self {
        Self::new(&mut layers.iter().map(io::Cursor::new).collect::<Vec<_>>())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.root, MntFlags::MNT_DETACH).unwrap();
    }
}

/// Index and layers behind each other, as the VMM serves them.
fn write_disk<R: Read + Seek>(layers: &mut [R], path: &Path) {
    let index = build_index(layers).unwrap();
    let mut disk = File::create(path).unwrap();
    for segment in index.segments() {
        disk.seek(SeekFrom::Start(segment.offset)).unwrap();
        match segment.source {
            Source::Index => disk.write_all(index.bytes()).unwrap(),
            Source::Layer(layer) => {
                layers[layer].rewind().unwrap();
                assert_eq!(copy(&mut layers[layer], &mut disk), segment.length);
            }
        }
        disk.set_len(segment.offset + segment.padded).unwrap();
    }
}

/// Copies what is not zero, so that holes stay holes; says how much there was.
fn copy(from: &mut impl Read, to: &mut File) -> u64 {
    let (mut buffer, zeros, mut total) = (vec![0; 1 << 20], vec![0; 1 << 20], 0);
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return total,
            length if buffer[..length] == zeros[..length] => {
                total += length as u64;
                to.seek(SeekFrom::Current(length as i64)).unwrap();
            }
            length => {
                total += length as u64;
                to.write_all(&buffer[..length]).unwrap();
            }
        }
    }
}
