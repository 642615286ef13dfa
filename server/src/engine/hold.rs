//! Holds a reply to a grammar: all of it, or each part that begins with a certain text.

use tcrt::grammar::{Constraint, Grammar};
use tcrt::tokenizer::Tokenizer;
use tcrt::{Error, Result};

use super::Request;

/// What a reply is held to.
#[derive(Clone, Debug)]
pub struct Held {
    pub grammar: Grammar,
    /// The beginning of what the grammar says, which the prompt's end has already.
    pub begun: String,
    /// Texts at which what the grammar says may begin; none: the whole reply is that.
    pub triggers: Vec<Trigger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub text: &'static str,
    /// Only where nothing but white space came before.
    pub first: bool,
}

/// One reply's grammar, and where the reply is in it.
pub struct Hold {
    pub constraint: Constraint,
    triggers: Vec<Trigger>,
    on: bool,
    /// The end of the text so far, as long as the longest trigger.
    tail: Vec<u8>,
    /// Whether there was text before `tail`.
    begun: bool,
}

impl Hold {
    pub fn new(held: &Held, mut constraint: Constraint) -> Result<Hold> {
        constraint.restart();
        if !constraint.accept_text(held.begun.as_bytes())? {
            return Err(Error::invalid_argument(format!("{:?} does not begin what the grammar says", held.begun)));
        }
        let (triggers, on) = (held.triggers.clone(), held.triggers.is_empty());
        Ok(Hold { constraint, triggers, on, tail: Vec::new(), begun: false })
    }

    pub fn apply(&mut self, logits: &mut [f32]) -> Result<()> {
        if self.on { self.constraint.apply(logits) } else { Ok(()) }
    }

    /// Takes a token of the reply and what it stands for; whether nothing may follow it.
    pub fn accept(&mut self, token: u32, text: &[u8]) -> Result<bool> {
        if self.on {
            self.constraint.accept(token)?;
        } else {
            self.tail.extend_from_slice(text);
            while !self.on && self.look()? {}
        }
        if !self.on || !self.constraint.is_over() {
            return Ok(false);
        }
        // Text may follow, and another part.
        self.on = self.triggers.is_empty();
        Ok(self.on)
    }

    /// Looks for a trigger; whether there may be another one behind what it found.
    fn look(&mut self) -> Result<bool> {
        let found = self.triggers.iter().filter_map(|trigger| Some((self.find(*trigger)?, trigger.text.len())));
        let Some((at, len)) = found.min() else {
            let longest = self.triggers.iter().map(|trigger| trigger.text.len()).max().unwrap_or(0);
            let passed = self.tail.len().saturating_sub(longest.saturating_sub(1));
            self.begun |= !self.tail[..passed].trim_ascii().is_empty();
            self.tail.drain(..passed);
            return Ok(false);
        };
        self.constraint.restart();
        self.on = self.constraint.accept_text(&self.tail[at..])?;
        self.begun = true;
        self.tail.drain(..if self.on { self.tail.len() } else { at + len });
        Ok(true)
    }

    fn find(&self, trigger: Trigger) -> Option<usize> {
        let text = trigger.text.as_bytes();
        let at = self.tail.windows(text.len()).position(|window| window == text)?;
        (!trigger.first || !self.begun && self.tail[..at].trim_ascii().is_empty()).then_some(at)
    }
}

/// Constraints that no reply uses, with what they have learnt of their grammars: the next reply of the same form need not learn it again.
#[derive(Default)]
pub struct Idle {
    /// The one used longest ago first.
    kept: Vec<Constraint>,
}

/// How many are kept, and how large.
const MOST: usize = 16;
const MOST_BYTES: usize = 16 << 20;

impl Idle {
    /// A constraint for what the request is held to.
    pub fn take(&mut self, held: &Held, request: &Request, tokenizer: &Tokenizer) -> Result<Constraint> {
        let Request { stop_tokens, shown, .. } = request;
        match self.kept.iter().rposition(|kept| kept.is_for(&held.grammar, stop_tokens, shown)) {
            Some(index) => Ok(self.kept.remove(index)),
            None => Ok(Constraint::new(&held.grammar, tokenizer, stop_tokens)?.showing(tokenizer, shown)),
        }
    }

    pub fn put(&mut self, constraint: Constraint) {
        if constraint.bytes() > MOST_BYTES {
            return;
        }
        self.kept.push(constraint);
        self.kept.drain(..self.kept.len().saturating_sub(MOST));
    }
}

