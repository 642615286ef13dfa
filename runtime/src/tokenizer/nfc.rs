//! Unicode normalisation form C (UAX #15): decompose canonically, order the marks, compose again. The tables are those of
//! Unicode 9.0, which the reference (`tokenizers`) normalises by.

use std::borrow::Cow;

use super::unicode_tables::{COMBINING_RUNS, COMPOSITIONS, DECOMPOSITIONS};

/// Below this code point every text is in NFC.
const FIRST_AFFECTED: char = '\u{300}';

// Hangul syllables are composed by arithmetic (The Unicode Standard, section 3.12).
const S_BASE: u32 = 0xac00;
const L_BASE: u32 = 0x1100;
const V_BASE: u32 = 0x1161;
const T_BASE: u32 = 0x11a7;
const L_COUNT: u32 = 19;
const V_COUNT: u32 = 21;
const T_COUNT: u32 = 28;
const S_COUNT: u32 = L_COUNT * V_COUNT * T_COUNT;

pub fn nfc(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| c < FIRST_AFFECTED) {
        return Cow::Borrowed(text);
    }
    let mut marked = Vec::with_capacity(text.len());
    for c in text.chars() {
        decompose(c, &mut marked);
    }
    // Marks keep their order within one class: the sort is stable.
    for run in marked.chunk_by_mut(|_, next| next.1 != 0) {
        let marks = usize::from(run.first().is_some_and(|first| first.1 == 0));
        run[marks..].sort_by_key(|(_, class)| *class);
    }
    Cow::Owned(compose(&marked))
}

fn combining_class(c: char) -> u8 {
    if c < FIRST_AFFECTED {
        return 0;
    }
    let after = COMBINING_RUNS.partition_point(|run| run >> 8 <= u32::from(c));
    COMBINING_RUNS.get(after.wrapping_sub(1)).map_or(0, |run| run.to_le_bytes()[0])
}

/// Appends the full canonical decomposition of `c`, each character with its combining class.
fn decompose(c: char, out: &mut Vec<(char, u8)>) {
    let code = u32::from(c);
    let syllable = code.wrapping_sub(S_BASE);
    if syllable < S_COUNT {
        out.extend(char::from_u32(L_BASE + syllable / (V_COUNT * T_COUNT)).map(|l| (l, 0)));
        out.extend(char::from_u32(V_BASE + syllable % (V_COUNT * T_COUNT) / T_COUNT).map(|v| (v, 0)));
        let t = char::from_u32(T_BASE + syllable % T_COUNT).filter(|_| syllable % T_COUNT != 0);
        out.extend(t.map(|t| (t, 0)));
        return;
    }
    let entry = DECOMPOSITIONS.binary_search_by_key(&code, |[whole, ..]| *whole);
    match entry.ok().and_then(|index| DECOMPOSITIONS.get(index)) {
        Some([_, first, second]) => {
            for part in [*first, *second].into_iter().filter(|part| *part != 0).filter_map(char::from_u32) {
                decompose(part, out);
            }
        }
        None => out.push((c, combining_class(c))),
    }
}

/// Composes each mark with the last starter unless something of its class or higher stands between them.
fn compose(marked: &[(char, u8)]) -> String {
    let mut out: Vec<char> = Vec::with_capacity(marked.len());
    let mut starter: Option<usize> = None;
    let mut last_class = 0;
    for (c, class) in marked.iter().copied() {
        let adjacent = starter.is_some_and(|at| at + 1 == out.len());
        let open = adjacent || last_class < class;
        if let Some(base) = starter.filter(|_| open).and_then(|at| out.get_mut(at))
            && let Some(whole) = pair(*base, c)
        {
            *base = whole;
            continue;
        }
        if class == 0 {
            starter = Some(out.len());
        }
        last_class = class;
        out.push(c);
    }
    out.into_iter().collect()
}

fn pair(first: char, second: char) -> Option<char> {
    let (first, second) = (u32::from(first), u32::from(second));
    let (l, v) = (first.wrapping_sub(L_BASE), second.wrapping_sub(V_BASE));
    if l < L_COUNT && v < V_COUNT {
        return char::from_u32(S_BASE + (l * V_COUNT + v) * T_COUNT);
    }
    let (s, t) = (first.wrapping_sub(S_BASE), second.wrapping_sub(T_BASE));
    if s < S_COUNT && s % T_COUNT == 0 && (1..T_COUNT).contains(&t) {
        return char::from_u32(first + t);
    }
    let entry = |index: &u16| DECOMPOSITIONS.get(usize::from(*index)).copied().unwrap_or_default();
    let found = COMPOSITIONS.binary_search_by_key(&[first, second], |index| {
        let [_, a, b] = entry(index);
        [a, b]
    });
    char::from_u32(entry(COMPOSITIONS.get(found.ok()?)?)[0])
}

#[cfg(test)]
mod tests {
    use super::nfc;

    #[test]
    fn composes_reorders_and_excludes() {
        for (text, expected) in [
            ("plain", "plain"),
            ("e\u{301}", "é"),
            ("a\u{323}\u{302}", "ậ"),
            ("a\u{302}\u{323}", "ậ"),
            ("\u{1100}\u{1161}\u{11a8}", "각"),
            ("\u{ac00}\u{11a8}", "각"),
            ("\u{212b}", "Å"),
            // A composition exclusion stays apart, a mark of the same class blocks.
            ("\u{958}", "\u{915}\u{93c}"),
            ("a\u{305}\u{301}", "a\u{305}\u{301}"),
            ("\u{301}\u{301}", "\u{301}\u{301}"),
            ("\u{2f800}", "丽"),
        ] {
            assert_eq!(nfc(text), expected, "{text:?}");
        }
    }
}
