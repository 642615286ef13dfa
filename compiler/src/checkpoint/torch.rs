//! What `torch.save` writes: since PyTorch 1.6 a zip archive with a pickle and one entry for each storage, before that five pickles
//! one after another and then the storages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::assemble::Found;
use super::encoding::Encoding;
use super::error::{CheckpointError, Result, error};
use super::file::{Cursor, SourceFile};
use super::pickle::{self, Arena, Id, Storage, TensorRef, Value};
use super::tensor::{Place, Tensor};
use super::zip;

/// `torch.serialization.MAGIC_NUMBER`, 0x1950a86a20f9469cfc6c, as a pickle of protocol 2.
const LEGACY: [u8; 14] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Where a storage's bytes lie.
type Storages = BTreeMap<String, Range<usize>>;

/// What else a file says, besides tensors.
#[derive(Debug, Default)]
pub struct Extra {
    /// `model_args` of a training checkpoint.
    pub model_args: Option<Json>,
}

pub fn recognise(bytes: &[u8]) -> bool {
    zip::recognise(bytes) || bytes.starts_with(&LEGACY)
}

/// Adds the tensors of a state dict, or of the `model` in a training checkpoint.
pub fn read(file: &Arc<SourceFile>, found: &mut Found) -> Result<Extra> {
    let bytes = file.bytes();
    let contents = match zip::recognise(bytes) {
        true => read_zip(bytes),
        false if bytes.starts_with(&LEGACY) => read_legacy(bytes),
        false => Err(error!("is neither a zip archive nor a pickle of PyTorch")),
    };
    let (arena, root, storages) = contents.map_err(|e| file.fault(e))?;
    let (state, extra) = state_dict(&arena, root).map_err(|e| file.fault(e))?;
    for (key, value) in state {
        let Value::Text(name) = arena.get(*key) else {
            return Err(file.fault(error!("its state dict has a key that is no name")));
        };
        let tensor = tensor(file, &storages, name, arena.get(*value));
        if found.insert(name.to_string(), tensor).is_some() {
            return Err(file.fault(error!("tensor {name}: is there twice")));
        }
    }
    Ok(extra)
}

fn read_zip(bytes: &[u8]) -> Result<(Arena<'_>, Id, Storages)> {
    let entries = zip::entries(bytes)?;
    let mut pickles = entries.iter().filter_map(|(name, range)| Some((name.strip_suffix("data.pkl")?, range)));
    let (prefix, pickle) = pickles.next().ok_or_else(|| error!("is a zip archive without a data.pkl"))?;
    if entries.get(&format!("{prefix}byteorder")).and_then(|range| bytes.get(range.clone())) == Some(b"big") {
        return Err(error!("was written by a big-endian machine"));
    }
    let (arena, root) = pickle::read(&mut Cursor::new(bytes.get(pickle.clone()).unwrap_or_default()))?;
    let data = format!("{prefix}data/");
    let storage =
        |(name, range): (&String, &Range<usize>)| Some((name.strip_prefix(&data)?.to_string(), range.clone()));
    Ok((arena, root, entries.iter().filter_map(storage).collect()))
}

/// Magic number, protocol, system, object, list of storage keys; then for each key its count of elements and its bytes.
fn read_legacy(bytes: &[u8]) -> Result<(Arena<'_>, Id, Storages)> {
    let mut cursor = Cursor::new(bytes);
    for what in ["magic number", "protocol", "system"] {
        pickle::read(&mut cursor).map_err(|e| e.at(what))?;
    }
    let (arena, root) = pickle::read(&mut cursor)?;
    let (keys, list) = pickle::read(&mut cursor).map_err(|e| e.at("the list of storages"))?;
    let Value::List(list) = keys.get(list) else { return Err(error!("its list of storages is no list")) };
    let sizes: BTreeMap<&str, usize> = arena.storages().map(|storage| (storage.key, storage.dtype.bytes)).collect();
    let mut storages = Storages::new();
    for key in list {
        let Value::Text(key) = keys.get(*key) else { return Err(error!("its list of storages has what is no key")) };
        let size = sizes.get(key).ok_or_else(|| error!("storage {key}: no tensor uses it"))?;
        let fault = |e: CheckpointError| e.at(format_args!("storage {key}"));
        let len = cursor.length().map_err(fault)?.checked_mul(*size);
        cursor.take(len.ok_or_else(|| fault(error!("is too long")))?).map_err(fault)?;
        storages.insert(key.to_string(), cursor.position() - len.unwrap_or(0)..cursor.position());
    }
    Ok((arena, root, storages))
}

