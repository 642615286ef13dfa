//! The tokenizer file: docs/tokenizer-format.md says what each byte is.

use super::Tokenizer;
use super::charsmap::CharsMap;
use super::index::Index;
use super::merges::Merges;
use super::pretokenize::Pattern;
use super::rules::{Prefix, Rules, Symbols};
use super::vocab::{Kind, Vocab};
use crate::{Error, ErrorKind, Result};

pub const MAGIC: [u8; 4] = *b"TCTK";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 40;
const ENTRY_LEN: usize = 12;
const NO_TOKEN: u32 = u32::MAX;

const TEXT: [u8; 4] = *b"TEXT";
const ENDS: [u8; 4] = *b"ENDS";
const KINDS: [u8; 4] = *b"KIND";
const TOKEN_INDEX: [u8; 4] = *b"TIDX";
const PRIORITIES: [u8; 4] = *b"PRIO";
const PAIRS: [u8; 4] = *b"PAIR";
const PAIR_INDEX: [u8; 4] = *b"PIDX";
const CHARSMAP: [u8; 4] = *b"CMAP";

type Flag = (u32, fn(&mut Rules) -> &mut bool);

/// Each flag of the header and the rule it stands for.
const FLAGS: [Flag; 8] = [
    (1 << 0, |rules| &mut rules.adds_bos),
    (1 << 1, |rules| &mut rules.whole_piece_first),
    (1 << 2, |rules| &mut rules.nfc),
    (1 << 3, |rules| &mut rules.prefix_unless_space),
    (1 << 4, |rules| &mut rules.collapse_spaces),
    (1 << 5, |rules| &mut rules.escaped_spaces),
    (1 << 6, |rules| &mut rules.strip_first_space),
    (1 << 7, |rules| &mut rules.fuse_unknown),
];

