//! The bytes of a chat format; `decode` reads them, `docs/chat-format.md` lists them.

use super::{ChatFormat, Piece, SystemPlace, Turn};

pub(super) const MAGIC: &[u8; 4] = b"TCCF";
pub(super) const VERSION: u16 = 1;

pub(super) const MUST_ALTERNATE: u16 = 1;
pub(super) const MAY_END_WITH_REPLY: u16 = 1 << 1;
pub(super) const TRIM_JOINED: u16 = 1 << 2;
pub(super) const HAS_LATE_SYSTEM: u16 = 1 << 3;
pub(super) const HAS_REASONING: u16 = 1 << 4;
pub(super) const TRIM_NEWLINES: u16 = 1 << 5;
pub(super) const SKIP_EMPTY_SYSTEM: u16 = 1 << 6;
pub(super) const ALL_FLAGS: u16 = (1 << 7) - 1;

impl ChatFormat {
    pub fn to_bytes(&self) -> Vec<u8> {
        let (year, month, day) = self.date.parts();
        let mut out = Vec::from(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(self.flags().to_le_bytes());
        out.push(match self.system_place {
            SystemPlace::Refused => 0,
            SystemPlace::OwnTurn => 1,
            SystemPlace::FirstUser => 2,
            SystemPlace::LastUser => 3,
        });
        out.extend([month, day]);
        out.extend(year.to_le_bytes());
        pieces(&mut out, &self.opening);
        [&self.system, &self.user, &self.assistant].into_iter().for_each(|t| turn(&mut out, t));
        pieces(&mut out, &self.generation);
        self.late_system.iter().for_each(|t| turn(&mut out, t));
        self.reasoning.iter().for_each(|r| string(&mut out, &r.close));
        strings(&mut out, &self.stop_tokens);
        strings(&mut out, &self.stop_strings);
        out
    }

    fn flags(&self) -> u16 {
        let reasoning = self.reasoning.as_ref();
        [
            (self.must_alternate, MUST_ALTERNATE),
            (self.may_end_with_reply, MAY_END_WITH_REPLY),
            (self.trim_joined, TRIM_JOINED),
            (self.skip_empty_system, SKIP_EMPTY_SYSTEM),
            (self.late_system.is_some(), HAS_LATE_SYSTEM),
            (reasoning.is_some(), HAS_REASONING),
            (reasoning.is_some_and(|r| r.trim_newlines), TRIM_NEWLINES),
        ]
        .into_iter()
        .map(|(set, bit)| if set { bit } else { 0 })
        .sum()
    }
}

fn turn(out: &mut Vec<u8>, turn: &Turn) {
    out.push(u8::from(turn.trim.start) | u8::from(turn.trim.end) << 1);
    pieces(out, &turn.prefix);
    pieces(out, &turn.suffix);
}

fn pieces(out: &mut Vec<u8>, pieces: &[Piece]) {
    count(out, pieces.len());
    for piece in pieces {
        let (kind, text) = match piece {
            Piece::Special(token) => (0, token),
            Piece::Text(text) => (1, text),
            Piece::Date(format) => (2, format),
        };
        out.push(kind);
        string(out, text);
    }
}

fn strings(out: &mut Vec<u8>, strings: &[String]) {
    count(out, strings.len());
    strings.iter().for_each(|s| string(out, s));
}

fn string(out: &mut Vec<u8>, s: &str) {
    count(out, s.len());
    out.extend(s.as_bytes());
}

/// Formats are a few hundred bytes; one that no `u32` can count does not fit in memory twice.
fn count(out: &mut Vec<u8>, n: usize) {
    out.extend((n as u32).to_le_bytes());
}