#[cfg(test)]
mod tests {
    use tcrt::tokenizer::{Definition, Kind, MergeOrder, Pattern, Rules, Symbols};

    use super::*;

    const LONG: &[u8] = b"see <call>\"ab";

    /// Bytes, and a token that begins a call in its middle.
    fn tokenizer() -> Tokenizer {
        let bytes = (0..=255u8).map(|byte| (vec![byte], Kind::Normal));
        let definition = Definition {
            rules: Rules::new(Symbols::Bytes, Pattern::Whole),
            charsmap: None,
            tokens: bytes.chain([(LONG.to_vec(), Kind::Normal)]).collect(),
            merges: MergeOrder::ByToken((0..257).collect()),
        };
        Tokenizer::new(definition).unwrap()
    }

    fn hold(grammar: &str, begun: &str, triggers: &[Trigger]) -> Hold {
        let grammar = Grammar::gbnf(grammar).unwrap();
        let constraint = Constraint::new(&grammar, &tokenizer(), &[]).unwrap();
        Hold::new(&Held { grammar, begun: begun.into(), triggers: triggers.to_vec() }, constraint).unwrap()
    }

    fn say(hold: &mut Hold, text: &str) {
        for byte in text.bytes() {
            assert!(!hold.accept(u32::from(byte), &[byte]).unwrap());
        }
    }

    fn allowed(hold: &mut Hold) -> usize {
        let mut logits = vec![0.0; 257];
        hold.apply(&mut logits).unwrap();
        logits.iter().filter(|logit| logit.is_finite()).count()
    }

    const CALL: &str = r#"root ::= "<call>" "\"" [a-c]{3} "\"" "</call>""#;
    const OPEN: Trigger = Trigger { text: "<call>", first: false };

    #[test]
    fn a_part_is_held_from_where_it_begins_to_where_it_ends() {
        let mut hold = hold(CALL, "", &[OPEN]);
        for _ in 0..2 {
            say(&mut hold, "Anything < at <call all: <call>");
            assert_eq!(allowed(&mut hold), 1);
            say(&mut hold, "\"");
            assert_eq!(allowed(&mut hold), 3);
            say(&mut hold, "abc\"</call>");
            assert_eq!(allowed(&mut hold), 257, "after a call, all is free");
        }
    }

    #[test]
    fn a_token_may_hold_the_beginning() {
        let mut hold = hold(CALL, "", &[OPEN]);
        assert!(!hold.accept(256, LONG).unwrap());
        assert_eq!(allowed(&mut hold), 3);
        say(&mut hold, "c\"");
        assert_eq!(allowed(&mut hold), 1);
    }

    #[test]
    fn what_does_not_go_on_as_the_grammar_says_was_no_beginning() {
        let mut hold = hold(CALL, "", &[OPEN]);
        assert!(!hold.accept(256, b"<call>x and <call>").unwrap());
        assert_eq!(allowed(&mut hold), 1, "but the second was");
    }

    #[test]
    fn some_beginnings_count_only_at_the_beginning() {
        let brace = Trigger { text: "{", first: true };
        let mut first = hold(r#"root ::= "{" "x" "}""#, "", &[brace]);
        say(&mut first, " \n{");
        assert_eq!(allowed(&mut first), 1);
        let mut later = hold(r#"root ::= "{" "x" "}""#, "", &[brace]);
        say(&mut later, "a {");
        assert_eq!(allowed(&mut later), 257);
    }

    #[test]
    fn a_whole_reply_is_over_when_nothing_may_follow() {
        let mut hold = hold(r#"root ::= "ab" [0-9]"#, "a", &[]);
        assert_eq!(allowed(&mut hold), 1);
        assert!(!hold.accept(u32::from(b'b'), b"b").unwrap());
        assert!(hold.accept(u32::from(b'7'), b"7").unwrap());
    }

    #[test]
    fn constraints_are_used_again_for_the_same_grammar() {
        let (grammar, other) = (Grammar::gbnf(CALL).unwrap(), Grammar::gbnf(CALL).unwrap());
        let tokenizer = tokenizer();
        let constraint = Constraint::new(&grammar, &tokenizer, &[5]).unwrap();
        assert!(constraint.is_for(&grammar.clone(), &[5], &[]));
        assert!(!constraint.is_for(&grammar, &[6], &[]) && !constraint.is_for(&grammar, &[5], &[1]));
        assert!(!constraint.is_for(&other, &[5], &[]));
    }
}
