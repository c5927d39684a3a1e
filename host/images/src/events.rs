//! What is told of an image in the journal.

use moat_records::journal::{self, Kind};
use moat_records::root::Root;

/// Writes down what happened to the image `id`, under the name `name`.
pub fn emit(root: &Root, action: &str, id: &str, name: &str) {
    journal::write_down(root, Kind::Image, action, id, [("name".to_owned(), name.to_owned())].into());
}
