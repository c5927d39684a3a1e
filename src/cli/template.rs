//! `--format`: the part of Go's templates that people use with Docker.
//!
//! ```text
//! {{.Repository}}:{{.Tag}}      fields, also .Config.Labels.name
//! {{json .Config}}              functions: json, join, index, len, lower, upper
//! {{.Name | upper}}             what comes before a bar is the last argument
//! table {{.ID}}\t{{.Size}}      columns under their names
//! ```

use std::fmt::Write as _;

use anyhow::{Context, bail};
use serde_json::Value;

/// The least width of a column of a table, its gap included, and the gap: Docker's.
const COLUMN: usize = 10;
const GAP: usize = 3;

/// A template that can be applied to any number of objects.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
    table: bool,
}

#[derive(Debug)]
enum Part {
    Text(String),
    /// Commands with a bar between them.
    Action(Vec<Command>),
}

/// A function with its arguments, or one argument alone.
#[derive(Debug)]
struct Command {
    function: Option<Function>,
    arguments: Vec<Argument>,
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Json,
    Join,
    Index,
    Len,
    Lower,
    Upper,
}

#[derive(Debug)]
enum Argument {
    /// `.A.B`, and how it is written, with its place in the template.
    Field {
        path: Vec<String>,
        written: String,
        column: usize,
    },
    Literal(Value),
}

impl Template {
    /// Reads a template. `json` alone stands for `{{json .}}`.
    pub fn parse(format: &str) -> anyhow::Result<Self> {
        let (table, text) = match format.strip_prefix("table") {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => (true, rest.trim_start()),
            _ => (false, if format == "json" { "{{json .}}" } else { format }),
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, action)) = rest.split_once("{{") {
            parts.push(Part::Text(unescape(literal)));
            let end =
                end_of_action(action).context("template parsing error: template: :1: unclosed action")?;
            let column = text.len() - action.len();
            parts.push(Part::Action(parse_action(&action[..end], column)?));
            rest = &action[end + 2..];
        }
        parts.push(Part::Text(unescape(rest)));
        Ok(Self { parts, table })
    }

    /// One line for each object. `headers` has a name for every field that the objects have.
    pub fn list(&self, objects: &[Value], headers: &Value) -> anyhow::Result<String> {
        // Even without objects, a field that does not exist is a mistake.
        let header = self.apply(headers)?;
        let lines = objects.iter().map(|object| self.apply(object)).collect::<anyhow::Result<Vec<_>>>()?;
        if self.table {
            return Ok(align(std::iter::once(&header).chain(&lines)));
        }
        Ok(lines.iter().fold(String::new(), |text, line| text + line + "\n"))
    }

    /// The template with the fields of `object`.
    pub fn apply(&self, object: &Value) -> anyhow::Result<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Action(commands) => {
                    let mut value = None;
                    for command in commands {
                        value = Some(command.evaluate(object, value)?);
                    }
                    print(&mut text, &value.unwrap_or(Value::Null));
                }
            }
        }
        Ok(text)
    }
}

impl Command {
    fn evaluate(&self, object: &Value, piped: Option<Value>) -> anyhow::Result<Value> {
        let mut values =
            self.arguments.iter().map(|one| one.evaluate(object)).collect::<anyhow::Result<Vec<_>>>()?;
        values.extend(piped);
        let text = |value: &Value| {
            let mut text = String::new();
            print(&mut text, value);
            text
        };
        Ok(match (self.function, values.as_slice()) {
            (None, [value]) => value.clone(),
            (Some(Function::Json), [value]) => Value::String(value.to_string()),
            (Some(Function::Lower), [value]) => Value::String(text(value).to_lowercase()),
            (Some(Function::Upper), [value]) => Value::String(text(value).to_uppercase()),
            (Some(Function::Len), [value]) => match value {
                Value::String(text) => text.len().into(),
                Value::Array(all) => all.len().into(),
                Value::Object(all) => all.len().into(),
                Value::Null => 0.into(),
                _ => bail!("template: len of a number or a truth value"),
            },
            (Some(Function::Join), [list, Value::String(separator)]) => {
                let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
                Value::String(all.iter().map(text).collect::<Vec<_>>().join(separator))
            }
            (Some(Function::Index), [list, path @ ..]) if !path.is_empty() => {
                path.iter().try_fold(list.clone(), |value, key| index(&value, key))?
            }
            _ => bail!("template: a function has the wrong number or kind of arguments"),
        })
    }
}

