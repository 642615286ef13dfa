//! Pre-tokenizers: where a text is cut before byte-level BPE. Each is a published regular expression, scanned by hand
//! so that no input backtracks. Every character belongs to exactly one piece.

use super::unicode::{Class, class};

/// The known patterns; the numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Pattern {
    /// The whole text is one piece.
    Whole = 0,
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2 = 1,
    /// Each number (by Rust's `char::is_numeric`, as the reference has it) is a piece of its own; what lies between is cut
    /// as `Gpt2`.
    DigitsGpt2 = 2,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Llama3 = 3,
    /// As `Llama3` with `\p{N}` for `\p{N}{1,3}`.
    Qwen2 = 4,
    /// `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Tekken = 5,
    /// As `Tekken` with `\p{N}{1,3}` and, after either kind of word, `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`.
    O200k = 6,
}

impl Pattern {
    pub const ALL: [Pattern; 7] = [
        Pattern::Whole,
        Pattern::Gpt2,
        Pattern::DigitsGpt2,
        Pattern::Llama3,
        Pattern::Qwen2,
        Pattern::Tekken,
        Pattern::O200k,
    ];

    pub fn from_code(code: u8) -> Option<Pattern> {
        Self::ALL.into_iter().find(|pattern| *pattern as u8 == code)
    }

    /// The pieces of `text` in order.
    pub fn pieces(self, text: &str) -> Pieces<'_> {
        Pieces { pattern: self, rest: text, before_number: 0 }
    }

    /// The length in bytes of the piece that `text`, which is not empty, begins with.
    fn piece_len(self, text: &str) -> usize {
        match self {
            Pattern::Whole => text.len(),
            Pattern::Gpt2 | Pattern::DigitsGpt2 => gpt2(text),
            Pattern::Llama3 => llama3(text, 3),
            Pattern::Qwen2 => llama3(text, 1),
            Pattern::Tekken => tekken(text, 1, false),
            Pattern::O200k => tekken(text, 3, true),
        }
    }
}

pub struct Pieces<'t> {
    pattern: Pattern,
    rest: &'t str,
    /// For `DigitsGpt2`: how many of the next bytes are known to hold no number.
    before_number: usize,
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let first = self.rest.chars().next()?;
        let len = match self.pattern {
            Pattern::DigitsGpt2 if first.is_numeric() => first.len_utf8(),
            Pattern::DigitsGpt2 => {
                if self.before_number == 0 {
                    self.before_number = self.rest.find(char::is_numeric).unwrap_or(self.rest.len());
                }
                let len = gpt2(&self.rest[..self.before_number]);
                self.before_number -= len;
                len
            }
            pattern => pattern.piece_len(self.rest),
        };
        let (piece, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(piece)
    }
}

fn gpt2(text: &str) -> usize {
    if let Some(len) = contraction(text, |byte| byte) {
        return len;
    }
    let space = usize::from(text.starts_with(' '));
    for belongs in [is_letter, is_number, is_symbol] {
        let run = run_len(&text[space..], belongs);
        if run > 0 {
            return space + run;
        }
    }
    spaces(text)
}

fn llama3(text: &str, digits: usize) -> usize {
    if let Some(len) = contraction(text, |byte| byte.to_ascii_lowercase()) {
        return len;
    }
    let lead = lead_len(text);
    let word = run_len(&text[lead..], is_letter);
    if word > 0 {
        return lead + word;
    }
    number(text, digits).or_else(|| symbols(text, &['\r', '\n'])).unwrap_or_else(|| lines_or_spaces(text))
}

