//! Reads a chat format off a template's renderings of marked conversations.

use super::jinja::{Clock, Template};
use super::literal::pieces;
use super::{Error, Specials};
use tcrt::chat::{ChatFormat, Date, Piece, Reasoning, SystemPlace, Trim, Turn};

/// The marks. They are short and plain, so that no template treats them in a way of their own.
const S: &str = "PROBEs0";
const U: [&str; 3] = ["PROBEu1", "PROBEu2", "PROBEu3"];
const A: [&str; 2] = ["PROBEa1", "PROBEa2"];

const CLOSE: &str = "</think>";

pub fn fit(template: &Template<'_>, specials: &Specials<'_>) -> Result<ChatFormat, Error> {
    let probe = Probe { template, specials };
    let texts = probe.texts()?;
    let system = probe.system(&texts);
    let pieces = |literal: &str| pieces(literal, specials);
    let turn = |t: &TurnText| Turn { prefix: pieces(&t.prefix), suffix: pieces(&t.suffix), trim: t.trim };
    let end = texts.end_of_reply();
    let stop_token = first_token(pieces(&end));
    Ok(ChatFormat {
        opening: pieces(&texts.opening),
        system_place: system.place,
        system: turn(&system.turn),
        trim_joined: system.trim_joined,
        skip_empty_system: system.skip_empty,
        late_system: probe.late_system(&texts).as_ref().map(turn),
        user: turn(&texts.user),
        assistant: turn(&texts.assistant),
        reasoning: probe.reasoning(&texts),
        generation: pieces(&texts.generation),
        must_alternate: false,
        may_end_with_reply: true,
        stop_strings: if stop_token.is_none() && !end.is_empty() { vec![end] } else { vec![] },
        stop_tokens: stop_token.into_iter().collect(),
        date: Date::DEFAULT,
    })
}

fn first_token(pieces: Vec<Piece>) -> Option<String> {
    pieces.into_iter().find_map(|piece| match piece {
        Piece::Special(token) => Some(token),
        Piece::Text(_) | Piece::Date(_) => None,
    })
}

#[derive(Default)]
struct TurnText {
    prefix: String,
    suffix: String,
    trim: Trim,
}

struct Texts {
    opening: String,
    user: TurnText,
    assistant: TurnText,
    generation: String,
}

impl Texts {
    /// What a model says when its reply is over: what ends the turn, and what begins the next one if that is nothing or white space.
    fn end_of_reply(&self) -> String {
        let next = if self.assistant.suffix.trim().is_empty() { self.user.prefix.as_str() } else { "" };
        format!("{}{next}", self.assistant.suffix).trim_end().to_owned()
    }
}

struct System {
    place: SystemPlace,
    turn: TurnText,
    trim_joined: bool,
    skip_empty: bool,
}

struct Probe<'a> {
    template: &'a Template<'a>,
    specials: &'a Specials<'a>,
}