impl Argument {
    fn evaluate(&self, object: &Value) -> anyhow::Result<Value> {
        let (path, written, column) = match self {
            Self::Literal(value) => return Ok(value.clone()),
            Self::Field { path, written, column } => (path, written, column),
        };
        let mut value = object;
        for name in path {
            value = match (value.get(name), value) {
                (Some(inner), _) => inner,
                // What has no fields at all in this object, like a health check that is not there.
                (None, Value::Null) => return Ok(Value::Null),
                // Docker's own fields begin with a capital letter; other names are keys of a map, such as labels.
                (None, Value::Object(_)) if !name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    return Ok(Value::Null);
                }
                (None, Value::Object(known)) => {
                    let known = known.keys().map(|key| format!(".{key}")).collect::<Vec<_>>().join(" ");
                    bail!(
                        "template: :1:{column}: executing \"\" at <{written}>: can't evaluate field {name}; \
                         the fields are {known}"
                    )
                }
                _ => bail!(
                    "template: :1:{column}: executing \"\" at <{written}>: can't evaluate field {name} of a plain value"
                ),
            };
        }
        Ok(value.clone())
    }
}

fn index(value: &Value, key: &Value) -> anyhow::Result<Value> {
    match (value, key) {
        (Value::Array(all), Value::Number(at)) => {
            let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
            let found = at.and_then(|at| all.get(at));
            found
                .cloned()
                .with_context(|| format!("template: index out of range: {key} of {} elements", all.len()))
        }
        (Value::Object(all), Value::String(key)) => Ok(all.get(key).cloned().unwrap_or_default()),
        (Value::Null, _) => Ok(Value::Null),
        _ => bail!("template: index wants a list and a number, or a map and a text"),
    }
}

/// Where `}}` is, outside of quotes.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '}' if !quoted && previous == '}' => return Some(at - 1),
            _ => {}
        }
        previous = c;
    }
    None
}

fn parse_action(text: &str, column: usize) -> anyhow::Result<Vec<Command>> {
    let mut commands = vec![Command { function: None, arguments: Vec::new() }];
    for (at, word) in words(text)? {
        let fresh = commands.last().is_none_or(|last| last.function.is_none() && last.arguments.is_empty());
        if word == "|" && !fresh {
            commands.push(Command { function: None, arguments: Vec::new() });
            continue;
        }
        let Some(command) = commands.last_mut() else { continue };
        if fresh && word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            command.function = Some(function(word)?);
        } else {
            command.arguments.push(argument(word, column + at)?);
        }
    }
    if commands.last().is_none_or(|last| last.function.is_none() && last.arguments.is_empty()) {
        bail!("template parsing error: template: :1: missing value for command");
    }
    Ok(commands)
}

/// The words of an action with their places; a quoted text is one word, and so is a bar.
fn words(text: &str) -> anyhow::Result<Vec<(usize, &str)>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(|c: char| !c.is_whitespace()).map(|skip| at + skip) {
        let rest = &text[start..];
        let length = match rest.as_bytes()[0] {
            b'"' => {
                2 + rest[1..]
                    .find('"')
                    .context("template parsing error: template: :1: unterminated quoted string")?
            }
            b'|' => 1,
            _ => rest.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(rest.len()),
        };
        found.push((start, &rest[..length]));
        at = start + length;
    }
    Ok(found)
}

fn function(word: &str) -> anyhow::Result<Function> {
    Ok(match word {
        "json" => Function::Json,
        "join" => Function::Join,
        "index" => Function::Index,
        "len" => Function::Len,
        "lower" => Function::Lower,
        "upper" => Function::Upper,
        _ => bail!(
            "template parsing error: template: :1: function {word:?} not defined; there are json, join, index, len, \
             lower and upper"
        ),
    })
}

fn argument(word: &str, column: usize) -> anyhow::Result<Argument> {
    if let Some(path) = word.strip_prefix('.') {
        let path = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        return Ok(Argument::Field { path, written: word.to_owned(), column });
    }
    if let Some(text) = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
        return Ok(Argument::Literal(Value::String(unescape(text))));
    }
    let number: u64 = word.parse().with_context(|| {
        format!("template parsing error: template: :1: {word:?} is neither a field (.Name), a text in quotes nor a number")
    })?;
    Ok(Argument::Literal(number.into()))
}

