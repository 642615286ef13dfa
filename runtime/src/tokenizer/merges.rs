//! Which two neighbours may become one token, and which such merge comes first.

use super::index::{Index, hash_pair};
use super::vocab::Vocab;

/// No merge has this priority; the lowest number merges first.
pub const NEVER: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub enum Merges {
    /// Any two neighbours whose joined bytes are a token, with that token's priority (SentencePiece's scores,
    /// tiktoken's ranks); `NEVER` for tokens that no merge makes.
    ByToken(Vec<u32>),
    /// The listed pairs and no others: left, right, result. The earlier one has priority.
    Listed { pairs: Vec<[u32; 3]>, index: Index },
}

/// A merge that two neighbours allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    pub priority: u32,
    pub id: u32,
}

impl Merges {
    pub fn listed(pairs: Vec<[u32; 3]>) -> Merges {
        let mut seen = std::collections::HashSet::new();
        let hashes: Vec<_> = pairs.iter().map(|[l, r, _]| seen.insert((*l, *r)).then(|| hash_pair(*l, *r))).collect();
        Merges::Listed { index: Index::build(&hashes), pairs }
    }

    /// The merge of the tokens `left` and `right`, whose bytes lie together in `joined`.
    pub fn find(&self, vocab: &Vocab, left: Option<u32>, right: Option<u32>, joined: &[u8]) -> Option<Merge> {
        match self {
            Merges::ByToken(priorities) => {
                let id = Some(joined).filter(|bytes| bytes.len() <= vocab.longest()).and_then(|b| vocab.id(b))?;
                let priority = *priorities.get(id as usize)?;
                (priority != NEVER).then_some(Merge { priority, id })
            }
            Merges::Listed { pairs, index } => {
                let (left, right) = (left?, right?);
                let found = index.find(hash_pair(left, right), |at| {
                    pairs.get(at as usize).is_some_and(|[l, r, _]| (*l, *r) == (left, right))
                })?;
                pairs.get(found as usize).map(|[.., id]| Merge { priority: found, id: *id })
            }
        }
    }
}

/// Priorities that order merges as the scores do: the highest score first, equal ones alike, never without a score.
pub fn priorities(scores: &[Option<f32>]) -> Vec<u32> {
    let mut distinct: Vec<f32> = scores.iter().copied().flatten().collect();
    distinct.sort_by(|a, b| b.total_cmp(a));
    distinct.dedup();
    let rank = |score: f32| distinct.partition_point(|other| *other > score);
    scores.iter().map(|score| score.map_or(NEVER, |score| u32::try_from(rank(score)).unwrap_or(NEVER))).collect()
}
