//! Objects as `inspect` shows them.

pub mod container;
pub mod image;
mod network;

use serde::Serialize as _;
use serde_json::Value;

use crate::json;
use crate::template::duration;

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Marks the durations of a container or an image, which templates print with units.
pub fn mark_durations(object: &mut Value) {
    let Some(Value::Object(check)) = object.pointer_mut("/Config/Healthcheck") else { return };
    for field in ["Interval", "Timeout", "StartPeriod", "StartInterval"] {
        if let Some(value) = check.get_mut(field) {
            *value = duration::mark(value.take());
        }
    }
}

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
