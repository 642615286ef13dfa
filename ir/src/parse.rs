//! Reads the text form back. Says only whether a text is a graph; whether the graph is valid is for [`crate::verify()`].

use crate::error::ParseError;
use crate::graph::{Bounds, Graph, Node, Value};
use crate::lex::{Lexeme, Token, lex};
use crate::op::Op;
use crate::types::{Dim, Type};
use crate::weight::{Part, Weight};

type Result<T> = std::result::Result<T, ParseError>;

/// One graph.
pub fn parse(text: &str) -> Result<Graph> {
    let mut parser = Parser { lexemes: lex(text)?, next: 0, fresh: false };
    let graph = parser.graph()?;
    match parser.peek(0) {
        Token::End => Ok(graph),
        _ => Err(parser.error("expected the end of the text")),
    }
}

pub(crate) struct Parser<'a> {
    /// Ends with `Token::End`.
    lexemes: Vec<Lexeme<'a>>,
    next: usize,
    /// No operand of this op has been read yet.
    fresh: bool,
}

impl<'a> Parser<'a> {
    fn lexeme(&self, ahead: usize) -> Lexeme<'a> {
        let last = self.lexemes.len() - 1;
        self.lexemes[(self.next + ahead).min(last)]
    }

    fn peek(&self, ahead: usize) -> Token<'a> {
        self.lexeme(ahead).token
    }

    /// An error at the next token.
    fn error(&self, message: impl Into<String>) -> ParseError {
        let Lexeme { line, column, .. } = self.lexeme(0);
        ParseError { line, column, message: message.into() }
    }

    fn accept(&mut self, token: Token) -> bool {
        let found = self.peek(0) == token;
        self.next += usize::from(found);
        found
    }

    fn punct(&mut self, punct: &str) -> Result<()> {
        if self.accept(Token::Punct(punct)) { Ok(()) } else { Err(self.error(format!("expected `{punct}`"))) }
    }

    fn keyword(&mut self, word: &str) -> Result<()> {
        if self.accept(Token::Word(word)) { Ok(()) } else { Err(self.error(format!("expected `{word}`"))) }
    }

    fn name(&mut self) -> Result<String> {
        match self.peek(0) {
            Token::Name(name) => {
                self.next += 1;
                Ok(name.to_string())
            }
            _ => Err(self.error("expected a name, as `@name`")),
        }
    }

    fn number(&mut self) -> Result<u32> {
        let number = match self.peek(0) {
            Token::Number(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.error("expected a number below 2^32"))?;
        self.next += 1;
        Ok(number)
    }

    // What operands are made of; `op::field` says in what order.

    fn comma(&mut self) -> bool {
        self.accept(Token::Punct(","))
    }

    /// What stands before a required operand.
    pub(crate) fn separator(&mut self) -> Result<()> {
        if std::mem::take(&mut self.fresh) { Ok(()) } else { self.punct(",") }
    }

    /// Skips `, key =` if it comes next.
    pub(crate) fn optional(&mut self, key: &str) -> bool {
        let separated = usize::from(!self.fresh);
        let found = (self.fresh || self.peek(0) == Token::Punct(","))
            && self.peek(separated) == Token::Word(key)
            && self.peek(separated + 1) == Token::Punct("=");
        if found {
            self.next += separated + 2;
            self.fresh = false;
        }
        found
    }

    pub(crate) fn value(&mut self) -> Result<Value> {
        let number = match self.peek(0) {
            Token::Value(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.error("expected a value, as `%3`"))?;
        self.next += 1;
        Ok(Value(number))
    }

    pub(crate) fn weight(&mut self) -> Result<Weight> {
        if !self.accept(Token::Word("concat_rows")) {
            return Ok(Weight { parts: vec![self.part()?] });
        }
        self.punct("(")?;
        let mut parts = vec![self.part()?];
        while self.comma() {
            parts.push(self.part()?);
        }
        self.punct(")")?;
        Ok(Weight { parts })
    }

    fn part(&mut self) -> Result<Part> {
        let name = self.name()?;
        self.punct(":")?;
        Ok(Part { name, ty: self.ty()? })
    }

    fn ty(&mut self) -> Result<Type> {
        let dtype = match self.peek(0) {
            Token::Word(word) => word.parse().ok(),
            _ => None,
        };
        let dtype = dtype.ok_or_else(|| self.error("expected a type, as `f32[n, 576]`"))?;
        self.next += 1;
        self.punct("[")?;
        let mut shape = Vec::new();
        while !self.accept(Token::Punct("]")) {
            if !shape.is_empty() {
                self.punct(",")?;
            }
            shape.push(self.dim()?);
        }
        Ok(Type { dtype, shape })
    }

    fn dim(&mut self) -> Result<Dim> {
        if self.accept(Token::Word("n")) {
            Ok(Dim::Tokens)
        } else if self.accept(Token::Word("m")) {
            Ok(Dim::Rows)
        } else {
            self.number().map(Dim::Const).map_err(|error| ParseError {
                message: "expected a dimension: `n`, `m` or a number below 2^32".to_string(),
                ..error
            })
        }
    }

    /// `{key = text, …}`, or nothing; each key one of `names`.
    pub(crate) fn attributes(&mut self, names: &[&str]) -> Result<Attributes> {
        let mut attributes = Attributes { at: self.error(""), list: Vec::new() };
        if !self.accept(Token::Punct("{")) {
            return Ok(attributes);
        }
        while attributes.list.is_empty() || self.comma() {
            let Token::Word(key) = self.peek(0) else { return Err(self.error("expected an attribute")) };
            if !names.contains(&key) || attributes.list.iter().any(|(known, _, _)| known == key) {
                return Err(self.error(format!("no attribute `{key}` can stand here; known: {}", names.join(", "))));
            }
            self.next += 1;
            self.punct("=")?;
            let (Token::Number(text) | Token::Word(text)) = self.peek(0) else {
                return Err(self.error(format!("expected the value of `{key}`")));
            };
            attributes.list.push((key.to_string(), text.to_string(), self.error("")));
            self.next += 1;
        }
        self.punct("}")?;
        Ok(attributes)
    }

    // The graph.

    fn graph(&mut self) -> Result<Graph> {
        self.keyword("graph")?;
        let name = self.name()?;
        let bounds = self.bounds()?;
        self.punct("{")?;
        let mut nodes = Vec::new();
        while !self.accept(Token::Word("output")) {
            nodes.push(self.node(nodes.len())?);
        }
        let output = self.value()?;
        self.punct("}")?;
        Ok(Graph { name, bounds, nodes, output })
    }

    fn bounds(&mut self) -> Result<Bounds> {
        self.punct("(")?;
        let tokens = self.bound("n", "tokens")?;
        self.punct(",")?;
        let rows = self.bound("m", "rows")?;
        self.punct(")")?;
        Ok(Bounds { tokens, rows })
    }

    fn bound(&mut self, symbol: &str, meaning: &str) -> Result<u32> {
        self.keyword(symbol)?;
        self.punct(":")?;
        self.keyword(meaning)?;
        self.punct("<=")?;
        self.number()
    }

    fn node(&mut self, index: usize) -> Result<Node> {
        let at = self.error(format!("expected %{index}, the next value, or `output`"));
        match self.value() {
            Ok(value) if value.index() == index => {}
            _ => return Err(at),
        }
        self.punct(":")?;
        let ty = self.ty()?;
        self.punct("=")?;
        let unknown = self.error(format!("expected an op: {}", Op::NAMES.join(", ")));
        let Token::Word(name) = self.peek(0) else { return Err(unknown) };
        self.next += 1;
        self.fresh = true;
        let op = Op::parse(name, self).unwrap_or(Err(unknown))?;
        Ok(Node { op, ty })
    }
}

/// The attributes of one op as text, each with the place of its value.
pub(crate) struct Attributes {
    at: ParseError,
    list: Vec<(String, String, ParseError)>,
}

impl Attributes {
    pub(crate) fn take<A: crate::op::Attribute>(&mut self, key: &str, default: Option<A>) -> Result<A> {
        match self.list.iter().find(|(known, _, _)| known == key) {
            Some((_, text, at)) => A::parse(text).ok_or_else(|| ParseError {
                message: format!("`{text}` cannot be the value of `{key}`"),
                ..at.clone()
            }),
            None => default
                .ok_or_else(|| ParseError { message: format!("the attribute `{key}` is missing"), ..self.at.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    const HEAD: &str = "graph @g(n: tokens <= 4, m: rows <= 1) {\n";

    fn error(body: &str) -> String {
        parse(&format!("{HEAD}{body}")).expect_err(body).to_string()
    }

    #[test]
    fn errors_say_where_and_what() {
        assert_eq!(parse("").unwrap_err().to_string(), "1:1: expected `graph`");
        assert_eq!(error("  output 3\n}"), "2:10: expected a value, as `%3`");
        assert_eq!(error("  %1: f32[n, 4] = silu %0\n"), "2:3: expected %0, the next value, or `output`");
        assert_eq!(error("  %0: f33[n, 4] = silu %0\n"), "2:7: expected a type, as `f32[n, 576]`");
        assert_eq!(
            error("  %0: f32[n, 4294967296] = silu %0\n"),
            "2:14: expected a dimension: `n`, `m` or a number below 2^32"
        );
        assert_eq!(error("  %0: f32[n, 4] = mul %0\n}"), "3:1: expected `,`");
        assert_eq!(error("  %0: f32[n, 4] = scale %0\n output %0\n}"), "3:2: the attribute `factor` is missing");
        assert_eq!(
            error("  %0: f32[n, 4] = scale %0 {factor = x}\n output %0\n}"),
            "2:38: `x` cannot be the value of `factor`"
        );
        assert_eq!(
            error("  %0: f32[n, 4] = scale %0 {k = 2.0}\n"),
            "2:29: no attribute `k` can stand here; known: factor"
        );
        assert_eq!(error("  output %0\n}\n}"), "4:1: expected the end of the text");
        assert_eq!(error("  é ;"), "2:3: unexpected 'é'");
        assert!(error("  %0: f32[n, 4] = softmax %0").starts_with("2:19: expected an op: embed, "));
    }

    #[test]
    fn comments_and_layout_do_not_matter() {
        let text = format!("// a graph\n{HEAD} // no nodes\n output\n %0 }}");
        assert_eq!(parse(&text).unwrap().output.index(), 0);
    }
}
