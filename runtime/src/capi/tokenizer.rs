use super::handle::{self, Behind};
use super::memory::{Buffer, Out, list, path, utf8};
use super::model::tcrt_model;
use super::status::tcrt_status::TCRT_INVALID_ARGUMENT;
use super::status::{Outcome, call, fail, tcrt_status};
use super::versioned::{Results, versioned};
use crate::sys::Mapping;
use crate::tokenizer::{Special, Tokenizer};
use crate::{Model, prompt};
use std::ffi::c_char;
use std::sync::Arc;

/// Turns text into tokens and back.
pub struct tcrt_tokenizer {
    _private: (),
}

impl Behind for Tokenizer {
    type Handle = tcrt_tokenizer;
    const NAME: &'static str = "tokenizer";
}

/// No token of this kind.
pub const TCRT_NO_TOKEN: u32 = u32::MAX;

/// For tcrt_tokenize: special tokens written in the text become those tokens. Without it they are text, as what a user wrote must be.
pub const TCRT_PARSE_SPECIAL: u32 = 1;
/// For tcrt_tokenize: a whole prompt for a base model: the begin token first where the model wants one. Implies TCRT_PARSE_SPECIAL.
pub const TCRT_PROMPT: u32 = 2;
/// For tcrt_detokenize: special tokens are written out instead of left out.
pub const TCRT_SHOW_SPECIAL: u32 = 4;

/// What is worth knowing about a tokenizer. Set `size` and `version` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_tokenizer_info {
    pub size: u32,
    pub version: u32,
    pub vocab: u32,
    /// The token that begins a text, or TCRT_NO_TOKEN.
    pub bos: u32,
    /// The token that ends a text, or TCRT_NO_TOKEN.
    pub eos: u32,
    /// 1 where prompts are to begin with `bos`.
    pub adds_bos: u32,
}

versioned!(tcrt_tokenizer_info, "tcrt_tokenizer_info", 24);

/// The tokenizer that the model's artifact holds. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_tokenizer_of_model(
    model: *mut tcrt_model,
    tokenizer: *mut *mut tcrt_tokenizer,
) -> tcrt_status {
    call("tcrt_tokenizer_of_model", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Out::new("tokenizer", tokenizer)? };
        let model = handle::get::<Arc<Model>>(model)?;
        match model.tokenizer()? {
            Some(tokenizer) => out.write(handle::new(tokenizer)),
            None => return fail(TCRT_INVALID_ARGUMENT, format!("{}: holds no tokenizer", model.name())),
        }
        Ok(())
    })
}

/// Loads a tokenizer file: that of `tcc tokenizer`, or llama2.c's. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_tokenizer_load(path: *const c_char, tokenizer: *mut *mut tcrt_tokenizer) -> tcrt_status {
    call("tcrt_tokenizer_load", || {
        // SAFETY: this function's contract, as the header states it.
        let (file, out) = unsafe { (self::path(path)?, Out::new("tokenizer", tokenizer)?) };
        let loaded = Tokenizer::from_bytes(&Mapping::open(file)?).map_err(|error| error.in_place(file.display()))?;
        out.write(handle::new(loaded));
        Ok(())
    })
}

/// As tcrt_tokenizer_load, from memory, which is not needed afterwards. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_tokenizer_load_memory(
    data: *const u8,
    data_size: usize,
    tokenizer: *mut *mut tcrt_tokenizer,
) -> tcrt_status {
    call("tcrt_tokenizer_load_memory", || {
        // SAFETY: this function's contract, as the header states it.
        let (bytes, out) = unsafe { (list("data", data, data_size)?, Out::new("tokenizer", tokenizer)?) };
        out.write(handle::new(Tokenizer::from_bytes(bytes)?));
        Ok(())
    })
}

/// Frees a tokenizer; NULL is fine. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_tokenizer_free(tokenizer: *mut tcrt_tokenizer) -> tcrt_status {
    call("tcrt_tokenizer_free", || handle::free::<Tokenizer>(tokenizer))
}

