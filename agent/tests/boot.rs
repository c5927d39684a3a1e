//! The disks and the overlay, on loop devices of this machine. Needs root, mkfs.erofs, mkfs.ext4, dumpe2fs, losetup and setpriv.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use moat_agent::boot::{mount_image, mount_layer, mount_overlay, settle};
use moat_test_harness::{Test, tests};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

const TESTS: &[Test] = tests![the_root_is_the_image_with_the_layer_on_top, a_disk_that_is_none_says_so];

fn main() -> ExitCode {
    moat_test_harness::run("mounts disks", &[TESTS])
}

/// Runs a program of the machine and returns what it says.
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A loop device, for as long as it is used.
struct Disk(PathBuf);

impl Disk {
    fn new(file: &Path) -> Self {
        Self(tool("losetup", &["--find", "--show", file.to_str().unwrap()]).into())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

fn image(directory: &Path) -> PathBuf {
    let tree = directory.join("tree");
    for name in ["", "bin", "home"] {
        fs::create_dir(tree.join(name)).unwrap();
    }
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o751)).unwrap();
    chown(&tree, Some(12), Some(34)).unwrap();
    fs::copy("/usr/bin/id", tree.join("bin/id")).unwrap();
    fs::set_permissions(tree.join("bin/id"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(tree.join("home/old"), "image").unwrap();
    let file = directory.join("image");
    // Mounting wants whole blocks of the loop device's page cache.
    tool("mkfs.erofs", &[file.to_str().unwrap(), tree.to_str().unwrap()]);
    let length = fs::metadata(&file).unwrap().len();
    fs::File::options().write(true).open(&file).unwrap().set_len(length.next_multiple_of(4096)).unwrap();
    file
}

fn layer(directory: &Path) -> PathBuf {
    let file = directory.join("layer");
    fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
    tool("mkfs.ext4", &["-q", "-F", file.to_str().unwrap()]);
    file
}

fn the_root_is_the_image_with_the_layer_on_top() {
    // The mounts of this thread go away with it.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (image_disk, layer_disk) = (Disk::new(&image(directory.path())), Disk::new(&layer(directory.path())));
    let at = ["image-at", "layer-at", "root"].map(|name| directory.path().join(name));
    let [image_at, layer_at, root] = &at;
    at.iter().for_each(|path| fs::create_dir(path).unwrap());
    let mount_all = || {
        mount_image(&image_disk.0, image_at).unwrap();
        mount_layer(&layer_disk.0, layer_at).unwrap();
        mount_overlay(image_at, layer_at, root).unwrap();
    };
    mount_all();

    let metadata = fs::metadata(root).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o751, 12, 34));
    // What the disks are mounted with does not reach through the overlay: programs run, with their set-user-ID bits,
    // and devices open.
    let id = root.join("bin/id");
    let who = tool("setpriv", &["--reuid=1000", "--clear-groups", id.to_str().unwrap(), "-u"]);
    assert_eq!(who, "0");
    let null = root.join("home/null");
    mknod(&null, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 3)).unwrap();
    assert!(fs::metadata(&null).unwrap().file_type().is_char_device());
    assert_eq!(fs::read(&null).unwrap(), b"");
    // Inode numbers that every program can hold.
    assert!(fs::metadata(root.join("home/old")).unwrap().ino() < 1 << 32);

    fs::write(root.join("home/new"), "written").unwrap();
    fs::write(root.join("home/old"), "changed").unwrap();
    fs::remove_file(&id).unwrap();
    settle(layer_at).unwrap();
    assert!(fs::write(root.join("home/late"), "").is_err());
    let state = tool("dumpe2fs", &["-h", layer_disk.0.to_str().unwrap()]);
    assert!(!state.contains("needs_recovery"), "{state}");

    at.iter().rev().for_each(|path| umount(path).unwrap());
    mount_all();
    assert_eq!(fs::read(root.join("home/new")).unwrap(), b"written");
    assert_eq!(fs::read(root.join("home/old")).unwrap(), b"changed");
    assert!(!id.exists());
    // The owner of the root is the layer's to change by now.
    chown(root, Some(0), Some(0)).unwrap();
    at.iter().rev().for_each(|path| umount(path).unwrap());
    mount_all();
    assert_eq!(fs::metadata(root).unwrap().uid(), 0);
    at.iter().rev().for_each(|path| umount(path).unwrap());
}

fn a_disk_that_is_none_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = mount_image(&missing, directory.path()).unwrap_err().to_string();
    assert!(error.starts_with("cannot mount the image, ") && error.contains("ENOENT"), "{error}");
    let error = mount_layer(Path::new("/dev/null"), directory.path()).unwrap_err().to_string();
    assert!(error.contains("writable layer, /dev/null, as ext4: ENOTBLK"), "{error}");
}
