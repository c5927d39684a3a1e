//! A path of the container, with what is below it, as a tar.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;

use moat_protocol::PathStat;
use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use super::error::{At, Error, shown};
use super::limits::DEEPEST;
use super::node::{Node, Sender, names};
use super::stat::{self, Found};
use crate::container::{Root, file_type};

/// Sends what is at `path`. Names begin with the last part of the path. The root has none: its entries are sent.
pub fn read(root: &Root, path: &str, follow: bool, sink: &mut impl Write) -> Result<PathStat, Error> {
    let Found { stat, target, told } = stat::look_up(root, path, follow)?;
    let failed = |error| Error::look_up(path, error);
    let node = match file_type(&stat) {
        SFlag::S_IFREG | SFlag::S_IFDIR => {
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | stat::nofollow(follow);
            let open = root.look_up(Path::new(path), flags).map_err(failed)?;
            Node::of_open(open, &stat).map_err(failed)?
        }
        _ => Node { stat, target, open: None },
    };
    let mut sender = Sender::new(sink);
    let mut name = Vec::new();
    if told.name != "/" {
        name.extend(told.name.bytes());
        sender.send(&node, &name)?;
    }
    if let Some(directory) = node.directory() {
        send_below(&mut sender, directory, &mut name, 0)?;
    }
    sender.finish()?;
    Ok(told)
}

/// Sends what is in a directory, with `path` in front of each name. `path` is unchanged at the end.
fn send_below(
    sender: &mut Sender<impl Write>,
    directory: BorrowedFd<'_>,
    path: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(Error::io(format!("{}: directories are nested too deep", shown(path))));
    }
    let length = path.len();
    for name in names(directory).at(&*path)? {
        if length > 0 {
            path.push(b'/');
        }
        path.extend(name.to_bytes());
        if let Some(node) = Node::find(directory, &name).at(&*path)? {
            sender.send(&node, path)?;
            if let Some(below) = node.directory() {
                send_below(sender, below, path, depth + 1)?;
            }
        }
        path.truncate(length);
    }
    Ok(())
}