fn tekken(text: &str, digits: usize, contractions: bool) -> usize {
    // The alternatives in the order of the expression, each first with the optional leading character.
    let lead = lead_len(text);
    let starts = [lead, 0];
    let starts = &starts[usize::from(lead == 0)..];
    let lower = starts.iter().find_map(|start| cased_word(&text[*start..]).map(|len| start + len));
    let word = lower.or_else(|| {
        starts.iter().find_map(|start| Some(start + run_len(&text[*start..], is_upper)).filter(|end| end > start))
    });
    if let Some(end) = word {
        let suffix = if contractions { contraction(&text[end..], |byte| byte.to_ascii_lowercase()) } else { None };
        return end + suffix.unwrap_or(0);
    }
    number(text, digits).or_else(|| symbols(text, &['\r', '\n', '/'])).unwrap_or_else(|| lines_or_spaces(text))
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`. Where nothing follows the first run, the expression
/// backtracks to the last character there that also belongs to the second set.
fn cased_word(text: &str) -> Option<usize> {
    let upper = run_len(text, is_upper);
    let lower = run_len(&text[upper..], is_lower);
    if lower > 0 {
        return Some(upper + lower);
    }
    let (at, last) = text[..upper].char_indices().rfind(|(_, c)| is_lower(*c))?;
    Some(at + last.len_utf8())
}

/// `[^\r\n\p{L}\p{N}]?` where something may follow.
fn lead_len(text: &str) -> usize {
    match text.chars().next() {
        Some('\r' | '\n') | None => 0,
        Some(c) if is_letter(c) || is_number(c) => 0,
        Some(c) => c.len_utf8(),
    }
}

fn number(text: &str, digits: usize) -> Option<usize> {
    let len = text.chars().take(digits).take_while(|c| is_number(*c)).map(char::len_utf8).sum();
    Some(len).filter(|len| *len > 0)
}

/// ` ?[^\s\p{L}\p{N}]+` and then any of `tail`.
fn symbols(text: &str, tail: &[char]) -> Option<usize> {
    let space = usize::from(text.starts_with(' '));
    let run = run_len(&text[space..], is_symbol);
    let end = space + run;
    (run > 0).then(|| end + run_len(&text[end..], |c| tail.contains(&c)))
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`
fn lines_or_spaces(text: &str) -> usize {
    let run = &text[..run_len(text, char::is_whitespace)];
    run.rfind(['\r', '\n']).map_or_else(|| spaces(text), |last| last + 1)
}

/// `\s+(?!\S)|\s+`: whitespace before something else leaves its last character to it, if it has more than one.
fn spaces(text: &str) -> usize {
    let run = &text[..run_len(text, char::is_whitespace)];
    let last = run.chars().next_back().map_or(0, char::len_utf8);
    if run.len() == text.len() || run.len() == last { run.len() } else { run.len() - last }
}

/// `'s|'t|'re|'ve|'m|'ll|'d` after `fold`. Ignoring case, `s` is also U+017F.
fn contraction(text: &str, fold: impl Fn(u8) -> u8) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    if rest.starts_with('\u{17f}') && fold(b'S') == b's' {
        return Some(1 + '\u{17f}'.len_utf8());
    }
    let mut bytes = rest.bytes().map(fold);
    match (bytes.next()?, bytes.next()) {
        (b's' | b't' | b'm' | b'd', _) => Some(2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(3),
        _ => None,
    }
}

fn run_len(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn is_letter(c: char) -> bool {
    class(c).is_letter()
}

fn is_number(c: char) -> bool {
    class(c) == Class::Number
}

/// `[^\s\p{L}\p{N}]`
fn is_symbol(c: char) -> bool {
    matches!(class(c), Class::Other | Class::Mark) && !c.is_whitespace()
}

fn is_upper(c: char) -> bool {
    matches!(class(c), Class::Upper | Class::Letter | Class::Mark)
}

fn is_lower(c: char) -> bool {
    matches!(class(c), Class::Lower | Class::Letter | Class::Mark)
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[track_caller]
    fn check(pattern: Pattern, pieces: &[&str]) {
        assert_eq!(pattern.pieces(&pieces.concat()).collect::<Vec<_>>(), pieces, "{pattern:?}");
    }

    #[test]
    fn pieces_by_pattern() {
        check(Pattern::Whole, &["a b\n1"]);
        check(Pattern::Gpt2, &["I", "'m", " 1234", " ok", "!?", "  \t", "\t", "x", "'", "S", "  "]);
        check(Pattern::DigitsGpt2, &["a", " ", "1", "2", " b", " ", "½", "\n\n"]);
        check(Pattern::Llama3, &["I", "'M", " ", "123", "4", "\tok", "!?\n\n", " \n", "   "]);
        check(Pattern::Qwen2, &["'ſ", "1", "2", " \r\n", " ", " x", "(y", ")/\n"]);
        check(Pattern::Tekken, &["Hello", "World", " ABCdef", "//\n", "1", "'s"]);
        check(Pattern::O200k, &["don't", " Camel", "Case's", "123"]);
    }

    #[test]
    fn tekken_backtracks_to_the_last_shared_letter() {
        // U+02B0 is Lm, in both sets.
        check(Pattern::Tekken, &["AʰBʰ", "C"]);
        check(Pattern::Tekken, &[" 漢字", "A"]);
        check(Pattern::Tekken, &["\u{301}", "A"]);
    }
}
