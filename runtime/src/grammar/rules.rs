//! Rules compiled to lists of symbols over bytes.

use super::chars::ByteSet;
use super::expr::{Expr, Named};
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// One byte of a set.
    Byte(u32),
    /// What a rule says.
    Rule(u32),
    /// The alternative may be over.
    MayEnd,
    /// The alternative is over.
    End,
}

/// Every alternative of every rule, one after another. A place in the list is a place in the grammar.
#[derive(Debug, Default)]
pub struct Rules {
    pub symbols: Vec<Symbol>,
    pub sets: Vec<ByteSet>,
    /// For each rule, where its alternatives begin.
    pub alternatives: Vec<Vec<u32>>,
    /// For each place, how many symbols from there on are the same `PERIOD` places on.
    same: Vec<u32>,
}

/// Of symbols that are repeated: one each, or two with `MayEnd` between them.
const PERIOD: u32 = 2;

/// A grammar larger than this is a mistake or an attack.
const MAX_SYMBOLS: usize = 1 << 20;
/// Deeper nesting of parentheses would not fit a thread's stack.
const MAX_DEPTH: usize = 200;

impl Rules {
    /// The first rule is the whole text.
    pub fn new(named: &Named) -> Result<Rules, String> {
        let mut compiler = Compiler { rules: Rules::default(), sets: HashMap::new(), depth: 0 };
        compiler.rules.alternatives = vec![Vec::new(); named.rules.len()];
        for (rule, (name, expr)) in named.rules.iter().enumerate() {
            compiler.rule(rule, expr).map_err(|why| format!("rule {name}: {why}"))?;
        }
        let mut rules = compiler.rules;
        rules.same = same(&rules.symbols);
        match rules.left_recursive() {
            // A rule without a name was made for a part of the last one that has one.
            Some(rule) => {
                let name = named.rules.get(rule).map_or("of a repetition", |(name, _)| name);
                Err(format!("rule {name}: begins with itself, or repeats what may be empty"))
            }
            None => Ok(rules),
        }
    }

    pub fn alternatives(&self, rule: u32) -> &[u32] {
        &self.alternatives[rule as usize]
    }

    /// A place from which a text of at most `reach` bytes goes on, or ends the alternative, just as from this one: what is repeated more
    /// often than such a text can tell is repeated only so often from there. (Of the repetitions each reads a byte or may be empty, and
    /// takes at most `PERIOD` places.)
    pub fn within(&self, place: u32, reach: u32) -> u32 {
        let beyond = self.same[place as usize].saturating_sub(PERIOD.saturating_mul(reach));
        place + beyond.next_multiple_of(PERIOD)
    }

    /// A rule from which the same rule is reached before any byte is read.
    fn left_recursive(&self) -> Option<usize> {
        let nullable = self.nullable();
        // 0: not seen, 1: on the way, 2: done.
        let mut state = vec![0u8; self.alternatives.len()];
        for start in 0..state.len() {
            let mut path = vec![(start, self.first_rules(start, &nullable))];
            if state[start] == 0 {
                state[start] = 1;
            } else {
                continue;
            }
            while let Some((rule, rest)) = path.last_mut() {
                match rest.pop() {
                    Some(next) if state[next] == 1 => return Some(next),
                    Some(next) if state[next] == 0 => {
                        state[next] = 1;
                        path.push((next, self.first_rules(next, &nullable)));
                    }
                    Some(_) => {}
                    None => {
                        state[*rule] = 2;
                        path.pop();
                    }
                }
            }
        }
        None
    }

    /// The rules that an alternative of this one may begin with.
    fn first_rules(&self, rule: usize, nullable: &[bool]) -> Vec<usize> {
        let mut first = Vec::new();
        for start in &self.alternatives[rule] {
            for symbol in &self.symbols[*start as usize..] {
                match symbol {
                    Symbol::MayEnd => {}
                    Symbol::Rule(next) => {
                        first.push(*next as usize);
                        if !nullable[*next as usize] {
                            break;
                        }
                    }
                    Symbol::Byte(_) | Symbol::End => break,
                }
            }
        }
        first
    }

    /// Which rules may be the empty text.
    fn nullable(&self) -> Vec<bool> {
        let mut nullable = vec![false; self.alternatives.len()];
        loop {
            let empty = |start: &u32| {
                let over = |symbol: &&Symbol| matches!(symbol, Symbol::MayEnd | Symbol::End);
                let mut symbols = self.symbols[*start as usize..].iter().take_while(|symbol| !over(symbol));
                symbols.all(|symbol| matches!(symbol, Symbol::Rule(rule) if nullable[*rule as usize]))
            };
            let now: Vec<bool> = self.alternatives.iter().map(|starts| starts.iter().any(empty)).collect();
            if now == nullable {
                return now;
            }
            nullable = now;
        }
    }
}

fn same(symbols: &[Symbol]) -> Vec<u32> {
    let mut same = vec![0; symbols.len()];
    for place in (0..symbols.len().saturating_sub(PERIOD as usize)).rev() {
        if symbols[place] == symbols[place + PERIOD as usize] {
            same[place] = same[place + 1] + 1;
        }
    }
    same
}

