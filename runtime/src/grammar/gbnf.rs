//! llama.cpp's notation of grammars, GBNF: `root ::= "yes" | "no"`, one rule after another.

use super::chars::CharSet;
use super::expr::{Expr, Named};
use std::collections::HashMap;

/// The rule that is the whole text comes first in what is returned.
pub fn parse(text: &str) -> Result<Named, String> {
    let mut parser = Parser { rest: text, line: 1, named: Named::default(), known: HashMap::new(), said: Vec::new() };
    parser.rule_named("root");
    parser.rules().map_err(|why| format!("line {}: {why}", parser.line))?;
    match parser.said.iter().position(|said| !said) {
        Some(rule) => Err(format!("rule {} is used and not said", parser.named.rules[rule].0)),
        None => Ok(parser.named),
    }
}

struct Parser<'t> {
    rest: &'t str,
    line: usize,
    named: Named,
    known: HashMap<String, usize>,
    said: Vec<bool>,
}

type Parsed<T> = Result<T, String>;

/// Deeper nesting would not fit a thread's stack.
const MAX_DEPTH: usize = 100;

impl Parser<'_> {
    fn rules(&mut self) -> Parsed<()> {
        loop {
            self.space();
            if self.rest.is_empty() {
                return Ok(());
            }
            let name = self.name().ok_or("a rule's name was expected")?;
            self.space();
            if !self.take("::=") {
                return Err(format!("::= was expected after {name}"));
            }
            let rule = self.rule_named(&name);
            if std::mem::replace(&mut self.said[rule], true) {
                return Err(format!("rule {name} is said twice"));
            }
            let expr = self.any(0)?;
            self.named.say(rule, expr);
        }
    }

    fn rule_named(&mut self, name: &str) -> usize {
        if let Some(rule) = self.known.get(name) {
            return *rule;
        }
        let rule = self.named.declare(name);
        self.said.push(false);
        self.known.insert(name.to_string(), rule);
        rule
    }

    fn any(&mut self, depth: usize) -> Parsed<Expr> {
        if depth > MAX_DEPTH {
            return Err("parentheses are nested too deeply".into());
        }
        let mut alternatives = vec![self.all(depth)?];
        while self.take("|") {
            alternatives.push(self.all(depth)?);
        }
        Ok(if alternatives.len() == 1 { alternatives.remove(0) } else { Expr::Any(alternatives) })
    }

    fn all(&mut self, depth: usize) -> Parsed<Expr> {
        let mut parts = Vec::new();
        loop {
            self.space();
            let part = match self.rest.chars().next() {
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.next();
                    Expr::Char(CharSet::all())
                }
                Some('(') => {
                    self.next();
                    let inner = self.any(depth + 1)?;
                    self.space();
                    if !self.take(")") {
                        return Err("a parenthesis is not closed".into());
                    }
                    inner
                }
                Some(c) if is_name(c) && !self.begins_a_rule() => {
                    let name = self.name().unwrap_or_default();
                    Expr::Rule(self.rule_named(&name))
                }
                _ => return Ok(Expr::All(parts)),
            };
            let repeated = self.repeated(part)?;
            parts.push(repeated);
        }
    }

    fn repeated(&mut self, mut part: Expr) -> Parsed<Expr> {
        loop {
            part = match self.rest.chars().next() {
                Some('*') => part.repeat(0, None),
                Some('+') => part.repeat(1, None),
                Some('?') => part.optional(),
                Some('{') => {
                    self.next();
                    let (least, most) = self.bounds()?;
                    part = part.repeat(least, most);
                    continue;
                }
                _ => return Ok(part),
            };
            self.next();
        }
    }

    /// `2}`, `2,}` or `2,4}`.
    fn bounds(&mut self) -> Parsed<(u32, Option<u32>)> {
        let (inside, after) = self.rest.split_once('}').ok_or("a { is not closed")?;
        self.rest = after;
        let number = |text: &str| text.trim().parse().map_err(|_| format!("{{{inside}}} is no repetition"));
        match inside.split_once(',') {
            None => number(inside).map(|count| (count, Some(count))),
            Some((least, most)) if most.trim().is_empty() => Ok((number(least)?, None)),
            Some((least, most)) => Ok((if least.trim().is_empty() { 0 } else { number(least)? }, Some(number(most)?))),
        }
    }

    fn literal(&mut self) -> Parsed<Expr> {
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err("a quotation mark is not closed".into()),
                Some('"') => return Ok(Expr::text(&text)),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
            }
        }
    }

    fn class(&mut self) -> Parsed<Expr> {
        self.next();
        let negated = self.take("^");
        let mut ranges = Vec::new();
        loop {
            let low = match self.next() {
                None | Some('\n') => return Err("a [ is not closed".into()),
                Some(']') => break,
                Some('\\') => self.escape()?,
                Some(c) => c,
            };
            let mut ahead = self.rest.chars();
            let range = ahead.next() == Some('-') && !matches!(ahead.next(), None | Some(']'));
            let high = if range { self.range_end()? } else { low };
            if high < low {
                return Err(format!("the range {low:?}-{high:?} runs backwards"));
            }
            ranges.push((low, high));
        }
        let set = CharSet::of(ranges);
        Ok(Expr::Char(if negated { set.complement() } else { set }))
    }

    fn range_end(&mut self) -> Parsed<char> {
        self.next();
        match self.next() {
            Some('\\') => self.escape(),
            Some(c) => Ok(c),
            None => Err("a [ is not closed".into()),
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(c @ ('"' | '\\' | '[' | ']' | '-' | '^' | '/')) => return Ok(c),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            other => return Err(format!("\\{} means nothing", other.unwrap_or(' '))),
        };
        let hex = self.rest.get(..digits).ok_or("an escape is cut off")?;
        self.rest = &self.rest[digits..];
        let number = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
        number.ok_or_else(|| format!("{hex} is no character"))
    }

    /// Whether what follows is the next rule, not a mention of one.
    fn begins_a_rule(&self) -> bool {
        self.rest.trim_start_matches(is_name).trim_start_matches([' ', '\t']).starts_with("::=")
    }

    fn name(&mut self) -> Option<String> {
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then(|| name.to_string())
    }

    fn space(&mut self) {
        while let Some(c) = self.rest.chars().next() {
            match c {
                '#' => self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]),
                c if c.is_whitespace() => drop(self.next()),
                _ => return,
            }
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
