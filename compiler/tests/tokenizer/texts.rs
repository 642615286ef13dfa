//! The texts that tokenizers are compared on, made exactly as texts.py makes them.

use serde::Deserialize;

#[derive(Deserialize)]
pub struct Data {
    pub corpus: Vec<String>,
    ranges: Vec<(u32, u32)>,
    lists: Vec<Vec<String>>,
}

pub fn data() -> Data {
    serde_json::from_str(include_str!("texts.json")).unwrap()
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn scalar(&mut self, (first, last): (u32, u32)) -> char {
        let code = first + u32::try_from(self.below((last - first + 1) as usize)).unwrap();
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

pub fn random_text(data: &Data, seed: u64) -> String {
    let mut random = Random(seed);
    let mut text = String::new();
    for _ in 0..1 + random.below(16) {
        let kind = random.below(data.ranges.len() + data.lists.len());
        for _ in 0..1 + random.below(3) {
            match kind.checked_sub(data.ranges.len()) {
                None => text.push(random.scalar(data.ranges[kind])),
                Some(list) => text += &data.lists[list][random.below(data.lists[list].len())],
            }
        }
    }
    text
}

/// The corpus, then random texts, `count` in all.
pub fn texts(count: usize) -> Vec<String> {
    let data = data();
    let random = (0..).map(|seed| random_text(&data, seed));
    data.corpus.iter().cloned().chain(random).take(count).collect()
}
