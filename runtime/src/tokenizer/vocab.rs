//! The tokens: their bytes, what kind each is, and the way from bytes to id.

use super::index::{Index, hash_bytes};

/// What a token is for; the numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Comes out of merging.
    Normal = 0,
    /// Stands for what no token covers.
    Unknown = 1,
    /// Special: recognised in text only when asked for.
    Control = 2,
    /// Recognised wherever it is written, before the text is normalised.
    Added = 3,
    /// Recognised wherever it appears in the normalised text.
    UserDefined = 4,
    /// One byte of what no other token covers.
    Byte = 5,
    /// An id without a meaning.
    Unused = 6,
}

impl Kind {
    pub const ALL: [Kind; 7] =
        [Kind::Normal, Kind::Unknown, Kind::Control, Kind::Added, Kind::UserDefined, Kind::Byte, Kind::Unused];

    pub fn from_code(code: u8) -> Option<Kind> {
        Self::ALL.get(usize::from(code)).copied()
    }

    pub fn is_special(self) -> bool {
        matches!(self, Kind::Control | Kind::Unknown)
    }

    /// Whether text can name the token: bytes and unused ids are found by other ways or not at all.
    fn is_indexed(self) -> bool {
        !matches!(self, Kind::Byte | Kind::Unused)
    }
}

#[derive(Clone, Debug)]
pub struct Vocab {
    text: Vec<u8>,
    /// Where each token's bytes end in `text`; they begin where the token before ends.
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    index: Index,
    /// The token of each single byte: the byte tokens, or what a byte-level vocabulary has.
    bytes: [Option<u32>; 256],
    longest: usize,
}

impl Vocab {
    pub fn build(tokens: &[(Vec<u8>, Kind)]) -> Result<Vocab, &'static str> {
        let mut ends = Vec::with_capacity(tokens.len());
        let mut text = Vec::new();
        for (bytes, _) in tokens {
            text.extend_from_slice(bytes);
            ends.push(u32::try_from(text.len()).map_err(|_| "more than 4 GiB of tokens")?);
        }
        // Of several tokens with the same bytes, the first normal one is found first.
        let mut hashes: Vec<_> = tokens.iter().map(|(t, kind)| kind.is_indexed().then(|| hash_bytes(t))).collect();
        let mut seen = std::collections::HashSet::new();
        for normal in [true, false] {
            for ((token, kind), hash) in tokens.iter().zip(&mut hashes) {
                if hash.is_some() && (*kind == Kind::Normal) == normal && !seen.insert(token) {
                    *hash = None;
                }
            }
        }
        Self::from_parts(text, ends, tokens.iter().map(|(_, kind)| *kind).collect(), Index::build(&hashes))
    }

    /// `index` has been checked against the number of `kinds`.
    pub fn from_parts(text: Vec<u8>, ends: Vec<u32>, kinds: Vec<Kind>, index: Index) -> Result<Vocab, &'static str> {
        if ends.len() != kinds.len() || kinds.is_empty() {
            return Err("the numbers of tokens disagree");
        }
        if !ends.is_sorted() || ends.last().map(|end| *end as usize) != Some(text.len()) {
            return Err("the tokens do not end where their text does");
        }
        let mut vocab = Vocab { text, ends, kinds, index, bytes: [None; 256], longest: 0 };
        vocab.bytes = std::array::from_fn(|byte| vocab.find(&byte.to_le_bytes()[..1], Kind::Normal));
        for id in (0..).take(vocab.kinds.len()) {
            let Some((bytes, kind)) = vocab.bytes(id).zip(vocab.kind(id)) else { continue };
            let (len, only) = (bytes.len(), bytes.first().copied());
            vocab.longest = vocab.longest.max(len);
            if let (Kind::Byte, 1, Some(byte)) = (kind, len, only) {
                vocab.bytes[usize::from(byte)] = Some(id);
            }
        }
        Ok(vocab)
    }

    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The length of the longest token.
    pub fn longest(&self) -> usize {
        self.longest
    }

    pub fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = if id == 0 { 0 } else { *self.ends.get(id - 1)? };
        self.text.get(start as usize..end as usize)
    }

    pub fn id(&self, bytes: &[u8]) -> Option<u32> {
        self.index.find(hash_bytes(bytes), |id| self.bytes(id) == Some(bytes))
    }

    pub fn find(&self, bytes: &[u8], kind: Kind) -> Option<u32> {
        self.id(bytes).filter(|id| self.kind(*id) == Some(kind))
    }

    pub fn byte(&self, byte: u8) -> Option<u32> {
        self.bytes[usize::from(byte)]
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    pub fn index(&self) -> &Index {
        &self.index
    }
}
