//! Hostile text in messages.

use moat_protocol::text::harmless_start;

/// The longest hostile text that a message shows, in characters.
const MOST: usize = 200;

/// The beginning of `text`, for messages: what is hostile may be long, and may want to move the cursor.
pub fn shorten(text: &str) -> String {
    harmless_start(text, MOST, "...")
}