/// The dict of tensors: the root, or what is under `model` or `state_dict` there.
fn state_dict<'r>(arena: &'r Arena, root: Id) -> Result<(&'r [(Id, Id)], Extra)> {
    let nested =
        ["model", "state_dict"].iter().find_map(|key| arena.entry(root, key).filter(|id| arena.dict(*id).is_some()));
    let state = arena.dict(nested.unwrap_or(root)).ok_or_else(|| error!("holds no dict of tensors"))?;
    let arguments = arena.entry(root, "model_args").filter(|_| nested.is_some());
    let model_args = arguments.and_then(|id| arena.dict(id)).map(|entries| flat_json(arena, entries));
    Ok((state, Extra { model_args: model_args.transpose()? }))
}

/// A dict of plain values as JSON.
fn flat_json(arena: &Arena, entries: &[(Id, Id)]) -> Result<Json> {
    let mut object = Map::new();
    for (key, value) in entries {
        let Value::Text(key) = arena.get(*key) else { return Err(error!("model_args: has a key that is no name")) };
        let value = match arena.get(*value) {
            Value::None => Json::Null,
            Value::Bool(bool) => Json::from(*bool),
            Value::Int(int) => Json::from(*int),
            Value::Float(float) => Json::from(*float),
            Value::Text(text) => Json::from(*text),
            _ => return Err(error!("model_args: \"{key}\" is no plain value")),
        };
        object.insert(key.to_string(), value);
    }
    Ok(Json::Object(object))
}

fn tensor(file: &Arc<SourceFile>, storages: &Storages, name: &str, value: &Value) -> Result<Tensor> {
    let fault = |e: CheckpointError| file.fault(e.at(format_args!("tensor {name}")));
    let Value::Tensor(tensor) = value else { return Err(fault(error!("is no tensor"))) };
    let encoding = match tensor.dtype.name {
        "f32" => Encoding::F32,
        "f16" => Encoding::F16,
        "bf16" => Encoding::Bf16,
        "f64" => Encoding::F64,
        "int8" => Encoding::I8,
        "int32" => Encoding::I32,
        "int64" => Encoding::I64,
        other => return Err(fault(error!("dtype {other} is not one that weights have"))),
    };
    let range = stored_range(storages, &tensor.storage).map_err(fault)?;
    let elements = (range.end - range.start) / encoding.block_bytes();
    let first = first_element(tensor, elements).map_err(fault)?;
    let offset = range.start + first * encoding.block_bytes();
    // The strides are within the storage wherever there is more than one element along them.
    let bytes = |stride: usize| stride.saturating_mul(encoding.block_bytes());
    let strides = match tensor.stride[..] {
        [row] => [bytes(row), encoding.block_bytes()],
        [row, col] => [bytes(row), bytes(col)],
        _ => return Err(fault(error!("shape {:?} is neither a vector nor a matrix", tensor.size))),
    };
    Tensor::strided(name, &tensor.size, Place { file: Arc::clone(file), offset, encoding }, strides)
}

fn stored_range(storages: &Storages, storage: &Storage) -> Result<Range<usize>> {
    let key = storage.key;
    let range = storages.get(key).ok_or_else(|| error!("its storage {key} is missing"))?;
    let len = storage.elements.checked_mul(storage.dtype.bytes);
    match len.is_some_and(|len| len <= range.len()) {
        true => Ok(range.start..range.start + len.unwrap_or(0)),
        false => Err(error!("its storage {key} has {} bytes, too few for {} elements", range.len(), storage.elements)),
    }
}

/// The offset, after checking that the last element lies within the storage as well.
fn first_element(tensor: &TensorRef, elements: usize) -> Result<usize> {
    let reach =
        tensor.size.iter().zip(&tensor.stride).try_fold(tensor.offset, |reach, (size, stride)| {
            reach.checked_add(size.checked_sub(1)?.checked_mul(*stride)?)
        });
    match reach {
        Some(last) if last < elements => Ok(tensor.offset),
        _ => Err(error!(
            "{:?} by strides {:?} from {} on reaches beyond its storage of {elements}",
            tensor.size, tensor.stride, tensor.offset
        )),
    }
}
