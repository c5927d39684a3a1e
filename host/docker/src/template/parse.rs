//! A template as a tree.

use serde_json::Value;

use super::TemplateError;
use super::functions::Function;
use super::lex::{Piece, Token, pieces, tokens, unquote};

/// How deep blocks and parentheses may nest: recursive functions walk the tree.
const MAX_DEPTH: usize = 100;

/// A part of a template.
#[derive(Debug)]
pub enum Node {
    Text(String),
    Print(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
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

/// Reads a template.
pub fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser {
        text,
        pieces: pieces(text)?.into_iter(),
        blocks: Vec::new(),
        variables: vec!["$".to_owned()],
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Template => Ok(nodes),
        End::Block { at } => Err(TemplateError::parse(text, at, "unexpected {{end}}")),
        End::Else { at, .. } => Err(TemplateError::parse(text, at, "unexpected {{else}}")),
    }
}

struct Parser<'t> {
    text: &'t str,
    pieces: std::vec::IntoIter<Piece<'t>>,
    /// The blocks around the current place.
    blocks: Vec<&'static str>,
    /// The variables that are visible here.
    variables: Vec<String>,
}

/// What ended a run of nodes.
enum End<'t> {
    Template,
    Block {
        at: usize,
    },
    /// With the rest of `{{else if ...}}`.
    Else {
        rest: Vec<Token<'t>>,
        at: usize,
    },
}

