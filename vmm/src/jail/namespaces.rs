//! Leaves the host's namespaces, and its files.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root, sethostname};

use super::error::{JailError, at};

/// A directory that every host with KVM has. The empty root is mounted on it for a moment, in a mount namespace of this
/// process's own, where no other process sees it.
const STEPPING_STONE: &str = "/dev";

/// No room for a file: the root directory takes the only inode, and its mode lets no user enter it.
const EMPTY: &str = "size=4k,nr_inodes=1,mode=0";

/// New namespaces for everything but processes and users, and a root with nothing in it.
pub fn leave_the_host() -> Result<(), JailError> {
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(namespaces).map_err(at("make namespaces"))?;
    sethostname("moat").map_err(at("set the host name"))?;
    empty_root()
}

fn empty_root() -> Result<(), JailError> {
    let none = None::<&str>;
    // First, or what follows would happen on the host too.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(at("make mounts private"))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("moat"), STEPPING_STONE, Some("tmpfs"), flags, Some(EMPTY))
        .map_err(at("mount an empty root"))?;
    chdir(STEPPING_STONE).map_err(at("enter the empty root"))?;
    // With both names the same, the old root comes to lie on top of the new one, where it can be taken off.
    pivot_root(".", ".").map_err(at("change the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("detach the host's files"))?;
    chdir("/").map_err(at("enter the empty root"))
}
