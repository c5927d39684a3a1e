//! The pipelines of a template's actions.

use serde_json::Value;

use super::TemplateError;
use super::functions::Function;
use super::lex::{Token, unquote};
use super::parse::{MAX_DEPTH, Parser};
use super::tree::{Base, Command, Pipeline, Term};

impl<'t> Parser<'t> {
    /// The pipeline that is all of `tokens`.
    pub(super) fn pipeline_of(
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
