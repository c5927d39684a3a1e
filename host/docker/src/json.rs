//! JSON text that is fit for a terminal and loses nothing.

use moat_protocol::text::is_hostile;

/// Returns JSON text with an escape (`\\u009b`) in the place of every character that can act on a terminal or change the
/// order in which the text is shown. The text means the same: such characters stand in strings only. The line feeds of an
/// indented text stay.
pub fn harmless(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_hostile(c) {
            // All of them have four digits.
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn what_is_escaped_means_the_same() {
        let text = "\u{9b}31m \u{7f} \u{202e} \u{2066} \u{1b}[1m \n é 漢";
        let written = super::harmless(&serde_json::to_string_pretty(&json!({ "a": [text] })).unwrap());
        assert!(written.contains(r"\u009b31m \u007f \u202e \u2066 \u001b[1m \n é 漢"), "{written}");
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), json!({ "a": [text] }));
    }
}
