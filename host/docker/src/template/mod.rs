//! `--format`: Go's templates as people use them with Docker.
//!
//! ```text
//! {{.Repository}}:{{.Tag}}                    fields, also .Config.Labels.name
//! {{json .Config}}  {{.Name | upper}}         functions; what comes before a bar is the last argument
//! {{range $i, $e := .Mounts}}{{$e.Source}}{{else}}none{{end}}
//! {{if eq .State "running"}}up{{else if .Error}}broken{{end}}  {{with .Health}}{{.Status}}{{end}}
//! {{define "line"}}{{.}};{{end}}{{template "line" .Name}}   {{block "line" .Name}}{{.}}{{end}}
//! table {{.ID}}\t{{.Size}}                    columns under their names
//! ```
//!
//! An object is JSON. A key that ends in `()` is a method: `{{.Label "x"}}` looks `x` up in the map `Label()`. A
//! method is not a field, and `json` does not show it.

pub mod duration;
mod error;
mod escape;
mod evaluate;
mod functions;
mod lex;
mod parse;
mod pipeline;
mod print;
pub mod table;
#[cfg(test)]
mod tests;
mod tree;

use moat_protocol::text::harmless_lines;
use serde_json::Value;

pub use self::error::TemplateError;
use self::tree::Tree;

/// A template that can be applied to any number of objects.
#[derive(Debug)]
pub struct Template {
    text: String,
    tree: Tree,
    table: bool,
}

impl Template {
    /// Reads a template. `json` alone stands for `{{json .}}`.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(format: &str) -> Result<Self, TemplateError> {
        let (table, text) = match format.strip_prefix("table") {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => (true, rest.trim_start()),
            _ => (false, if format == "json" { "{{json .}}" } else { format }),
        };
        // A shell passes `\t` and `\n` on as they are written.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self { tree: parse::parse(&text)?, table, text })
    }

    /// One line for each object. `headers` has a name for every field that the objects have.
    ///
    /// # Errors
    /// When the objects have no such fields, or a function does not take them.
    pub fn list(&self, objects: &[Value], headers: &Value) -> Result<String, TemplateError> {
        let mut lines = objects.iter().map(|object| self.apply(object)).collect::<Result<Vec<_>, _>>()?;
        if self.table {
            lines.insert(0, evaluate::evaluate(&self.text, &self.tree, headers, true)?);
            // A table is for people, and its cells come from images and containers.
            lines.iter_mut().for_each(|line| *line = harmless_lines(line));
            return Ok(table::align(lines.iter(), table::COLUMN));
        }
        Ok(lines.iter().fold(String::new(), |text, line| text + line + "\n"))
    }

    /// The template with the fields of `object`.
    ///
    /// # Errors
    /// When the object has no such fields, or a function does not take them.
    pub fn apply(&self, object: &Value) -> Result<String, TemplateError> {
        evaluate::evaluate(&self.text, &self.tree, object, false)
    }
}
