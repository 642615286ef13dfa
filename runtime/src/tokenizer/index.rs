//! Hash indexes that lie in the file ready for use: open addressing over a power of two of slots, linear probing, the
//! home slot being the top bits of the hash.

/// What a slot holds when nothing is there.
pub const EMPTY: u32 = u32::MAX;

/// The longest run of occupied slots, and so of probes, that a builder may leave and a reader accepts.
const LONGEST_RUN: usize = 255;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// FNV-1a, 64 bits, its halves folded and spread: FNV alone leaves the top bits of short keys alike.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let fnv =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h: u64, byte| (h ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    (fnv ^ fnv >> 32).wrapping_mul(GOLDEN)
}

/// Fibonacci hashing of the pair as one word.
pub fn hash_pair(left: u32, right: u32) -> u64 {
    let word = u64::from(left) << 32 | u64::from(right);
    (word ^ word >> 29).wrapping_mul(GOLDEN)
}

#[derive(Clone, Debug)]
pub struct Index {
    slots: Vec<u32>,
}

impl Index {
    /// An index over the values `0..hashes.len()`; a value whose hash is `None` is left out.
    pub fn build(hashes: &[Option<u64>]) -> Index {
        let mut count = (hashes.len() * 2).next_power_of_two().max(4);
        loop {
            let mut slots = vec![EMPTY; count];
            for (value, hash) in (0..).zip(hashes) {
                if let Some(hash) = hash {
                    insert(&mut slots, *hash, value);
                }
            }
            if longest_run(&slots) <= LONGEST_RUN {
                return Index { slots };
            }
            count *= 2;
        }
    }

    /// Checks what lookups rely on: the number of slots, every value, and the length of any search.
    pub fn from_slots(slots: Vec<u32>, values: usize) -> Result<Index, &'static str> {
        if !slots.len().is_power_of_two() || slots.len() < 4 {
            return Err("the number of slots is not a power of two");
        }
        if slots.iter().any(|slot| *slot != EMPTY && *slot as usize >= values) {
            return Err("a slot refers to nothing");
        }
        if longest_run(&slots) > LONGEST_RUN {
            return Err("too many occupied slots in a row");
        }
        Ok(Index { slots })
    }

    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The first value in `hash`'s chain that `matches`.
    pub fn find(&self, hash: u64, matches: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = home(hash, self.slots.len());
        loop {
            let value = *self.slots.get(at)?;
            if value == EMPTY {
                return None;
            }
            if matches(value) {
                return Some(value);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

fn home(hash: u64, slots: usize) -> usize {
    (hash >> (64 - slots.trailing_zeros())) as usize
}

/// There is always room: a builder makes at least twice as many slots as values.
fn insert(slots: &mut [u32], hash: u64, value: u32) {
    let mut at = home(hash, slots.len());
    while slots[at] != EMPTY {
        at = (at + 1) & (slots.len() - 1);
    }
    slots[at] = value;
}

/// The longest run of occupied slots, the end and the beginning being neighbours.
fn longest_run(slots: &[u32]) -> usize {
    let runs = slots.split(|slot| *slot == EMPTY).map(<[u32]>::len);
    let inner = runs.max().unwrap_or(0);
    let first = slots.iter().take_while(|slot| **slot != EMPTY).count();
    let last = slots.iter().rev().take_while(|slot| **slot != EMPTY).count();
    if first == slots.len() { usize::MAX } else { inner.max(first + last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let keys: Vec<String> = (0..1000).map(|n| format!("key{n}")).collect();
        let hashes: Vec<_> = keys.iter().map(|key| Some(hash_bytes(key.as_bytes()))).collect();
        let index = Index::build(&hashes);
        for (n, key) in (0..).zip(&keys) {
            assert_eq!(index.find(hash_bytes(key.as_bytes()), |value| keys[value as usize] == *key), Some(n));
        }
        assert_eq!(index.find(hash_bytes(b"other"), |value| keys[value as usize] == "other"), None);
    }

    #[test]
    fn bad_slots_are_refused() {
        assert!(Index::from_slots(vec![EMPTY; 12], 1).is_err());
        assert!(Index::from_slots(vec![], 1).is_err());
        assert!(Index::from_slots(vec![0, EMPTY, 1, EMPTY], 1).is_err());
        assert!(Index::from_slots(vec![0; 4], 1).is_err());
        assert!(Index::from_slots(vec![0, EMPTY, EMPTY, 0], 1).is_ok());
    }
}
