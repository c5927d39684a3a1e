//! A template's tree applied to an object.

use serde_json::{Map, Value};

use super::TemplateError;
use super::functions::{Function, truth};
use super::print::shown;
use super::tree::{Base, Branch, Call, Command, Node, Pipeline, Term, Tree};

/// How deep blocks may lie in each other, those of called templates included. Go allows 100,000 calls; its stack grows.
const MAX_DEPTH: usize = 300;

/// The largest number that `range` counts to.
const MAX_COUNT: u64 = 1 << 16;

/// How Go prints a field that is null.
const NIL: &str = "<nil>";

/// The longest piece of a template that an error quotes, Go's.
const QUOTED: usize = 20;

/// The state while nodes are applied.
pub struct Evaluator<'t> {
    /// The template, for the places in errors.
    text: &'t str,
    tree: &'t Tree,
    /// The names of the templates that are being applied, the innermost last.
    calls: Vec<&'t str>,
    /// How many blocks are around the current node.
    depth: usize,
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

/// Applies template `text`, whose tree is `tree`, to `object`. With `header`, the object has the names of the columns.
pub fn evaluate(text: &str, tree: &Tree, object: &Value, header: bool) -> Result<String, TemplateError> {
    let variables = vec![("$", object.clone())];
    let mut evaluator =
        Evaluator { text, tree, calls: Vec::new(), depth: 0, header, variables, output: String::new() };
    evaluator.nodes(&tree.main, object)?;
    Ok(evaluator.output)
}

impl<'t> Evaluator<'t> {
    fn nodes(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow, TemplateError> {
        self.depth += 1;
        let flow = self.nodes_within(nodes, dot);
        self.depth -= 1;
        flow
    }

    fn nodes_within(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow, TemplateError> {
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
                        let text =
                            if self.is_nil(pipeline, dot, &value) { NIL.to_owned() } else { shown(&value) };
                        self.output.push_str(&text);
                    }
                    Flow::On
                }
                Node::Template(call) => {
                    self.call(call, dot)?;
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
            Value::Number(count) if count.is_u64() => (0..count.as_u64().unwrap_or_default().min(MAX_COUNT))
                .map(|at| (at.into(), at.into()))
                .collect(),
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

    /// Whether `value` is that of a field that is there and null, which Go prints in another way than what is missing.
    fn is_nil(&self, pipeline: &Pipeline, dot: &Value, value: &Value) -> bool {
        let [Command(terms)] = pipeline.commands.as_slice() else { return false };
        let [Term { base: Base::Dot, path, .. }] = terms.as_slice() else { return false };
        value.is_null()
            && !path.is_empty()
            && path.iter().try_fold(dot, |value, name| value.get(name)).is_some()
    }

    /// Applies a named template to its argument.
    fn call(&mut self, call: &'t Call, dot: &Value) -> Result<(), TemplateError> {
        let fault = |what: String| self.fault(&call.written, call.at, what);
        let Some((name, nodes)) = self.tree.named.get_key_value(&call.name) else {
            return Err(fault(format!("template {:?} not defined", call.name)));
        };
        if self.depth >= MAX_DEPTH {
            return Err(fault(format!("exceeded maximum template depth ({MAX_DEPTH})")));
        }
        let argument = match &call.argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Null,
        };
        let outside = std::mem::replace(&mut self.variables, vec![("$", argument.clone())]);
        self.calls.push(name);
        self.nodes(nodes, &argument)?;
        self.calls.pop();
        self.variables = outside;
        Ok(())
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
                (None, Value::Object(known)) if is_map(known) => return Ok(Value::Null),
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
        self.fault(&term.written, term.at, what)
    }

    /// A mistake in what is written at byte `at` of the template.
    fn fault(&self, written: &str, at: usize, what: impl Into<String>) -> TemplateError {
        let before = &self.text[..at.min(self.text.len())];
        TemplateError::Execute {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, str::len),
            name: self.calls.last().map_or_else(String::new, |name| (*name).to_owned()),
            written: quoted(written),
            what: what.into(),
        }
    }
}

/// The beginning of a piece of a template.
fn quoted(written: &str) -> String {
    let beginning: String = written.chars().take(QUOTED).collect();
    if beginning.len() < written.len() { beginning + "..." } else { beginning }
}

/// Whether an object is a map, such as labels, whose keys may be missing. Docker's own fields begin with a capital
/// letter.
fn is_map(object: &Map<String, Value>) -> bool {
    !object.keys().any(|key| key.starts_with(|c: char| c.is_ascii_uppercase()))
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