impl Probe<'_> {
    fn render(&self, turns: &[(char, &str)], generation: bool) -> Result<String, Error> {
        self.template.render(turns, generation, Clock::Marked)
    }

    /// What stands before, between and after the marks of a conversation; none if the template refuses it or moves the marks.
    fn around(&self, turns: &[(char, &str)]) -> Option<Vec<String>> {
        let marks: Vec<&str> = turns.iter().map(|t| t.1).collect();
        split(&self.render(turns, false).ok()?, &marks)
    }

    fn texts(&self) -> Result<Texts, Error> {
        let long = self.render(&[('u', U[0]), ('a', A[0]), ('u', U[1]), ('a', A[1]), ('u', U[2])], false)?;
        let parts = split(&long, &[U[0], A[0], U[1], A[1], U[2]]);
        let Some([before, to_reply, to_user, _, _, user_suffix]) = parts.as_deref() else {
            return Err(Error::Inexpressible("it does not say every message once, in order"));
        };
        let assistant_prefix = to_reply
            .strip_prefix(user_suffix.as_str())
            .ok_or(Error::Inexpressible("the last user turn ends differently"))?;
        let assistant_suffix = self.assistant_suffix(before, to_user);
        let user_prefix = to_user
            .strip_prefix(assistant_suffix.as_str())
            .ok_or(Error::Inexpressible("the last reply ends differently"))?;
        let opening =
            before.strip_suffix(user_prefix).ok_or(Error::Inexpressible("the first user turn begins differently"))?;
        Ok(Texts {
            opening: opening.to_owned(),
            user: TurnText {
                prefix: user_prefix.to_owned(),
                suffix: user_suffix.clone(),
                trim: self.trim(U[1], |padded| vec![('u', U[0]), ('a', A[0]), ('u', padded)]),
            },
            assistant: TurnText {
                prefix: assistant_prefix.to_owned(),
                suffix: assistant_suffix,
                trim: self.trim(A[0], |padded| vec![('u', U[0]), ('a', padded), ('u', U[1])]),
            },
            generation: self.generation()?,
        })
    }

    fn generation(&self) -> Result<String, Error> {
        let said = self.render(&[('u', U[0])], false)?;
        let asked = self.render(&[('u', U[0])], true)?;
        let prompt = asked.strip_prefix(&said);
        prompt.map(str::to_owned).ok_or(Error::Inexpressible("the generation prompt is more than an ending"))
    }

    /// What ends a reply shows where one ends the conversation; else it is what the way to the next user turn does not share with
    /// the way to the first.
    fn assistant_suffix(&self, before: &str, to_user: &str) -> String {
        let shown = self.around(&[('u', U[0]), ('a', A[0])]).and_then(|parts| parts.last().cloned());
        if let Some(suffix) = shown.filter(|suffix| to_user.starts_with(suffix.as_str())) {
            return suffix;
        }
        let shared = |&i: &usize| before.ends_with(&to_user[i..]) && !self.splits_a_token(to_user, i);
        let at = to_user.char_indices().map(|(i, _)| i).find(shared);
        to_user[..at.unwrap_or(to_user.len())].to_owned()
    }

    fn splits_a_token(&self, literal: &str, at: usize) -> bool {
        let (left, right) = literal.split_at(at);
        let tokens = |text: &str| {
            let special = |piece: &&Piece| matches!(piece, Piece::Special(_));
            pieces(text, self.specials).iter().filter(special).count()
        };
        tokens(left) + tokens(right) != tokens(literal)
    }

    fn system(&self, texts: &Texts) -> System {
        let turn = TurnText::default();
        let refused = System { place: SystemPlace::Refused, turn, trim_joined: false, skip_empty: false };
        let Some(parts) = self.around(&[('s', S), ('u', U[0])]) else { return refused };
        let [before, between, _] = &parts[..] else { return refused };
        let stays_first = self.around(&[('s', S), ('u', U[0]), ('a', A[0]), ('u', U[1])]).is_some();
        let inside = format!("{}{}", texts.opening, texts.user.prefix);
        let trim = self.trim(S, |padded| vec![('s', padded), ('u', U[0])]);
        let (place, prefix, suffix) = match (between.strip_suffix(&texts.user.prefix), before.strip_prefix(&inside)) {
            (Some(suffix), _) if stays_first => (SystemPlace::OwnTurn, before.as_str(), suffix),
            (_, Some(prefix)) if stays_first => (SystemPlace::FirstUser, prefix, between.as_str()),
            (_, Some(prefix)) => (SystemPlace::LastUser, prefix, between.as_str()),
            _ => return refused,
        };
        let user_trim = self.trim(U[0], |padded| vec![('s', S), ('u', padded)]);
        let turn = TurnText { prefix: prefix.to_owned(), suffix: suffix.to_owned(), trim };
        System {
            place,
            skip_empty: self.skips_empty_system(texts, &turn),
            turn,
            trim_joined: place != SystemPlace::OwnTurn && texts.user.trim.start && !user_trim.start,
        }
    }

    /// Whether an empty system message leaves nothing behind, where it could.
    fn skips_empty_system(&self, texts: &Texts, turn: &TurnText) -> bool {
        let without = self.render(&[('u', U[0])], false).ok();
        let leaves_nothing = self.render(&[('s', ""), ('u', U[0])], false).ok() == without;
        leaves_nothing && format!("{}{}", turn.prefix, turn.suffix) != texts.opening
    }

    fn late_system(&self, texts: &Texts) -> Option<TurnText> {
        let parts = self.around(&[('u', U[0]), ('a', A[0]), ('s', S), ('u', U[1])])?;
        let prefix = parts.get(2)?.strip_prefix(&texts.assistant.suffix)?;
        let suffix = parts.get(3)?.strip_suffix(&texts.user.prefix)?;
        let trim = self.trim(S, |padded| vec![('u', U[0]), ('a', A[0]), ('s', padded), ('u', U[1])]);
        Some(TurnText { prefix: prefix.to_owned(), suffix: suffix.to_owned(), trim })
    }

    fn reasoning(&self, texts: &Texts) -> Option<Reasoning> {
        let reply = format!("{}{CLOSE}\n\n{}", A[0], A[1]);
        let text = self.render(&[('u', U[0]), ('a', &reply), ('u', U[1])], false).ok()?;
        let cut = !text.contains(A[0]) && text.contains(A[1]);
        // Where the reply is trimmed anyway, there is one way to say so, not two.
        let trim_newlines = !texts.assistant.trim.start && !text.contains(&format!("\n\n{}", A[1]));
        cut.then(|| Reasoning { close: CLOSE.to_owned(), trim_newlines })
    }

    /// What white space around a mark is lost.
    fn trim<'t>(&self, mark: &'t str, turns: impl for<'p> Fn(&'p str) -> Vec<(char, &'p str)>) -> Trim {
        const PAD: &str = "\t \n \t";
        let padded = format!("{PAD}{mark}{PAD}");
        let Ok(text) = self.render(&turns(&padded), false) else { return Trim::NONE };
        Trim { start: !text.contains(&padded[..PAD.len() + mark.len()]), end: !text.contains(&padded[PAD.len()..]) }
    }
}

/// The texts around the marks, each of which must occur once, in this order.
fn split(text: &str, marks: &[&str]) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    for mark in marks {
        let (before, after) = rest.split_once(mark)?;
        parts.push(before.to_owned());
        rest = after;
    }
    parts.push(rest.to_owned());
    let once = parts.iter().all(|part| marks.iter().all(|mark| !part.contains(mark)));
    once.then_some(parts)
}
