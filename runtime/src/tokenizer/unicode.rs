//! The general categories that pre-tokenizers speak of, looked up in the generated runs.

use super::unicode_tables::CLASS_RUNS;

/// A coarse general category: the distinctions that pre-tokenizers make, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Other,
    /// Lu, Lt
    Upper,
    /// Ll
    Lower,
    /// Lm, Lo
    Letter,
    /// M
    Mark,
    /// N
    Number,
}

impl Class {
    pub fn is_letter(self) -> bool {
        matches!(self, Class::Upper | Class::Lower | Class::Letter)
    }
}

/// In such a run the classes are Upper, Lower, Upper, …
const ALTERNATING: u32 = 6;

pub fn class(c: char) -> Class {
    match c {
        'a'..='z' => Class::Lower,
        'A'..='Z' => Class::Upper,
        '0'..='9' => Class::Number,
        '\0'..='\x7f' => Class::Other,
        _ => class_from_runs(c),
    }
}

fn class_from_runs(c: char) -> Class {
    let code = u32::from(c);
    // The first run starts at 0, so there is always one at or before `code`.
    let after = CLASS_RUNS.partition_point(|run| run >> 3 <= code);
    let run = CLASS_RUNS.get(after.wrapping_sub(1)).copied().unwrap_or_default();
    match run & 7 {
        ALTERNATING if (code - (run >> 3)) % 2 == 0 => Class::Upper,
        ALTERNATING | 2 => Class::Lower,
        1 => Class::Upper,
        3 => Class::Letter,
        4 => Class::Mark,
        5 => Class::Number,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_unicode_16() {
        let mut counts = [0; 6];
        for c in '\0'..=char::MAX {
            counts[class(c) as usize] += 1;
        }
        // Lu + Lt, Ll, Lm + Lo, M, N of DerivedGeneralCategory.txt.
        assert_eq!(counts[1..], [1858 + 31, 2258, 404 + 136_477, 2501, 1911]);
    }

    #[test]
    fn neighbours_differ_where_they_should() {
        for (c, expected) in [
            ('Ā', Class::Upper),
            ('ā', Class::Lower),
            ('ǅ', Class::Upper),
            ('ª', Class::Letter),
            ('漢', Class::Letter),
            ('\u{301}', Class::Mark),
            ('½', Class::Number),
            ('٣', Class::Number),
            ('—', Class::Other),
            ('\u{10ffff}', Class::Other),
        ] {
            assert_eq!(class(c), expected, "{c:?}");
        }
    }
}