struct Compiler {
    rules: Rules,
    sets: HashMap<ByteSet, u32>,
    depth: usize,
}

impl Compiler {
    fn rule(&mut self, rule: usize, expr: &Expr) -> Result<(), String> {
        let alternatives = match expr {
            Expr::Any(alternatives) => alternatives.iter().collect(),
            other => vec![other],
        };
        for alternative in alternatives {
            let mut symbols = Vec::new();
            self.sequence(alternative, &mut symbols)?;
            self.alternative(rule, symbols)?;
        }
        Ok(())
    }

    fn alternative(&mut self, rule: usize, symbols: Vec<Symbol>) -> Result<(), String> {
        let start = self.rules.symbols.len();
        if start + symbols.len() >= MAX_SYMBOLS {
            return Err("the grammar is too large: a repetition may count too far".into());
        }
        self.rules.alternatives[rule].push(start as u32);
        self.rules.symbols.extend(symbols);
        self.rules.symbols.push(Symbol::End);
        Ok(())
    }

    /// A rule without a name.
    fn fresh(&mut self) -> (usize, Symbol) {
        let rule = self.rules.alternatives.len();
        self.rules.alternatives.push(Vec::new());
        (rule, Symbol::Rule(rule as u32))
    }

    fn byte(&mut self, set: ByteSet) -> Symbol {
        let next = self.rules.sets.len() as u32;
        let index = *self.sets.entry(set).or_insert(next);
        if index == next {
            self.rules.sets.push(set);
        }
        Symbol::Byte(index)
    }

    fn sequence(&mut self, expr: &Expr, out: &mut Vec<Symbol>) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("parentheses are nested too deeply".into());
        }
        match expr {
            Expr::Text(bytes) => {
                for byte in bytes {
                    let symbol = self.byte(ByteSet::range(*byte, *byte));
                    out.push(symbol);
                }
            }
            Expr::Char(set) => self.character(&set.spellings(), out)?,
            Expr::All(parts) => parts.iter().try_for_each(|part| self.sequence(part, out))?,
            Expr::Any(_) => out.push(self.own_rule(expr)?),
            Expr::Repeat(inner, least, most) => self.repeat(inner, *least, *most, out)?,
            Expr::Rule(rule) => out.push(Symbol::Rule(*rule as u32)),
        }
        self.depth -= 1;
        Ok(())
    }

    fn own_rule(&mut self, expr: &Expr) -> Result<Symbol, String> {
        let (rule, symbol) = self.fresh();
        self.rule(rule, expr)?;
        Ok(symbol)
    }

    fn character(&mut self, spellings: &[Vec<(u8, u8)>], out: &mut Vec<Symbol>) -> Result<(), String> {
        let range = |(low, high): &(u8, u8)| ByteSet::range(*low, *high);
        let (single, several): (Vec<_>, Vec<_>) = spellings.iter().partition(|spelling| spelling.len() == 1);
        let ascii = single.iter().map(|spelling| range(&spelling[0])).reduce(|a, b| a.union(&b));
        if let (Some(ascii), true) = (ascii, several.is_empty()) {
            out.push(self.byte(ascii));
            return Ok(());
        }
        let (rule, symbol) = self.fresh();
        if let Some(ascii) = ascii {
            let ascii = self.byte(ascii);
            self.alternative(rule, vec![ascii])?;
        }
        for spelling in several {
            let symbols = spelling.iter().map(|bytes| self.byte(range(bytes))).collect();
            self.alternative(rule, symbols)?;
        }
        out.push(symbol);
        Ok(())
    }

    /// `x{2,}` is `x x L` with `L ::= | x L`; `x{2,4}` is `x x A` with `A` of one alternative that may
    /// end before each `x`.
    fn repeat(&mut self, inner: &Expr, least: u32, most: Option<u32>, out: &mut Vec<Symbol>) -> Result<(), String> {
        let mut once = Vec::new();
        self.sequence(inner, &mut once)?;
        if once.len() > 1 {
            let (rule, symbol) = self.fresh();
            self.alternative(rule, once)?;
            once = vec![symbol];
        }
        if most.is_some_and(|most| most < least) {
            return Err("a repetition has a higher least than most".into());
        }
        if most.unwrap_or(least) as usize > MAX_SYMBOLS {
            return Err("the grammar is too large: a repetition counts too far".into());
        }
        (0..least).for_each(|_| out.extend_from_slice(&once));
        match most {
            None => {
                let (rule, symbol) = self.fresh();
                self.alternative(rule, Vec::new())?;
                self.alternative(rule, [&once[..], &[symbol]].concat())?;
                out.push(symbol);
            }
            Some(most) if most > least => {
                let (rule, symbol) = self.fresh();
                let optional = [&[Symbol::MayEnd], &once[..]].concat();
                self.alternative(rule, optional.repeat((most - least) as usize))?;
                out.push(symbol);
            }
            Some(_) => {}
        }
        Ok(())
    }
}
