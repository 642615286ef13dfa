use super::handle::{self, Behind};
use super::log::{TCRT_LOG_INFO, log};
use super::memory::{Buffer, Out, list, path, text};
use super::status::tcrt_status::TCRT_INVALID_ARGUMENT;
use super::status::{call, fail, tcrt_status};
use super::versioned::{Results, versioned};
use crate::Model;
use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

/// A loaded artifact. Its sessions, tokenizers and samplers do not need the handle any more once they are made: freeing it first
/// is fine, and the artifact goes with the last of them.
pub struct tcrt_model {
    _private: (),
}

impl Behind for Arc<Model> {
    type Handle = tcrt_model;
    const NAME: &'static str = "model";
}

/// What is worth knowing about a model. Set `size` and `version` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_model_info {
    pub size: u32,
    pub version: u32,
    pub vocab: u32,
    /// Positions that the model was made for.
    pub max_positions: u32,
    pub layers: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    /// 1 where the artifact holds a tokenizer.
    pub has_tokenizer: u32,
    /// 1 where the artifact holds a chat format.
    pub has_chat: u32,
    pub reserved: u32,
    pub weight_bytes: u64,
    pub file_bytes: u64,
    /// Nanoseconds that loading took.
    pub load_ns: u64,
}

versioned!(tcrt_model_info, "tcrt_model_info", 64);

/// Loads the artifact at `path`, a .pte or a .so. A .pte is verified completely; a .so is code, and loading one is trusting it.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_model_load(path: *const c_char, model: *mut *mut tcrt_model) -> tcrt_status {
    call("tcrt_model_load", || {
        // SAFETY: this function's contract, as the header states it.
        let (file, out) = unsafe { (self::path(path)?, Out::new("model", model)?) };
        out.write(made(Model::load(file)?));
        Ok(())
    })
}

/// Loads a .pte from memory, which is copied: `data` is not needed afterwards. `name`, which may be NULL, is what messages call it.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_model_load_memory(
    data: *const u8,
    data_size: usize,
    name: *const c_char,
    model: *mut *mut tcrt_model,
) -> tcrt_status {
    call("tcrt_model_load_memory", || {
        // SAFETY: this function's contract, as the header states it.
        let (bytes, out) = unsafe { (list("data", data, data_size)?, Out::new("model", model)?) };
        let name = match name.is_null() {
            true => "memory",
            // SAFETY: this function's contract, as the header states it.
            false => unsafe { text("name", name)? },
        };
        out.write(made(Model::from_bytes(bytes, name)?));
        Ok(())
    })
}

fn made(model: Arc<Model>) -> *mut tcrt_model {
    let info = model.info();
    log(
        TCRT_LOG_INFO,
        &format!("{}: {} bytes of weights, loaded in {:?}", model.name(), info.weight_bytes, info.load_time),
    );
    handle::new(model)
}

/// Frees a model; NULL is fine. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_model_free(model: *mut tcrt_model) -> tcrt_status {
    call("tcrt_model_free", || handle::free::<Arc<Model>>(model))
}

/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_model_get_info(model: *mut tcrt_model, info: *mut tcrt_model_info) -> tcrt_status {
    call("tcrt_model_get_info", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Results::new(info)? };
        let model = handle::get::<Arc<Model>>(model)?;
        let known = model.info();
        out.write(&tcrt_model_info {
            size: 0,
            version: 0,
            vocab: known.vocab as u32,
            max_positions: known.max_positions as u32,
            layers: known.cache.layers,
            kv_heads: known.cache.kv_heads,
            head_dim: known.cache.head_dim,
            has_tokenizer: u32::from(!model.tokenizer_bytes().is_empty()),
            has_chat: u32::from(model.chat_format()?.is_some()),
            reserved: 0,
            weight_bytes: known.weight_bytes,
            file_bytes: known.file_bytes,
            load_ns: nanoseconds(known.load_time),
        });
        Ok(())
    })
}

/// What the artifact says of itself under `key` (such as "name", "recipe", "writer"); with `key` NULL, all keys, one a line.
/// A key that the artifact lacks is TCRT_INVALID_ARGUMENT. Buffers are as for tcrt_detokenize. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_model_metadata(
    model: *mut tcrt_model,
    key: *const c_char,
    value: *mut c_char,
    capacity: usize,
    size: *mut usize,
) -> tcrt_status {
    call("tcrt_model_metadata", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Buffer::new(value, capacity, size)? };
        let model = handle::get::<Arc<Model>>(model)?;
        let metadata = &model.info().metadata;
        if key.is_null() {
            let keys: Vec<&str> = metadata.iter().map(|(key, _)| key.as_str()).collect();
            return out.fill_text(keys.join("\n").as_bytes());
        }
        // SAFETY: this function's contract, as the header states it.
        let key = unsafe { text("key", key)? };
        match metadata.iter().find(|(known, _)| known == key) {
            Some((_, value)) => out.fill_text(value.as_bytes()),
            None => fail(TCRT_INVALID_ARGUMENT, format!("{}: has no metadata {key:?}", model.name())),
        }
    })
}

pub fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
