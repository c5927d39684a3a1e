//! Reads a template into its tree.

use std::collections::BTreeMap;

use super::TemplateError;
use super::lex::{Piece, Token, pieces, tokens, unquote};
use super::tree::{Branch, Call, Node, Tree};

/// How deep blocks and parentheses may nest: recursive functions walk the tree.
pub(super) const MAX_DEPTH: usize = 100;

/// Reads a template.
pub fn parse(text: &str) -> Result<Tree, TemplateError> {
    let mut parser = Parser {
        text,
        pieces: pieces(text)?.into_iter(),
        blocks: Vec::new(),
        variables: vec!["$".to_owned()],
        named: BTreeMap::new(),
    };
    let (main, end) = parser.nodes()?;
    match end {
        End::Template => Ok(Tree { main, named: parser.named }),
        End::Block { at } => Err(TemplateError::parse(text, at, "unexpected {{end}}")),
        End::Else { at, .. } => Err(TemplateError::parse(text, at, "unexpected {{else}}")),
    }
}

pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    pieces: std::vec::IntoIter<Piece<'t>>,
    /// The blocks around the current place.
    blocks: Vec<&'static str>,
    /// The variables that are visible here.
    pub(super) variables: Vec<String>,
    /// The templates with a name, found so far.
    named: BTreeMap<String, Vec<Node>>,
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
    pub(super) fn error(&self, at: usize, what: impl Into<String>) -> TemplateError {
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
                "define" => {
                    self.define(&rest, at)?;
                    continue;
                }
                "template" => Node::Template(self.call("template", &rest, action, at)?),
                "block" => Node::Template(self.block(&rest, action, at)?),
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

    /// `{{define "name"}}` and what belongs to it.
    fn define(&mut self, rest: &[Token<'t>], at: usize) -> Result<(), TemplateError> {
        if !self.blocks.is_empty() {
            return Err(self.error(at, "unexpected <define> in command"));
        }
        let (name, rest) = self.name("define", rest, at)?;
        if let Some(token) = rest.first() {
            return Err(self.error(token.at, format!("unexpected {:?} in define clause", token.text)));
        }
        self.body("define", name)
    }

    /// `{{block "name" pipeline}}`: a template that is defined and applied in one.
    fn block(&mut self, rest: &[Token<'t>], action: &str, at: usize) -> Result<Call, TemplateError> {
        let call = self.call("block", rest, action, at)?;
        if call.argument.is_none() {
            return Err(self.error(at, "missing value for block clause"));
        }
        self.body("block", call.name.clone())?;
        Ok(call)
    }

    /// The name behind `word`, and the pipeline behind the name.
    fn call(
        &mut self,
        word: &'static str,
        rest: &[Token<'t>],
        action: &str,
        at: usize,
    ) -> Result<Call, TemplateError> {
        let (name, after) = self.name(word, rest, at)?;
        let argument = match after {
            [] => None,
            [first, ..] => Some(self.pipeline_of(after, first.at, word)?),
        };
        let written = format!("{{{{{}}}}}", action.trim());
        Ok(Call { name, argument, written, at: rest.first().map_or(at, |token| token.at) })
    }

    /// The quoted name at the beginning of `rest`.
    fn name<'r>(
        &self,
        word: &str,
        rest: &'r [Token<'t>],
        at: usize,
    ) -> Result<(String, &'r [Token<'t>]), TemplateError> {
        let Some((token, after)) = rest.split_first() else {
            return Err(self.error(at, format!("missing name for {word} clause")));
        };
        if !token.text.starts_with(['"', '`']) {
            return Err(self.error(token.at, format!("unexpected {:?} in {word} clause", token.text)));
        }
        let name = unquote(token.text).ok_or_else(|| self.error(token.at, "invalid syntax"))?;
        Ok((name, after))
    }

    /// The nodes up to `{{end}}`, kept under `name`. Nothing of the place around them is visible in them.
    fn body(&mut self, word: &'static str, name: String) -> Result<(), TemplateError> {
        if self.blocks.len() >= MAX_DEPTH {
            return Err(self.error(self.text.len(), "blocks lie too deep in each other"));
        }
        // A loop around a block is not one that its body could leave.
        let inside = vec![word; self.blocks.len() + 1];
        let blocks = std::mem::replace(&mut self.blocks, inside);
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (body, end) = self.nodes()?;
        (self.blocks, self.variables) = (blocks, variables);
        match end {
            End::Block { .. } => drop(self.named.insert(name, body)),
            End::Else { at, .. } => {
                return Err(self.error(at, format!("unexpected {{{{else}}}} in {word} clause")));
            }
            End::Template => return Err(self.error(self.text.len(), "unexpected EOF")),
        }
        Ok(())
    }
}
