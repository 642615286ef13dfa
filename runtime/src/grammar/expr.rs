//! What a rule says, before it is compiled.

use super::chars::CharSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// These bytes; none is the empty text.
    Text(Vec<u8>),
    /// One character of a set.
    Char(CharSet),
    /// One after another.
    All(Vec<Expr>),
    /// One of these.
    Any(Vec<Expr>),
    /// At least, at most.
    Repeat(Box<Expr>, u32, Option<u32>),
    /// What the rule with this index says.
    Rule(usize),
}

/// Rules with their names; the first one is the whole text.
#[derive(Clone, Debug, Default)]
pub struct Named {
    pub rules: Vec<(String, Expr)>,
}

impl Expr {
    pub fn text(text: &str) -> Expr {
        Expr::Text(text.as_bytes().to_vec())
    }

    pub fn empty() -> Expr {
        Expr::Text(Vec::new())
    }

    pub fn repeat(self, least: u32, most: Option<u32>) -> Expr {
        Expr::Repeat(Box::new(self), least, most)
    }

    pub fn optional(self) -> Expr {
        self.repeat(0, Some(1))
    }
}

impl Named {
    /// A rule to be said later; until then it is the empty text.
    pub fn declare(&mut self, name: impl Into<String>) -> usize {
        self.rules.push((name.into(), Expr::empty()));
        self.rules.len() - 1
    }

    pub fn say(&mut self, rule: usize, expr: Expr) {
        self.rules[rule].1 = expr;
    }

    pub fn add(&mut self, name: impl Into<String>, expr: Expr) -> Expr {
        let rule = self.declare(name);
        self.say(rule, expr);
        Expr::Rule(rule)
    }
}
