//! A template's tree applied to an object.

use serde_json::Value;

use super::TemplateError;
use super::functions::{Function, truth};
use super::parse::{Base, Branch, Command, Node, Pipeline, Term};
use super::print::shown;

/// The longest piece of a template that an error quotes, Go's.
const QUOTED: usize = 20;

/// The state while nodes are applied.
pub struct Evaluator<'t> {
    /// The template, for the places in errors.
    text: &'t str,
    /// Whether the object has the columns' names instead of values.
    header: bool,
    variables: Vec<(&'t str, Value)>,
    output: String,
}

/// Where evaluation continues.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Applies the `nodes` of template `text` to `object`. With `header`, the object has the names of the columns.
pub fn evaluate(text: &str, nodes: &[Node], object: &Value, header: bool) -> Result<String, TemplateError> {
    let mut evaluator =
        Evaluator { text, header, variables: vec![("$", object.clone())], output: String::new() };
    evaluator.nodes(nodes, object)?;
    Ok(evaluator.output)
}

impl<'t> Evaluator<'t> {
    fn nodes(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.output.push_str(text);
                    Flow::On
                }
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.output.push_str(&shown(&value));
                    }
                    Flow::On
                }
                Node::If(branch) => self.choose(branch, dot, false)?,
                Node::With(branch) => self.choose(branch, dot, true)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                self.variables.truncate(known);
                return Ok(flow);
            }
        }
        self.variables.truncate(known);
        Ok(Flow::On)
    }

    /// `if`, and `with`, whose value is the dot of its body.
    fn choose(&mut self, branch: &'t Branch, dot: &Value, rebinds: bool) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let value = self.pipeline(&branch.condition, dot)?;
        let flow = match truth(&value) {
            true if rebinds => self.nodes(&branch.body, &value)?,
            true => self.nodes(&branch.body, dot)?,
            false => self.nodes(&branch.otherwise, dot)?,
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn range(&mut self, branch: &'t Branch, dot: &Value) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let elements: Vec<(Value, Value)> = match self.commands(&branch.condition, dot)? {
            Value::Array(all) => all.into_iter().enumerate().map(|(at, one)| (at.into(), one)).collect(),
            Value::Object(all) => all.into_iter().map(|(key, one)| (key.into(), one)).collect(),
            Value::Null => Vec::new(),
            // A column has one name, however many elements its cells have.
            name if self.header => vec![(0.into(), name)],
            other => return Err(TemplateError::Range(shown(&other))),
        };
        let mut flow = if elements.is_empty() { self.nodes(&branch.otherwise, dot)? } else { Flow::On };
        for (key, element) in elements {
            match branch.condition.variables.as_slice() {
                [one] => self.set(one, element.clone(), branch.condition.declares),
                [first, second, ..] => {
                    self.set(first, key, branch.condition.declares);
                    self.set(second, element.clone(), branch.condition.declares);
                }
                [] => {}
            }
            flow = self.nodes(&branch.body, &element)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
            flow = Flow::On;
        }
        Ok(if flow == Flow::Break { Flow::On } else { flow })
    }

    fn set(&mut self, name: &'t str, value: Value, declares: bool) {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, old)) if !declares => *old = value,
            _ => self.variables.push((name, value)),
        }
    }

    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or_default())
    }

    fn command(
        &mut self,
        Command(terms): &'t Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let Some((first, arguments)) = terms.split_first() else { return Ok(Value::Null) };
        match &first.base {
            Base::Function(function @ (Function::And | Function::Or)) => {
                return self.decide(*function == Function::And, arguments, dot, piped);
            }
            Base::Function(function) => {
                let mut values =
                    arguments.iter().map(|one| self.term(one, dot)).collect::<Result<Vec<_>, _>>()?;
                values.extend(piped);
                return match values.into_iter().collect::<Vec<_>>() {
                    values if self.header && function.spares_headers() => Ok(header_of(*function, values)),
                    values => function
                        .call(&values)
                        .map_err(|e| self.error(first, format!("error calling {}: {e}", function.name()))),
                };
            }
            _ if arguments.is_empty() && piped.is_none() => return self.term(first, dot),
            _ => {}
        }
        // A method: its argument is a key of the map `NAME()` of the object.
        let argument = match (arguments, piped) {
            ([one], None) => self.term(one, dot)?,
            ([], Some(piped)) => piped,
            _ => return Err(self.error(first, "can't give argument to non-function")),
        };
        let (Base::Dot, [name]) = (&first.base, first.path.as_slice()) else {
            return Err(self.error(first, "can't give argument to non-function"));
        };
        match (dot.get(format!("{name}()")), argument) {
            (Some(Value::Object(all)), Value::String(key)) => {
                Ok(all.get(&key).cloned().unwrap_or_else(|| "".into()))
            }
            (Some(_), Value::String(key)) => Ok(column_name(&key).into()),
            (Some(_), other) => {
                Err(self
                    .error(first, format!("wrong type for value; expected string; got {}", shown(&other))))
            }
            (None, _) => {
                Err(self.error(first, format!("{name} has arguments but cannot be invoked as function")))
            }
        }
    }

    /// `and` and `or` stop at the value that decides.
    fn decide(
        &mut self,
        and: bool,
        arguments: &'t [Term],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut value = Value::Null;
        for argument in arguments {
            value = self.term(argument, dot)?;
            if truth(&value) != and {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    fn term(&mut self, term: &'t Term, dot: &Value) -> Result<Value, TemplateError> {
        match &term.base {
            Base::Dot => self.field(term, dot),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                self.field(term, found.map_or(&Value::Null, |(_, value)| value))
            }
            Base::Literal(value) => Ok(value.clone()),
            Base::Function(function) => function
                .call(&[])
                .map_err(|e| self.error(term, format!("error calling {}: {e}", function.name()))),
            Base::Group(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.field(term, &value)
            }
        }
    }

    fn field(&self, term: &Term, object: &Value) -> Result<Value, TemplateError> {
        let mut value = object;
        for name in &term.path {
            value = match (value.get(name), value) {
                (Some(inner), _) => inner,
                // A missing object, such as a health check.
                (None, Value::Null) => return Ok(Value::Null),
                // Docker's own fields begin with a capital letter; other names are keys of a map, such as labels.
                (None, Value::Object(_)) if !name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    return Ok(Value::Null);
                }
                (None, Value::Object(known)) => {
                    let known = known.keys().filter(|key| !key.ends_with("()"));
                    let known = known.map(|key| format!(".{key}")).collect::<Vec<_>>().join(" ");
                    return Err(
                        self.error(term, format!("can't evaluate field {name}; the fields are {known}"))
                    );
                }
                (None, _) if self.header => return Ok(Value::Null),
                (None, _) => {
                    return Err(self.error(term, format!("can't evaluate field {name} of a plain value")));
                }
            };
        }
        Ok(value.clone())
    }

    /// A mistake in a term.
    fn error(&self, term: &Term, what: impl Into<String>) -> TemplateError {
        let before = &self.text[..term.at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, str::len);
        let mut written: String = term.written.chars().take(QUOTED).collect();
        if written.len() < term.written.len() {
            written.push_str("...");
        }
        TemplateError::Execute { line, column, written, what: what.into() }
    }
}

/// The result of a function on a column's name.
fn header_of(function: Function, values: Vec<Value>) -> Value {
    // Docker, too, prints the names for `json .`.
    match (function, values.first()) {
        (Function::Json, Some(value @ (Value::Object(_) | Value::Array(_)))) => {
            function.call(std::slice::from_ref(value)).unwrap_or_default()
        }
        _ => values.into_iter().next().unwrap_or_default(),
    }
}

/// Docker's name for the column of one label: the last part of the label's name.
fn column_name(label: &str) -> String {
    label.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ")
}
