//! Sets of characters, and of the bytes that spell them.

/// Characters as ranges of their numbers, sorted and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CharSet(Vec<(u32, u32)>);

const LAST: u32 = char::MAX as u32;
const SURROGATES: (u32, u32) = (0xd800, 0xdfff);

impl CharSet {
    pub fn of(ranges: impl IntoIterator<Item = (char, char)>) -> CharSet {
        let mut ranges: Vec<(u32, u32)> = ranges.into_iter().map(|(low, high)| (low as u32, high as u32)).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        CharSet(merged)
    }

    pub fn all() -> CharSet {
        CharSet(vec![(0, LAST)])
    }

    /// Every other character.
    pub fn complement(&self) -> CharSet {
        let mut next = 0;
        let mut others = Vec::new();
        for (low, high) in &self.0 {
            if *low > next {
                others.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= LAST {
            others.push((next, LAST));
        }
        CharSet(others)
    }

    /// The ways to spell a character of the set in UTF-8, each a range of bytes a place.
    pub fn spellings(&self) -> Vec<Vec<(u8, u8)>> {
        let mut out = Vec::new();
        for (low, high) in &self.0 {
            // Surrogates are no characters and have no spelling.
            for (low, high) in [(*low, (*high).min(SURROGATES.0 - 1)), ((*low).max(SURROGATES.1 + 1), *high)] {
                split_by_length(low, high, &mut out);
            }
        }
        out
    }
}

/// The last characters spelt with one, two, three and four bytes.
const LAST_OF_LENGTH: [u32; 4] = [0x7f, 0x7ff, 0xffff, LAST];

fn split_by_length(low: u32, high: u32, out: &mut Vec<Vec<(u8, u8)>>) {
    let mut first = 0;
    for last in LAST_OF_LENGTH {
        let (low, high) = (low.max(first), high.min(last));
        if low <= high {
            split_by_bytes(low, high, out);
        }
        first = last + 1;
    }
}

/// Splits a range of equally long spellings until every byte ranges over its values regardless of the others.
fn split_by_bytes(low: u32, high: u32, out: &mut Vec<Vec<(u8, u8)>>) {
    for bytes in 1..4 {
        let below = (1 << (6 * bytes)) - 1;
        if low & !below == high & !below {
            continue;
        }
        if low & below != 0 {
            split_by_bytes(low, low | below, out);
            return split_by_bytes((low | below) + 1, high, out);
        }
        if high & below != below {
            split_by_bytes(low, (high & !below) - 1, out);
            return split_by_bytes(high & !below, high, out);
        }
    }
    let (Some(low), Some(high)) = (char::from_u32(low), char::from_u32(high)) else { return };
    let (mut first, mut last) = ([0; 4], [0; 4]);
    let first = low.encode_utf8(&mut first).as_bytes().iter();
    out.push(first.copied().zip(high.encode_utf8(&mut last).bytes()).collect());
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    pub const ALL: ByteSet = ByteSet([u64::MAX; 4]);

    pub fn range(low: u8, high: u8) -> ByteSet {
        let mut set = ByteSet::default();
        (low..=high).for_each(|byte| set.insert(byte));
        set
    }

    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
    }

    pub fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }

    pub fn complement(&self) -> ByteSet {
        ByteSet(self.0.map(|bits| !bits))
    }

    pub fn intersection(&self, other: &ByteSet) -> ByteSet {
        ByteSet(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    pub fn union(&self, other: &ByteSet) -> ByteSet {
        ByteSet(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_those_of_the_characters_and_no_others() {
        let cases = [
            CharSet::of([('a', 'c'), ('b', 'z'), ('\u{80}', '\u{80}')]),
            CharSet::of([('"', '"'), ('\\', '\\'), ('\0', '\x1f')]).complement(),
            CharSet::of([('\u{7f0}', '\u{d7ff}'), ('\u{e000}', '\u{10123}')]),
            CharSet::all(),
        ];
        for set in cases {
            let spellings = set.spellings();
            let spelt = |text: &[u8]| {
                let fits = |ranges: &&Vec<(u8, u8)>| {
                    ranges.len() == text.len()
                        && ranges.iter().zip(text).all(|((low, high), b)| (low..=high).contains(&b))
                };
                spellings.iter().filter(fits).count()
            };
            for c in (0..=0x11000).chain([0x10ffff]).filter_map(char::from_u32) {
                let held = set.0.iter().any(|(low, high)| (*low..=*high).contains(&(c as u32)));
                assert_eq!(spelt(c.encode_utf8(&mut [0; 4]).as_bytes()), usize::from(held), "{c:?} of {set:?}");
            }
            // A surrogate's bytes, an overlong slash, a byte that begins nothing.
            for wrong in [&[0xed, 0xa0, 0x80][..], &[0xc0, 0xaf], &[0xff], &[0xf4, 0x90, 0x80, 0x80]] {
                assert_eq!(spelt(wrong), 0, "{wrong:x?}");
            }
        }
    }

    #[test]
    fn complements() {
        let set = CharSet::of([('\0', 'a'), ('c', 'd')]);
        assert_eq!(set.complement().complement(), set);
        assert_eq!(CharSet::all().complement(), CharSet::default());
    }
}
