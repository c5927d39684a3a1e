//! A template as a tree.

use std::collections::BTreeMap;

use serde_json::Value;

use super::functions::Function;

/// A part of a template.
#[derive(Debug)]
pub enum Node {
    Text(String),
    Print(Pipeline),
    /// `{{template "name" pipeline}}`.
    Template(Call),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
}

/// A named template that is applied to a value, or to nothing.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    pub argument: Option<Pipeline>,
    /// The action as it is written, and where its name stands in the template, for errors.
    pub written: String,
    pub at: usize,
}

/// A template and those that it defines by name.
#[derive(Debug)]
pub struct Tree {
    pub main: Vec<Node>,
    pub named: BTreeMap<String, Vec<Node>>,
}

/// A block with its `else` branch.
#[derive(Debug)]
pub struct Branch {
    pub condition: Pipeline,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// Commands with a bar between them, and the variables that get the result.
#[derive(Debug)]
pub struct Pipeline {
    pub variables: Vec<String>,
    /// Whether the variables are new.
    pub declares: bool,
    pub commands: Vec<Command>,
}

/// A term, or a function or a method with its arguments.
#[derive(Debug)]
pub struct Command(pub Vec<Term>);

/// A value, and the way to a field in it.
#[derive(Debug)]
pub struct Term {
    pub base: Base,
    pub path: Vec<String>,
    /// As it is written, and where in the template, for errors.
    pub written: String,
    pub at: usize,
}

#[derive(Debug)]
pub enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Function(Function),
    Group(Box<Pipeline>),
}
