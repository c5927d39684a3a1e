//! The steps in which an image was made, as `history` lists them.

use jiff::Timestamp;
use moat_images::store::Image;
use serde_json::{Value, json};

use crate::human;

/// What Docker prints as the id of a step that is no image.
const MISSING: &str = "<missing>";

/// The most characters of a command in a table.
const COMMAND_WIDTH: usize = 45;

/// How steps are shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Whether ids and commands are shown in full.
    pub whole: bool,
    /// Whether sizes have units.
    pub human: bool,
}

impl Shown {
    /// The default format; with `quiet` the ids alone.
    pub fn default_format(self, quiet: bool) -> &'static str {
        match (quiet, self.human) {
            (true, _) => "{{.ID}}",
            (_, true) => "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
            (_, false) => "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        }
    }
}

/// The columns' names, one for each field of the objects.
pub fn headers() -> Value {
    json!({
        "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
        "Comment": "COMMENT",
    })
}

/// A row for each step from the last on. The id of the last step is the image's.
pub fn rows(image: &Image, shown: Shown, now: Timestamp) -> Vec<Value> {
    let mut layers = image.layers.iter();
    let history = image.document.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut objects: Vec<Value> = Vec::new();
    for step in &history {
        let text = |field: &str| human::harmless(step.get(field).and_then(Value::as_str).unwrap_or_default());
        let is_empty = step.get("empty_layer") == Some(&Value::Bool(true));
        let size = if is_empty { 0 } else { layers.next().map_or(0, |layer| layer.size) };
        objects.push(object(&text("created"), &text("created_by"), &text("comment"), size, shown, now));
    }
    // Layers without a step in the history.
    for layer in layers {
        objects.push(object("", "", "", layer.size, shown, now));
    }
    objects.reverse();
    if let Some(first) = objects.first_mut() {
        first["ID"] = json!(if shown.whole { image.id.to_string() } else { image.id.short() });
    }
    objects
}

fn object(created: &str, by: &str, comment: &str, size: u64, shown: Shown, now: Timestamp) -> Value {
    let time: Option<Timestamp> = created.parse().ok();
    // A tab would begin a column.
    let by = by.replace('\t', " ");
    json!({
        "ID": MISSING,
        "CreatedSince": time.map_or_else(|| "N/A".to_owned(), |time| human::ago(time, now)),
        "CreatedAt": time.map_or_else(|| created.to_owned(), |time| time.strftime("%FT%TZ").to_string()),
        "CreatedBy": if shown.whole { by } else { human::shorten(&by, COMMAND_WIDTH) },
        "Size": if shown.human { human::size(size) } else { size.to_string() },
        "Comment": comment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_for_people_or_for_programs() {
        let now = "2026-01-02T15:04:05Z".parse().unwrap();
        let step = |shown: Shown, created: &str| object(created, "RUN\tx", "why", 1_240_000, shown, now);
        let people = step(Shown { whole: false, human: true }, "2026-01-02T14:04:05Z");
        assert_eq!(
            (&people["CreatedSince"], &people["Size"]),
            (&json!("About an hour ago"), &json!("1.24MB"))
        );
        assert_eq!((&people["ID"], &people["CreatedBy"]), (&json!(MISSING), &json!("RUN x")));
        let programs = step(Shown { whole: true, human: false }, "2026-01-02T14:04:05.5Z");
        assert_eq!(
            (&programs["CreatedAt"], &programs["Size"]),
            (&json!("2026-01-02T14:04:05Z"), &json!("1240000"))
        );
        assert_eq!(step(Shown { whole: true, human: true }, "")["CreatedSince"], "N/A");
    }
}