/// A shell passes `\t` and `\n` on as they are written.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Appends a value as Go prints it.
fn print(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("<no value>"),
        Value::String(string) => text.push_str(string),
        Value::Array(all) => {
            text.push('[');
            for (i, one) in all.iter().enumerate() {
                text.push_str(if i > 0 { " " } else { "" });
                print(text, one);
            }
            text.push(']');
        }
        Value::Object(all) => {
            text.push_str("map[");
            for (i, (key, one)) in all.iter().enumerate() {
                let _ = write!(text, "{}{key}:", if i > 0 { " " } else { "" });
                print(text, one);
            }
            text.push(']');
        }
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

/// Lines of cells with tabs between them, in columns.
fn align<'a>(lines: impl Iterator<Item = &'a String> + Clone) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines.clone() {
        // The last cell of a line is no column: nothing comes after it.
        let cells: Vec<_> = line.split('\t').collect();
        for (column, cell) in cells.iter().take(cells.len() - 1).enumerate() {
            widths.resize(widths.len().max(column + 1), COLUMN);
            widths[column] = widths[column].max(cell.chars().count() + GAP);
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut cells =
            line.split('\t').zip(widths.iter().map(Some).chain(std::iter::repeat(None))).peekable();
        while let Some((cell, width)) = cells.next() {
            match width {
                Some(width) if cells.peek().is_some() => {
                    let _ = write!(text, "{cell:<width$}");
                }
                _ => text.push_str(cell),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(template: &str) -> anyhow::Result<String> {
        let object = json!({
            "ID": "abc", "Tags": ["a:1", "b:2"], "Size": 12, "None": null,
            "Config": {"Cmd": ["sh", "-c"], "Labels": {"org.x": "y", "k": "v"}},
        });
        Template::parse(template)?.apply(&object)
    }

    #[test]
    fn fields_and_functions() {
        for (template, text) in [
            ("", ""),
            ("{{.ID}}:{{ .Size }}", "abc:12"),
            ("{{.Config.Cmd}}", "[sh -c]"),
            ("{{json .Config.Cmd}}", "[\"sh\",\"-c\"]"),
            ("{{.Config.Labels}}", "map[k:v org.x:y]"),
            ("{{.Config.Labels.k}}", "v"),
            ("{{.Config.Labels.none}}", "<no value>"),
            ("{{index .Config.Labels \"org.x\"}}", "y"),
            ("{{index .Tags 1}}", "b:2"),
            ("{{join .Tags \", \"}}", "a:1, b:2"),
            ("{{.ID | upper | json}}", "\"ABC\""),
            ("{{len .Tags}}", "2"),
            ("{{.None.Below}}", "<no value>"),
            ("a\\tb\\n{{.ID}}", "a\tb\nabc"),
            ("{{\"}}\"}}", "}}"),
        ] {
            assert_eq!(apply(template).unwrap(), text, "{template}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (template, words) in [
            ("{{.Nope}}", "can't evaluate field Nope; the fields are .Config .ID"),
            ("x{{.Config.Nope}}", ":1:3: executing \"\" at <.Config.Nope>"),
            ("{{.ID.X}}", "of a plain value"),
            ("{{.ID", "unclosed action"),
            ("{{}}", "missing value"),
            ("{{.ID |}}", "missing value"),
            ("{{nope .ID}}", "function \"nope\" not defined"),
            ("{{json}}", "wrong number"),
            ("{{\"x}}", "unclosed action"),
            ("{{index .Tags 5}}", "out of range"),
            ("{{json ID}}", "neither a field"),
        ] {
            let error = apply(template).unwrap_err().to_string();
            assert!(error.contains(words), "{template}: {error}");
        }
    }

    #[test]
    fn tables_have_headers_and_columns() {
        let headers = json!({"Repository": "REPOSITORY", "Tag": "TAG"});
        let rows =
            [json!({"Repository": "localhost/busybox", "Tag": "1"}), json!({"Repository": "x", "Tag": "2"})];
        let list = |format: &str| Template::parse(format).unwrap().list(&rows, &headers).unwrap();
        let expected = "REPOSITORY          TAG\nlocalhost/busybox   1\nx                   2\n";
        assert_eq!(list("table {{.Repository}}\\t{{.Tag}}"), expected);
        assert_eq!(list("table {{.Tag}}\\t{{.Repository}}").lines().next(), Some("TAG       REPOSITORY"));
        assert_eq!(list("{{.Tag}}"), "1\n2\n");
        assert_eq!(list("json").lines().nth(1), Some("{\"Repository\":\"x\",\"Tag\":\"2\"}"));
        Template::parse("{{.Nope}}").unwrap().list(&[], &headers).unwrap_err();
    }

    proptest::proptest! {
        #[test]
        fn no_template_panics(template in "(\\{\\{|\\}\\}|\\.|\\||\"|[a-zA-Z é]|\\\\t|json|table ){0,12}") {
            let _ = apply(&template);
        }
    }
}
