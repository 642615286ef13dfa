//! How a tokenizer treats text around the merging: what the header of its file says.

use super::pretokenize::Pattern;

/// What merging starts from; the numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Symbols {
    /// Every byte is a symbol: byte-level BPE.
    Bytes = 0,
    /// Every character is; one without a token falls back to byte tokens or the unknown token: SentencePiece.
    Chars = 1,
}

/// Where a space is put before the text; the numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Prefix {
    Never = 0,
    /// At the beginning of the text, unless a recognised token stands there.
    First = 1,
    /// Also after every token recognised in the text.
    Every = 2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub symbols: Symbols,
    pub pattern: Pattern,
    pub prefix: Prefix,
    /// No second space before text that begins with one.
    pub prefix_unless_space: bool,
    /// A piece that is a normal token as a whole is not merged from its parts (`ignore_merges`).
    pub whole_piece_first: bool,
    /// The text is brought to Unicode normalisation form C.
    pub nfc: bool,
    /// Runs of spaces become one space, those at the ends go (`remove_extra_whitespaces`).
    pub collapse_spaces: bool,
    /// `▁` (U+2581) in the text means a space. Tokens hold spaces either way.
    pub escaped_spaces: bool,
    /// Decoding drops the space that the text begins with.
    pub strip_first_space: bool,
    /// Neighbouring unknown characters give one unknown token.
    pub fuse_unknown: bool,
    /// A prompt begins with `bos`. (Encoding itself never adds it.)
    pub adds_bos: bool,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unk: Option<u32>,
}

impl Rules {
    /// The rules with nothing asked for, to be filled in.
    pub fn new(symbols: Symbols, pattern: Pattern) -> Rules {
        Rules {
            symbols,
            pattern,
            prefix: Prefix::Never,
            prefix_unless_space: false,
            whole_piece_first: false,
            nfc: false,
            collapse_spaces: false,
            escaped_spaces: false,
            strip_first_space: false,
            fuse_unknown: false,
            adds_bos: false,
            bos: None,
            eos: None,
            unk: None,
        }
    }
}
