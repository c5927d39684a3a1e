//! Disks as the kernel of this machine mounts them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use moat_rootfs::{Source, build_index};
use moat_test_harness::{Verdict, refusal};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Whether disks can be mounted here, for tests that have more to do than that; as for all others, without root the test
/// fails, unless the user knows.
pub fn can_mount() -> bool {
    match Verdict::here() {
        Verdict::Run => keep_mounts_private(),
        Verdict::LeaveOut => eprintln!("not mounted: that needs root"),
        Verdict::Refuse => panic!("{}", refusal("mounts disks")),
    }
    Verdict::here() == Verdict::Run
}

/// Makes mounts private to the test's thread, so they go with it however it ends.
pub fn keep_mounts_private() {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
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
