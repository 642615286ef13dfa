//! The tokens in the order of their text, in which what neighbours have in common need be read only once.

use super::Tokenizer;

#[derive(Debug)]
pub struct ByText {
    /// Tokens that stand for text, sorted by it.
    tokens: Vec<Token>,
    /// For each of `tokens`, which ASCII characters are in it; none where it has others, too.
    ascii: Vec<u128>,
    text: Vec<u8>,
    /// For each id, its place in `tokens`.
    places: Vec<u32>,
    longest: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub id: u32,
    begin: u32,
    end: u32,
    /// Bytes that it has in common with the token before it.
    pub common: u32,
}

impl Token {
    /// The same after another token, with which it has this in common.
    pub fn after(self, common: u32) -> Token {
        Token { common, ..self }
    }
}

const NOWHERE: u32 = u32::MAX;

impl ByText {
    pub(super) fn new(tokenizer: &Tokenizer) -> ByText {
        let count = tokenizer.vocab_size() as u32;
        let text = |id: u32| tokenizer.token_bytes(id).unwrap_or_default();
        let mut ids: Vec<u32> = (0..count).filter(|id| !tokenizer.is_special(*id) && !text(*id).is_empty()).collect();
        ids.sort_by(|a, b| text(*a).cmp(text(*b)));
        let places = vec![NOWHERE; count as usize];
        let longest = (0..count).map(|id| text(id).len() as u32).max().unwrap_or(0);
        let mut sorted = ByText { tokens: Vec::new(), ascii: Vec::new(), text: Vec::new(), places, longest };
        let mut before: &[u8] = &[];
        for id in ids {
            let bytes = text(id);
            let begin = sorted.text.len() as u32;
            sorted.text.extend_from_slice(bytes);
            let common = before.iter().zip(bytes).take_while(|(a, b)| a == b).count() as u32;
            let ascii = |bytes: &[u8]| bytes.iter().fold(0, |set, byte| set | 1u128 << byte);
            sorted.ascii.push(if bytes.is_ascii() { ascii(bytes) } else { 0 });
            sorted.places[id as usize] = sorted.tokens.len() as u32;
            sorted.tokens.push(Token { id, begin, end: begin + bytes.len() as u32, common });
            before = bytes;
        }
        sorted
    }

    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// For each of the tokens, which ASCII characters are in it; none where it has others, too.
    pub fn ascii(&self) -> &[u128] {
        &self.ascii
    }

    /// Ids that the tokenizer has.
    pub fn size(&self) -> usize {
        self.places.len()
    }

    /// Bytes of the longest token, special ones among them.
    pub fn longest(&self) -> u32 {
        self.longest
    }

    pub fn bytes(&self, token: &Token) -> &[u8] {
        &self.text[token.begin as usize..token.end as usize]
    }

    /// What a token says; nothing for one that is no text.
    pub fn text(&self, id: u32) -> Option<&[u8]> {
        let place = *self.places.get(id as usize)?;
        self.tokens.get(place as usize).map(|token| self.bytes(token))
    }
}
