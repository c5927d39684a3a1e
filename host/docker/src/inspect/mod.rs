//! Objects as `inspect` shows them.

pub mod container;
pub mod image;
mod network;

use serde::Serialize as _;
use serde_json::Value;

use crate::json;

/// A JSON array with a newline: indented by Docker's four blanks, or on one line.
///
/// # Errors
/// When serde cannot write an object.
pub fn array(objects: &[Value], indented: bool) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::new();
    if indented {
        let layout = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        objects.serialize(&mut serde_json::Serializer::with_formatter(&mut text, layout))?;
    } else {
        serde_json::to_writer(&mut text, objects)?;
    }
    text.push(b'\n');
    Ok(json::harmless(&String::from_utf8_lossy(&text)).into_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn arrays_are_indented_as_dockers() {
        let objects = [json!({"A": 1, "B": []})];
        let array = |objects, indented| String::from_utf8(super::array(objects, indented).unwrap()).unwrap();
        assert_eq!(array(&[], true), "[]\n");
        assert_eq!(array(&objects, false), "[{\"A\":1,\"B\":[]}]\n");
        let expected = "[\n    {\n        \"A\": 1,\n        \"B\": []\n    }\n]\n";
        assert_eq!(array(&objects, true), expected);
    }
}