/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_tokenizer_get_info(
    tokenizer: *mut tcrt_tokenizer,
    info: *mut tcrt_tokenizer_info,
) -> tcrt_status {
    call("tcrt_tokenizer_get_info", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Results::new(info)? };
        let tokenizer = handle::get::<Tokenizer>(tokenizer)?;
        out.write(&tcrt_tokenizer_info {
            size: 0,
            version: 0,
            vocab: tokenizer.vocab_size() as u32,
            bos: tokenizer.bos().unwrap_or(TCRT_NO_TOKEN),
            eos: tokenizer.eos().unwrap_or(TCRT_NO_TOKEN),
            adds_bos: u32::from(tokenizer.adds_bos()),
        });
        Ok(())
    })
}

/// The tokens of `text`, `text_size` bytes of UTF-8. `flags`: 0, TCRT_PARSE_SPECIAL or TCRT_PROMPT.
///
/// `*count` becomes the number of tokens. With `tokens` NULL and `capacity` 0 nothing else happens; a buffer that is too small is
/// TCRT_BUFFER_TOO_SMALL and stays as it is. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_tokenize(
    tokenizer: *mut tcrt_tokenizer,
    text: *const c_char,
    text_size: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> tcrt_status {
    call("tcrt_tokenize", || {
        // SAFETY: this function's contract, as the header states it.
        let (bytes, out) =
            unsafe { (list("text", text.cast::<u8>(), text_size)?, Buffer::new(tokens, capacity, count)?) };
        check_flags(flags, TCRT_PARSE_SPECIAL | TCRT_PROMPT)?;
        let text = utf8("text", bytes)?;
        let tokenizer = handle::get::<Tokenizer>(tokenizer)?;
        let tokens = match flags {
            0 => tokenizer.encode(text, Special::AsText),
            TCRT_PARSE_SPECIAL => tokenizer.encode(text, Special::Parse),
            _ => prompt::plain(&tokenizer, text),
        };
        out.fill(&tokens)
    })
}

/// The text of tokens. It may be cut inside a character where the tokens are. `flags`: 0 or TCRT_SHOW_SPECIAL.
///
/// `*size` becomes the bytes of the text; the buffer must have room for one more, a NUL. With `text` NULL and `capacity` 0 nothing else
/// happens; a buffer that is too small is TCRT_BUFFER_TOO_SMALL and stays as it is. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_detokenize(
    tokenizer: *mut tcrt_tokenizer,
    tokens: *const u32,
    count: usize,
    flags: u32,
    text: *mut c_char,
    capacity: usize,
    size: *mut usize,
) -> tcrt_status {
    call("tcrt_detokenize", || {
        // SAFETY: this function's contract, as the header states it.
        let (tokens, out) = unsafe { (list("tokens", tokens, count)?, Buffer::new(text, capacity, size)?) };
        check_flags(flags, TCRT_SHOW_SPECIAL)?;
        let tokenizer = handle::get::<Tokenizer>(tokenizer)?;
        out.fill_text(&tokenizer.decode_with(tokens, flags == 0))
    })
}

/// What a token stands for inside a text: bytes, which may begin or end inside a character. Buffers are as for tcrt_detokenize. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_token_bytes(
    tokenizer: *mut tcrt_tokenizer,
    token: u32,
    bytes: *mut c_char,
    capacity: usize,
    size: *mut usize,
) -> tcrt_status {
    call("tcrt_token_bytes", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Buffer::new(bytes, capacity, size)? };
        let tokenizer = handle::get::<Tokenizer>(tokenizer)?;
        match tokenizer.token_bytes(token) {
            Some(bytes) => out.fill_text(bytes),
            None => fail(TCRT_INVALID_ARGUMENT, format!("there is no token {token}")),
        }
    })
}

pub fn check_flags(flags: u32, known: u32) -> Outcome {
    match flags & !known {
        0 => Ok(()),
        unknown => fail(TCRT_INVALID_ARGUMENT, format!("flags: {unknown:#x} means nothing here")),
    }
}
