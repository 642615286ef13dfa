//! A session as bytes, to go on from later: the tokens and their part of the KV cache. docs/session-format.md describes them.

use super::{LastLogits, Session};
use crate::engine::Engine;
use crate::kv::KvType;
use crate::model::Model;
use crate::sys::{Mapping, write_whole};
use crate::{Error, ErrorKind, Result};
use checksum::Checksum;
use std::io::{BufWriter, Write};
use std::path::Path;

mod checksum;

const MAGIC: [u8; 8] = *b"TCRTSES\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
const CHECKSUM_BYTES: usize = 8;

/// What a state begins with.
struct Header {
    kv_dtype: u32,
    model: u64,
    tokens: u64,
    cache_bytes: u64,
}

impl Session {
    /// Bytes of the session's state.
    pub fn state_bytes(&self) -> Result<usize> {
        Ok(HEADER_BYTES + 4 * self.tokens.len() + self.lock()?.state_bytes(self.tokens.len()) + CHECKSUM_BYTES)
    }

    /// Writes the session's state, `state_bytes` of them.
    pub fn save(&self, out: impl Write) -> Result<()> {
        let engine = self.lock()?;
        let cache_bytes = engine.state_bytes(self.tokens.len()) as u64;
        let (model, tokens) = (identity(engine.model()), self.tokens.len() as u64);
        let header = Header { kv_dtype: engine.kv_dtype() as u32, model, tokens, cache_bytes };
        let mut out = Summing { out, sum: Checksum::default() };
        let failed = |error: std::io::Error| Error::new(ErrorKind::Io, format!("saving a session: {error}"));
        out.put(&header.encode()).map_err(failed)?;
        self.tokens.iter().try_for_each(|token| out.put(&token.to_le_bytes())).map_err(failed)?;
        engine.save(self.sequence, |bytes| out.put(bytes))?.map_err(failed)?;
        let sum = out.sum.finish();
        out.out.write_all(&sum.to_le_bytes()).and_then(|()| out.out.flush()).map_err(failed)
    }

    /// Writes the state to a file, which appears complete or not at all.
    pub fn save_file(&self, path: &Path) -> Result<()> {
        write_whole(path, |file| self.save(BufWriter::with_capacity(1 << 18, file)))
    }

    /// Takes up a state that a session of the same model saved. The state is checked before anything changes.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        let mut engine = self.lock()?;
        let header = Header::decode(state)?;
        header.check(&engine)?;
        let bad = || Error::invalid_file("the session's state is truncated, or longer than it says");
        let (body, sum) = state.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(bad)?;
        // The check above bounds the number of tokens by the context.
        let token_bytes = 4 * header.tokens as usize;
        let payload = body.get(HEADER_BYTES..).and_then(|rest| rest.split_at_checked(token_bytes));
        let (tokens, cache) = payload.filter(|(_, cache)| cache.len() as u64 == header.cache_bytes).ok_or_else(bad)?;
        let mut expected = Checksum::default();
        expected.add(body);
        if expected.finish() != u64::from_le_bytes(*sum) {
            return Err(Error::invalid_file("the session's state is damaged: its checksum is wrong"));
        }
        let tokens = read_tokens(tokens, engine.model().info().vocab)?;
        let restored = engine.restore(self.sequence, tokens.len(), cache);
        drop(engine);
        self.last = LastLogits::None;
        self.tokens = if restored.is_ok() { tokens } else { Vec::new() };
        restored
    }

    pub fn restore_file(&mut self, path: &Path) -> Result<()> {
        self.restore(&Mapping::open(path)?).map_err(|error| error.in_place(path.display()))
    }
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.kv_dtype.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.model.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.cache_bytes.to_le_bytes());
        bytes
    }

    fn decode(state: &[u8]) -> Result<Header> {
        let Some(bytes) = state.first_chunk::<HEADER_BYTES>().filter(|bytes| bytes[0..8] == MAGIC) else {
            return Err(Error::invalid_file("not a session's state"));
        };
        let half = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let word = |at: usize| u64::from(half(at)) | u64::from(half(at + 4)) << 32;
        match half(8) {
            VERSION => Ok(Header { kv_dtype: half(12), model: word(16), tokens: word(24), cache_bytes: word(32) }),
            other => {
                let message = format!("the session's state has version {other}; this runtime reads {VERSION}");
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    fn check(&self, engine: &Engine) -> Result<()> {
        if self.model != identity(engine.model()) {
            return Err(Error::invalid_argument("the session's state is of another model"));
        }
        let dtype = engine.kv_dtype();
        if self.kv_dtype != dtype as u32 {
            let saved = KvType::ALL.into_iter().find(|known| *known as u32 == self.kv_dtype);
            let saved = saved.map_or("unknown", KvType::name);
            let message = format!("the session's state has a cache of {saved}, this session one of {}", dtype.name());
            return Err(Error::invalid_argument(message));
        }
        if self.tokens > engine.context() as u64 {
            let message =
                format!("the session's state has {} tokens; the context is {}", self.tokens, engine.context());
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }
}

fn read_tokens(bytes: &[u8], vocab: usize) -> Result<Vec<u32>> {
    let (words, _) = bytes.as_chunks::<4>();
    let tokens: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    match tokens.iter().find(|token| **token as usize >= vocab) {
        None => Ok(tokens),
        Some(token) => Err(Error::invalid_file(format!(
            "the session's state has token {token}, outside the vocabulary of {vocab}"
        ))),
    }
}

/// Tells models apart without reading all their weights: shape, sizes, and a sample of the weights' bytes. An artifact's kind does
/// not matter.
fn identity(model: &Model) -> u64 {
    const SAMPLES: usize = 64;
    const SAMPLE_BYTES: usize = 256;
    let info = model.info();
    let shape = [info.cache.layers, info.cache.kv_heads, info.cache.head_dim, info.vocab as u32];
    let mut sum = Checksum::default();
    shape.iter().for_each(|number| sum.add(&number.to_le_bytes()));
    let weights = model.weights();
    sum.add(&(weights.len() as u64).to_le_bytes());
    for sample in 0..SAMPLES {
        let start =
            (weights.len().saturating_sub(SAMPLE_BYTES) as u128 * sample as u128 / (SAMPLES - 1) as u128) as usize;
        sum.add(&weights[start..weights.len().min(start + SAMPLE_BYTES)]);
    }
    sum.finish()
}

/// Sums up what passes.
struct Summing<W> {
    out: W,
    sum: Checksum,
}

impl<W: Write> Summing<W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.sum.add(bytes);
        self.out.write_all(bytes)
    }
}
