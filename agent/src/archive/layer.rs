//! What a container has changed as a layer of an OCI image: a tar in which a deleted file is a whiteout.

use std::io::{self, Write};

use moat_protocol::tar::Entry;

use super::changes::{Change, Detail, Layers, walk};
use super::error::{Error, shown};
use super::node::Sender;

/// What the name of a whiteout starts with; no file of a layer may have such a name.
const WHITEOUT: &[u8] = b".wh.";

/// The whiteout for everything that lower layers have in a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Sends the layer.
pub fn send(layers: Layers, sink: &mut impl Write) -> Result<(), Error> {
    let mut sender = Sender::new(sink);
    walk(layers, Detail::Opaque, |path, change| {
        let (above, name) = split(path);
        if name.starts_with(WHITEOUT) {
            return Err(Error::io(format!("{}: a layer cannot have a file of this name", shown(path))));
        }
        match change {
            Change::Added(node) | Change::Modified(node) => sender.send(node, path),
            Change::Deleted => whiteout(&mut sender, [above, WHITEOUT, name].concat()),
            Change::Emptied => whiteout(&mut sender, [path, b"/", OPAQUE].concat()),
        }
    })?;
    sender.finish()
}

/// Whiteouts have no time of their own, so that the same changes give the same layer.
fn whiteout(sender: &mut Sender<impl Write>, path: Vec<u8>) -> Result<(), Error> {
    sender.append(&Entry { path, mode: 0o600, ..Entry::default() }, &mut io::empty())
}

/// A path up to its last slash, and what follows.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1))
}
