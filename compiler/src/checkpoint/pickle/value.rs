//! What a pickle may hold.

use super::super::error::{Result, error};

/// The place of a value in its [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub(super) usize);

#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits, little-endian.
    Long(&'a [u8]),
    Float(f64),
    Text(&'a str),
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(TensorRef<'a>),
    /// Something of no interest: a set, a device.
    Opaque,
}

/// The names that a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV3,
    RebuildParameter,
    /// A class of typed storages, or a dtype.
    Dtype(Dtype),
    Untyped,
    Size,
    Device,
}

/// A dtype's size, and its name where weights may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dtype {
    pub name: &'static str,
    pub bytes: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Storage<'a> {
    pub key: &'a str,
    pub dtype: Dtype,
    pub elements: usize,
}

/// Elements of a storage, by strides in elements.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorRef<'a> {
    pub storage: Storage<'a>,
    pub dtype: Dtype,
    pub offset: usize,
    pub size: Vec<usize>,
    pub stride: Vec<usize>,
}

const DTYPES: &[(&str, &str, Dtype)] = &[
    ("FloatStorage", "float32", Dtype { name: "f32", bytes: 4 }),
    ("HalfStorage", "float16", Dtype { name: "f16", bytes: 2 }),
    ("BFloat16Storage", "bfloat16", Dtype { name: "bf16", bytes: 2 }),
    ("DoubleStorage", "float64", Dtype { name: "f64", bytes: 8 }),
    ("LongStorage", "int64", Dtype { name: "int64", bytes: 8 }),
    ("IntStorage", "int32", Dtype { name: "int32", bytes: 4 }),
    ("ShortStorage", "int16", Dtype { name: "int16", bytes: 2 }),
    ("CharStorage", "int8", Dtype { name: "int8", bytes: 1 }),
    ("ByteStorage", "uint8", Dtype { name: "uint8", bytes: 1 }),
    ("BoolStorage", "bool", Dtype { name: "bool", bytes: 1 }),
    ("ComplexFloatStorage", "complex64", Dtype { name: "complex64", bytes: 8 }),
    ("ComplexDoubleStorage", "complex128", Dtype { name: "complex128", bytes: 16 }),
];

/// A tuple may be memoized and used again and again; only what is this short is ever copied.
pub const MAX_ARGUMENTS: usize = 16;

pub const UNTYPED: Dtype = Dtype { name: "untyped", bytes: 1 };

impl Global {
    pub fn named(module: &str, name: &str) -> Result<Global> {
        let dtype = DTYPES.iter().find(|(storage, dtype, _)| name == *storage || name == *dtype);
        let refused = || error!("its pickle asks for {module}.{name}, which is not on the list of harmless names");
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Ok(Global::RebuildTensor),
            ("torch._utils", "_rebuild_tensor_v3") => Ok(Global::RebuildTensorV3),
            ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
            ("torch" | "torch.storage", "UntypedStorage") => Ok(Global::Untyped),
            ("torch", "Size") => Ok(Global::Size),
            ("torch", "device") => Ok(Global::Device),
            ("torch", _) => dtype.map(|(_, _, dtype)| Global::Dtype(*dtype)).ok_or_else(refused),
            _ => Err(refused()),
        }
    }
}

/// All values of a pickle.
#[derive(Debug)]
pub struct Arena<'a> {
    pub(super) values: Vec<Value<'a>>,
}

impl<'a> Arena<'a> {
    pub fn get(&self, id: Id) -> &Value<'a> {
        // Ids are made by `add` alone, and values are never removed.
        &self.values[id.0]
    }

    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under a key of a dict.
    pub fn entry(&self, dict: Id, key: &str) -> Option<Id> {
        let entries = self.dict(dict)?;
        entries.iter().find(|(k, _)| self.get(*k) == &Value::Text(key)).map(|(_, value)| *value)
    }

    /// Every storage that the pickle names.
    pub fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    pub fn add(&mut self, value: Value<'a>) -> Id {
        self.values.push(value);
        Id(self.values.len() - 1)
    }
}