pub fn write(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let vocab = &tokenizer.vocab;
    let mut sections = vec![
        (TEXT, vocab.text().to_vec()),
        (ENDS, words(vocab.ends())),
        (KINDS, vocab.kinds().iter().map(|kind| *kind as u8).collect()),
        (TOKEN_INDEX, words(vocab.index().slots())),
    ];
    match &tokenizer.merges {
        Merges::ByToken(priorities) => sections.push((PRIORITIES, words(priorities))),
        Merges::Listed { pairs, index } => {
            sections.push((PAIRS, words(pairs.as_flattened())));
            sections.push((PAIR_INDEX, words(index.slots())));
        }
    }
    sections.extend(tokenizer.charsmap.as_ref().map(|map| (CHARSMAP, map.blob().to_vec())));
    let data: usize = sections.iter().map(|(_, bytes)| bytes.len().next_multiple_of(4)).sum();
    let begin = HEADER_LEN + ENTRY_LEN * sections.len();
    let mut out = header(tokenizer, word(begin + data)?, word(sections.len())?)?;
    let mut offset = begin;
    for (tag, bytes) in &sections {
        out.extend_from_slice(tag);
        out.extend(words(&[word(offset)?, word(bytes.len())?]));
        offset += bytes.len().next_multiple_of(4);
    }
    for (_, bytes) in &sections {
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    Ok(out)
}

fn header(tokenizer: &Tokenizer, file_len: u32, sections: u32) -> Result<Vec<u8>> {
    let mut rules = tokenizer.rules.clone();
    let flags: u32 = FLAGS.iter().map(|(bit, rule)| if *rule(&mut rules) { *bit } else { 0 }).sum();
    let mut out = MAGIC.to_vec();
    out.extend(words(&[VERSION, file_len, word(tokenizer.vocab.len())?]));
    out.extend([rules.symbols as u8, rules.pattern as u8, rules.prefix as u8, 0]);
    let id = |token: Option<u32>| token.unwrap_or(NO_TOKEN);
    out.extend(words(&[flags, id(rules.bos), id(rules.eos), id(rules.unk), sections]));
    Ok(out)
}

fn word(value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::new(ErrorKind::LimitExceeded, "a tokenizer file of more than 4 GiB"))
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub fn read(bytes: &[u8]) -> Result<Tokenizer> {
    let version = word_at(bytes, 4)?;
    if version != VERSION {
        let message = format!("version {version}, this runtime reads version {VERSION}");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let file_len = word_at(bytes, 8)?;
    if file_len as usize != bytes.len() {
        return invalid(format!("the header says {file_len} bytes, the file has {}", bytes.len()));
    }
    let tokens = word_at(bytes, 12)? as usize;
    let rules = read_rules(bytes)?;
    let file = File { bytes, sections: word_at(bytes, 36)? };
    file.check_sections()?;
    let kinds: Option<Vec<Kind>> = file.section(KINDS)?.iter().map(|code| Kind::from_code(*code)).collect();
    let Some(kinds) = kinds.filter(|kinds| kinds.len() == tokens) else {
        return invalid(format!("KIND does not hold the kinds of {tokens} tokens"));
    };
    let index = file.index(TOKEN_INDEX, tokens)?;
    let vocab = Vocab::from_parts(file.section(TEXT)?.to_vec(), file.words(ENDS)?, kinds, index).or_else(invalid)?;
    let merges = if file.find(PRIORITIES)?.is_some() {
        Merges::ByToken(file.words(PRIORITIES)?)
    } else {
        let words = file.words(PAIRS)?;
        let (pairs, []) = words.as_chunks::<3>() else {
            return invalid("section PAIR does not hold three words for each merge");
        };
        Merges::Listed { index: file.index(PAIR_INDEX, pairs.len())?, pairs: pairs.to_vec() }
    };
    let charsmap = file.find(CHARSMAP)?.map(|blob| CharsMap::new(blob.to_vec())).transpose().or_else(invalid)?;
    Tokenizer::assemble(rules, charsmap, vocab, merges).or_else(invalid)
}

fn read_rules(bytes: &[u8]) -> Result<Rules> {
    let [symbols, pattern, prefix, reserved] = word_at(bytes, 16)?.to_le_bytes();
    let symbols = [Symbols::Bytes, Symbols::Chars].into_iter().find(|s| *s as u8 == symbols);
    let prefix = [Prefix::Never, Prefix::First, Prefix::Every].into_iter().find(|p| *p as u8 == prefix);
    let (Some(symbols), Some(pattern), Some(prefix), 0) = (symbols, Pattern::from_code(pattern), prefix, reserved)
    else {
        return invalid("at byte 16: unknown symbols, pattern or prefix");
    };
    let mut rules = Rules { prefix, ..Rules::new(symbols, pattern) };
    let mut flags = word_at(bytes, 20)?;
    for (bit, rule) in FLAGS {
        *rule(&mut rules) = flags & bit != 0;
        flags &= !bit;
    }
    if flags != 0 {
        return invalid(format!("at byte 20: unknown flags {flags:#x}"));
    }
    let token = |at| word_at(bytes, at).map(|id| Some(id).filter(|id| *id != NO_TOKEN));
    (rules.bos, rules.eos, rules.unk) = (token(24)?, token(28)?, token(32)?);
    Ok(rules)
}

/// The file and its directory of sections.
struct File<'t> {
    bytes: &'t [u8],
    sections: u32,
}

impl<'t> File<'t> {
    /// Every section is known and lies within the file.
    fn check_sections(&self) -> Result<()> {
        const KNOWN: [[u8; 4]; 8] = [TEXT, ENDS, KINDS, TOKEN_INDEX, PRIORITIES, PAIRS, PAIR_INDEX, CHARSMAP];
        if self.sections as usize > KNOWN.len() {
            return invalid(format!("at byte 36: {} sections", self.sections));
        }
        for at in 0..self.sections {
            let (tag, _) = self.entry(at)?;
            if !KNOWN.contains(&tag) {
                return invalid(format!("unknown section {:?}", tag.escape_ascii().to_string()));
            }
        }
        Ok(())
    }

    fn entry(&self, at: u32) -> Result<([u8; 4], &'t [u8])> {
        let entry = HEADER_LEN + ENTRY_LEN * at as usize;
        let tag = word_at(self.bytes, entry)?.to_le_bytes();
        let (offset, len) = (word_at(self.bytes, entry + 4)? as usize, word_at(self.bytes, entry + 8)? as usize);
        let section = offset.checked_add(len).and_then(|end| self.bytes.get(offset..end));
        match section {
            Some(section) => Ok((tag, section)),
            None => invalid(format!("section {} at {offset} + {len} is outside the file", tag.escape_ascii())),
        }
    }

    fn find(&self, tag: [u8; 4]) -> Result<Option<&'t [u8]>> {
        for at in 0..self.sections {
            let (found, section) = self.entry(at)?;
            if found == tag {
                return Ok(Some(section));
            }
        }
        Ok(None)
    }

    fn section(&self, tag: [u8; 4]) -> Result<&'t [u8]> {
        let missing = || Error::invalid_file(format!("section {} is missing", tag.escape_ascii()));
        self.find(tag)?.ok_or_else(missing)
    }

    fn words(&self, tag: [u8; 4]) -> Result<Vec<u32>> {
        let (words, []) = self.section(tag)?.as_chunks::<4>() else {
            return invalid(format!("section {} does not hold whole words", tag.escape_ascii()));
        };
        Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }

    fn index(&self, tag: [u8; 4], values: usize) -> Result<Index> {
        Index::from_slots(self.words(tag)?, values).or_else(|why| invalid(format!("{}: {why}", tag.escape_ascii())))
    }
}

fn word_at(bytes: &[u8], at: usize) -> Result<u32> {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => Ok(u32::from_le_bytes(*word)),
        None => invalid(format!("cut off at byte {}, needed 4 bytes at {at}", bytes.len())),
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::invalid_file(why))
}