impl<'t> Parser<'t> {
    fn error(&self, at: usize, what: impl Into<String>) -> TemplateError {
        TemplateError::parse(self.text, at, what)
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, End<'t>), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (action, start) = match piece {
                Piece::Text("") => continue,
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Action(action, start) => (action, start),
            };
            let all = tokens(self.text, action, start)?;
            let Some((first, rest)) = all.split_first() else {
                return Err(self.error(start, "missing value for command"));
            };
            let (at, rest) = (first.at, rest.to_vec());
            let alone = |node: Node| match rest.first() {
                None => Ok(node),
                Some(token) => Err(TemplateError::parse(
                    self.text,
                    at,
                    format!("unexpected {:?} in {}", token.text, first.text),
                )),
            };
            nodes.push(match first.text {
                "end" => {
                    alone(Node::Break)?;
                    return Ok((nodes, End::Block { at }));
                }
                "else" => return Ok((nodes, End::Else { rest, at })),
                "if" => Node::If(self.branch("if", rest, at)?),
                "with" => Node::With(self.branch("with", rest, at)?),
                "range" => Node::Range(self.branch("range", rest, at)?),
                word @ ("break" | "continue") => {
                    if !self.blocks.contains(&"range") {
                        return Err(self.error(at, format!("{{{{{word}}}}} outside {{{{range}}}}")));
                    }
                    alone(if word == "break" { Node::Break } else { Node::Continue })?
                }
                word @ ("define" | "template" | "block") => {
                    return Err(self.error(at, format!("{{{{{word}}}}} is not supported")));
                }
                _ => Node::Print(self.pipeline_of(&all, start, "command")?),
            });
        }
        Ok((nodes, End::Template))
    }

    /// The rest of a block that begins with `word` and a pipeline.
    fn branch(
        &mut self,
        word: &'static str,
        rest: Vec<Token<'t>>,
        at: usize,
    ) -> Result<Branch, TemplateError> {
        if self.blocks.len() >= MAX_DEPTH {
            return Err(self.error(at, "blocks lie too deep in each other"));
        }
        let known = self.variables.len();
        self.blocks.push(word);
        let condition = self.pipeline_of(&rest, at, word)?;
        if condition.variables.len() > 1 && word != "range" {
            return Err(self.error(at, format!("too many declarations in {word}")));
        }
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            End::Template => return Err(self.error(self.text.len(), "unexpected EOF")),
            End::Block { .. } => Vec::new(),
            End::Else { rest, at } => self.otherwise(word, &rest, at)?,
        };
        self.blocks.pop();
        self.variables.truncate(known);
        Ok(Branch { condition, body, otherwise })
    }

    /// What follows `{{else`.
    fn otherwise(
        &mut self,
        word: &'static str,
        rest: &[Token<'t>],
        at: usize,
    ) -> Result<Vec<Node>, TemplateError> {
        match rest.split_first() {
            // The inner block takes the one {{end}} of both.
            Some((next, rest)) if next.text == "if" && word == "if" => {
                Ok(vec![Node::If(self.branch("if", rest.to_vec(), at)?)])
            }
            Some((next, rest)) if next.text == "with" && word == "with" => {
                Ok(vec![Node::With(self.branch("with", rest.to_vec(), at)?)])
            }
            Some((next, _)) => Err(self.error(at, format!("unexpected {:?} in else", next.text))),
            None => match self.nodes()? {
                (nodes, End::Block { .. }) => Ok(nodes),
                (_, End::Else { at, .. }) => Err(self.error(at, "expected end; found {{else}}")),
                (_, End::Template) => Err(self.error(self.text.len(), "unexpected EOF")),
            },
        }
    }

    /// The pipeline that is all of `tokens`.
    fn pipeline_of(
        &mut self,
        tokens: &[Token<'t>],
        at: usize,
        context: &str,
    ) -> Result<Pipeline, TemplateError> {
        let mut rest = tokens;
        let pipeline = self.pipeline(&mut rest, at, context, 0)?;
        match rest.first() {
            None => Ok(pipeline),
            Some(token) => Err(self.error(token.at, format!("unexpected {:?} in {context}", token.text))),
        }
    }

    /// The pipeline at the beginning of `rest`, up to a closing parenthesis.
    fn pipeline(
        &mut self,
        rest: &mut &[Token<'t>],
        at: usize,
        context: &str,
        depth: usize,
    ) -> Result<Pipeline, TemplateError> {
        if depth > MAX_DEPTH {
            return Err(self.error(at, "parentheses lie too deep in each other"));
        }
        let (variables, declares) = self.declaration(rest);
        let mut commands = vec![Command(Vec::new())];
        while let Some((token, after)) = rest.split_first() {
            let Some(Command(terms)) = commands.last_mut() else { break };
            match token.text {
                ")" if depth > 0 => break,
                "|" if !terms.is_empty() => {
                    *rest = after;
                    commands.push(Command(Vec::new()));
                }
                _ => {
                    let term = self.term(rest, depth)?;
                    terms.push(term);
                }
            }
        }
        if commands.last().is_none_or(|Command(terms)| terms.is_empty()) {
            return Err(self.error(at, format!("missing value for {context}")));
        }
        for Command(terms) in commands.iter().skip(1) {
            if matches!(terms[0].base, Base::Literal(_)) {
                return Err(self.error(
                    terms[0].at,
                    format!("non executable command in pipeline: {}", terms[0].written),
                ));
            }
        }
        // A variable is visible after its declaration.
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$i, $e :=` at the beginning of `rest`.
    fn declaration(&self, rest: &mut &[Token<'t>]) -> (Vec<String>, bool) {
        let names: Vec<_> =
            rest.iter().take_while(|token| token.text.starts_with('$') || token.text == ",").collect();
        let sign = rest.get(names.len()).map_or("", |token| token.text);
        if names.is_empty() || !matches!(sign, ":=" | "=") {
            return (Vec::new(), false);
        }
        let variables =
            names.iter().filter(|token| token.text != ",").map(|token| token.text.to_owned()).collect();
        *rest = &rest[names.len() + 1..];
        (variables, sign == ":=")
    }

    /// The term at the beginning of `rest`, with the fields behind it.
    fn term(&mut self, rest: &mut &[Token<'t>], depth: usize) -> Result<Term, TemplateError> {
        let Some((token, after)) = rest.split_first() else {
            return Err(self.error(self.text.len(), "missing value for command"));
        };
        *rest = after;
        let mut term =
            Term { base: Base::Dot, path: Vec::new(), written: token.text.to_owned(), at: token.at };
        if token.text == "(" {
            let inner = self.pipeline(rest, token.at, "parenthesized pipeline", depth + 1)?;
            let Some((closing, after)) = rest.split_first() else {
                return Err(self.error(token.at, "unclosed left paren"));
            };
            *rest = after;
            term.base = Base::Group(Box::new(inner));
            term.written = self.text[token.at..=closing.at].to_owned();
            if let Some((field, after)) =
                rest.split_first().filter(|(next, _)| next.glued && next.text.starts_with('.'))
            {
                *rest = after;
                term.written.push_str(field.text);
                self.fields(&mut term, field)?;
            }
            return Ok(term);
        }
        match token.text.as_bytes()[0] {
            b'.' => self.fields(&mut term, token)?,
            b'$' => {
                let (name, path) = token.text.split_once('.').map_or((token.text, None), |(name, _)| {
                    (
                        name,
                        Some(Token {
                            text: &token.text[name.len()..],
                            at: token.at + name.len(),
                            glued: true,
                        }),
                    )
                });
                if !self.variables.iter().any(|known| known == name) {
                    return Err(self.error(token.at, format!("undefined variable {name:?}")));
                }
                term.base = Base::Variable(name.to_owned());
                if let Some(path) = path {
                    self.fields(&mut term, &path)?;
                }
            }
            _ => term.base = self.word(token)?,
        }
        Ok(term)
    }

    /// Adds the fields of `.A.B` to a term.
    fn fields(&self, term: &mut Term, token: &Token) -> Result<(), TemplateError> {
        if token.text == "." {
            return Ok(());
        }
        for name in token.text[1..].split('.') {
            let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_alphanumeric() || c == '_');
            if !is_name {
                return Err(self.error(token.at, format!("bad field {:?}", token.text)));
            }
            term.path.push(name.to_owned());
        }
        // Go reports a chain of fields at its second field.
        if term.path.len() > 1 && matches!(term.base, Base::Dot) {
            term.at += term.path[0].len() + 1;
        }
        Ok(())
    }

    /// A text, a number, a constant or a function.
    fn word(&self, token: &Token) -> Result<Base, TemplateError> {
        let text = token.text;
        let first = text.as_bytes()[0];
        Ok(match text {
            "true" => Base::Literal(true.into()),
            "false" => Base::Literal(false.into()),
            "nil" => Base::Literal(Value::Null),
            _ if matches!(first, b'"' | b'`') => {
                let said = unquote(text).ok_or_else(|| self.error(token.at, "invalid syntax"))?;
                Base::Literal(said.into())
            }
            _ if first.is_ascii_digit() || matches!(first, b'-' | b'+') => {
                let number = text.parse::<i64>().map(Value::from).ok();
                let number =
                    number.or_else(|| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from));
                Base::Literal(
                    number.ok_or_else(|| self.error(token.at, format!("bad number syntax: {text:?}")))?,
                )
            }
            _ if first.is_ascii_alphabetic() || first == b'_' => Base::Function(
                Function::named(text)
                    .ok_or_else(|| self.error(token.at, format!("function {text:?} not defined")))?,
            ),
            _ => return Err(self.error(token.at, format!("unexpected {text:?} in operand"))),
        })
    }
}
