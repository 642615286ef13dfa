//! SentencePiece's `tokenizer.model`: a protobuf of pieces, training and normalisation settings.

use tcrt::tokenizer::{Definition, Kind, MergeOrder, Pattern, Prefix, Rules, Symbols, priorities};

use super::protobuf::{Value, fields};
use super::{Result, TokenizerError, Tokens, invalid, unsupported};

/// The sign that stands for a space in pieces.
pub const ESCAPED_SPACE: &str = "\u{2581}";

const BPE: u64 = 2;

/// A piece as SentencePiece and GGUF files hold it.
pub struct Piece<'t> {
    pub text: &'t [u8],
    pub score: f32,
    pub kind: u64,
}

struct Settings<'t> {
    model: u64,
    space_as_suffix: bool,
    bos: &'t str,
    eos: &'t str,
    charsmap: &'t [u8],
    dummy_prefix: bool,
    collapse_spaces: bool,
    escape_spaces: bool,
    denormalizes: bool,
}

/// Whether the bytes begin with a piece: field 1, a message that itself begins with field 1, a string.
pub fn recognises(bytes: &[u8]) -> bool {
    let first = |message| fields(message).next().flatten();
    matches!(first(bytes), Some((1, Value::Bytes(piece))) if matches!(first(piece), Some((1, Value::Bytes(_)))))
}

pub fn define(bytes: &[u8]) -> Result<Definition> {
    let (pieces, settings) = parse(bytes)?;
    if settings.model != BPE {
        let name = ["unigram", "bpe", "word", "char"].get((settings.model as usize).wrapping_sub(1));
        return unsupported(format!("SentencePiece model type {}", name.unwrap_or(&"unknown")));
    }
    if settings.space_as_suffix {
        return unsupported("treat_whitespace_as_suffix");
    }
    if settings.denormalizes {
        return unsupported("a SentencePiece denormalizer");
    }
    let (tokens, merges) = tokens(&pieces, settings.escape_spaces, Kind::UserDefined)?;
    let control = |text: &str| {
        let found = tokens.iter().position(|(bytes, kind)| *kind == Kind::Control && bytes == text.as_bytes());
        found.and_then(|id| u32::try_from(id).ok())
    };
    let rules = Rules {
        prefix: if settings.dummy_prefix { Prefix::Every } else { Prefix::Never },
        collapse_spaces: settings.collapse_spaces,
        escaped_spaces: settings.escape_spaces,
        strip_first_space: settings.dummy_prefix || settings.collapse_spaces,
        fuse_unknown: true,
        adds_bos: true,
        bos: control(settings.bos),
        eos: control(settings.eos),
        unk: unknown(&tokens),
        ..Rules::new(Symbols::Chars, Pattern::Whole)
    };
    let charsmap = Some(settings.charsmap.to_vec()).filter(|map| !map.is_empty());
    Ok(Definition { rules, charsmap, tokens, merges })
}

/// The tokens and their merging order; `user_defined` says what the pieces of that kind become.
pub fn tokens(pieces: &[Piece], escaped: bool, user_defined: Kind) -> Result<(Tokens, MergeOrder)> {
    let mut tokens = Vec::with_capacity(pieces.len());
    let mut scores = Vec::with_capacity(pieces.len());
    for (id, piece) in pieces.iter().enumerate() {
        let text = String::from_utf8_lossy(piece.text);
        let kind = match piece.kind {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => user_defined,
            6 => Kind::Byte,
            5 => return unsupported(format!("piece {id} ({text:?}) of type UNUSED")),
            other => return invalid(format!("piece {id} ({text:?}) is of unknown type {other}")),
        };
        if !piece.score.is_finite() {
            return invalid(format!("piece {id} ({text:?}) has the score {}", piece.score));
        }
        let bytes = match kind {
            Kind::Byte => vec![byte(&text).ok_or_else(|| {
                TokenizerError::Invalid(format!("piece {id} ({text:?}) is of type BYTE but names no byte"))
            })?],
            Kind::Normal | Kind::UserDefined if escaped => text.replace(ESCAPED_SPACE, " ").into_bytes(),
            _ => piece.text.to_vec(),
        };
        // A piece that the user defined can also come out of merging.
        scores.push(matches!(kind, Kind::Normal | Kind::UserDefined).then_some(piece.score));
        tokens.push((bytes, kind));
    }
    Ok((tokens, MergeOrder::ByToken(priorities(&scores))))
}

pub fn unknown(tokens: &[(Vec<u8>, Kind)]) -> Option<u32> {
    tokens.iter().position(|(_, kind)| *kind == Kind::Unknown).and_then(|id| u32::try_from(id).ok())
}

/// The byte that a piece like `<0x0A>` names.
pub fn byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

fn parse(bytes: &[u8]) -> Result<(Vec<Piece<'_>>, Settings<'_>)> {
    let mut pieces = Vec::new();
    let mut settings = Settings {
        model: 1,
        space_as_suffix: false,
        bos: "<s>",
        eos: "</s>",
        charsmap: &[],
        dummy_prefix: true,
        collapse_spaces: true,
        escape_spaces: true,
        denormalizes: false,
    };
    for (at, field) in fields(bytes).enumerate() {
        let parsed = field.and_then(|(number, value)| match number {
            1 => piece(value.bytes()?).map(|piece| pieces.push(piece)),
            2 => settings.read_trainer(value.bytes()?),
            3 => settings.read_normalizer(value.bytes()?),
            5 => {
                settings.denormalizes = fields(value.bytes()?).flatten().any(|(number, _)| number == 2);
                Some(())
            }
            _ => Some(()),
        });
        if parsed.is_none() {
            return invalid(format!("field {at} of the SentencePiece model is cut off or malformed"));
        }
    }
    Ok((pieces, settings))
}

fn piece(message: &[u8]) -> Option<Piece<'_>> {
    let mut piece = Piece { text: &[], score: 0.0, kind: 1 };
    for field in fields(message) {
        match field? {
            (1, value) => piece.text = value.text()?.as_bytes(),
            (2, value) => piece.score = value.float()?,
            (3, value) => piece.kind = value.varint()?,
            _ => {}
        }
    }
    Some(piece)
}

impl<'t> Settings<'t> {
    fn read_trainer(&mut self, message: &'t [u8]) -> Option<()> {
        for field in fields(message) {
            match field? {
                (3, value) => self.model = value.varint()?,
                (24, value) => self.space_as_suffix = value.flag()?,
                (46, value) => self.bos = value.text()?,
                (47, value) => self.eos = value.text()?,
                _ => {}
            }
        }
        Some(())
    }

    fn read_normalizer(&mut self, message: &'t [u8]) -> Option<()> {
        for field in fields(message) {
            match field? {
                (2, value) => self.charsmap = value.bytes()?,
                (3, value) => self.dummy_prefix = value.flag()?,
                (4, value) => self.collapse_spaces = value.flag()?,
                (5, value) => self.escape_spaces = value.flag()?,
                _ => {}
            }
        }
        Some(())
    }
}
