//! A reader of Python's pickles that builds plain data and nothing else.
//!
//! A pickle is a program for a stack machine that may name any function and have it called. Here nothing is ever called: the few
//! names that PyTorch's checkpoints need stand for data, and any other name is an error that says it. Values lie in an arena and
//! refer to each other by index, so that neither cycles nor depth matter; each opcode makes at most one value, so that
//! memory is bounded by the length of the pickle.

mod value;

use std::collections::HashMap;

use super::error::{CheckpointError, Result, error};
use super::file::Cursor;
pub use value::{Arena, Id, Storage, TensorRef, Value};
use value::{Global, MAX_ARGUMENTS, UNTYPED};

/// Reads one pickle, up to and including its STOP.
pub fn read<'a>(cursor: &mut Cursor<'a>) -> Result<(Arena<'a>, Id)> {
    let arena = Arena { values: Vec::new() };
    let mut machine = Machine { arena, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        let at = cursor.position();
        let done = machine.step(cursor).map_err(|e| e.at(format_args!("pickle byte {at}")))?;
        if let Some(root) = done {
            return Ok((machine.arena, root));
        }
    }
}

struct Machine<'a> {
    arena: Arena<'a>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Does one instruction; STOP gives the result.
    fn step(&mut self, cursor: &mut Cursor<'a>) -> Result<Option<Id>> {
        let opcode = cursor.u8()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => self.protocol(cursor.u8()?)?,
            0x95 => drop(cursor.u64()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => self.stack.push(self.top()?),
            b'q' => self.memoize(u32::from(cursor.u8()?))?,
            b'r' => self.memoize(cursor.u32()?)?,
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'h' => self.recall(u32::from(cursor.u8()?))?,
            b'j' => self.recall(cursor.u32()?)?,
            b't' | 0x85..=0x87 | b'l' | b'd' | 0x91 => self.collect(opcode)?,
            b'a' | b'e' | b's' | b'u' | 0x90 => self.extend(opcode)?,
            b'c' | 0x93 => self.global(opcode, cursor)?,
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            _ => {
                let value = plain(opcode, cursor)?;
                self.push(value);
            }
        }
        Ok(None)
    }

    fn push(&mut self, value: Value<'a>) {
        let id = self.arena.add(value);
        self.stack.push(id);
    }

    fn pop(&mut self) -> Result<Id> {
        // A mark is below everything that comes after it.
        match self.marks.last() {
            Some(mark) if *mark >= self.stack.len() => Err(error!("takes a mark for a value")),
            _ => self.stack.pop().ok_or_else(|| error!("takes a value that is not there")),
        }
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| error!("takes a value that is not there"))
    }

    /// Everything since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        mark.map(|mark| self.stack.split_off(mark)).ok_or_else(|| error!("takes a mark that is not there"))
    }

    fn protocol(&self, version: u8) -> Result<()> {
        match version {
            2..=5 => Ok(()),
            _ => Err(error!("is of protocol {version}; 2 to 5 are supported")),
        }
    }

    fn memoize(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        let id = self.memo.get(&key).copied().ok_or_else(|| error!("recalls {key}, which it never memoized"))?;
        self.stack.push(id);
        Ok(())
    }

    /// A container made of what is on the stack.
    fn collect(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0..=opcode - 0x85 {
                    items.push(self.pop()?);
                }
                items.reverse();
                items
            }
            _ => self.pop_mark()?,
        };
        let value = match opcode {
            b'l' => Value::List(items),
            b'd' => Value::Dict(pairs(&items)?),
            0x91 => Value::Opaque,
            _ => Value::Tuple(items),
        };
        self.push(value);
        Ok(())
    }

    /// Puts what is on the stack into the container below it.
    fn extend(&mut self, opcode: u8) -> Result<()> {
        let mut items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let container = self.top()?;
        match (opcode, &mut self.arena.values[container.0]) {
            (b'a' | b'e', Value::List(list)) => list.append(&mut items),
            (b's' | b'u', Value::Dict(dict)) => dict.append(&mut pairs(&items)?),
            (0x90, Value::Opaque) => {}
            _ => return Err(error!("puts items into something that is no container")),
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8, cursor: &mut Cursor<'a>) -> Result<()> {
        let (module, name) = match opcode {
            b'c' => (line(cursor)?, line(cursor)?),
            _ => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.arena.get(module), self.arena.get(name)) {
                    (Value::Text(module), Value::Text(name)) => (*module, *name),
                    _ => return Err(error!("names something by what is no name")),
                }
            }
        };
        let global = Global::named(module, name)?;
        self.push(Value::Global(global));
        Ok(())
    }

    /// PyTorch's persistent ids: `("storage", class, key, location, elements[, view])`.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let storage = self.storage(id).ok_or_else(|| error!("has a persistent id that is no storage"))?;
        self.push(Value::Storage(storage));
        Ok(())
    }

    fn storage(&self, id: Id) -> Option<Storage<'a>> {
        let Value::Tuple(items) = self.arena.get(id) else { return None };
        let mut items = items.iter().map(|item| self.arena.get(*item));
        let (kind, class, key, _location) = (items.next()?, items.next()?, items.next()?, items.next()?);
        let (elements, view) = (items.next()?, items.next());
        let dtype = match class {
            Value::Global(Global::Dtype(dtype)) => *dtype,
            Value::Global(Global::Untyped) => UNTYPED,
            _ => return None,
        };
        match (kind, key, elements, view) {
            (Value::Text("storage"), Value::Text(key), Value::Int(elements), None | Some(Value::None)) => {
                Some(Storage { key, dtype, elements: usize::try_from(*elements).ok()? })
            }
            _ => None,
        }
    }

    /// Stands for a call of a name on the list.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let arguments = match self.arena.get(arguments) {
            Value::Tuple(arguments) if arguments.len() <= MAX_ARGUMENTS => arguments.clone(),
            _ => return Err(error!("calls something with what are no arguments")),
        };
        let Value::Global(global) = *self.arena.get(callable) else {
            return Err(error!("calls something that is no name"));
        };
        let bad = || error!("calls {global:?} with arguments that make no sense");
        match global {
            Global::OrderedDict if arguments.is_empty() => self.push(Value::Dict(Vec::new())),
            Global::RebuildTensor | Global::RebuildTensorV3 => {
                let tensor = self.tensor(global, &arguments).ok_or_else(bad)?;
                self.push(Value::Tensor(tensor));
            }
            Global::RebuildParameter | Global::Size => self.stack.push(*arguments.first().ok_or_else(bad)?),
            Global::Device => self.push(Value::Opaque),
            Global::OrderedDict | Global::Dtype(_) | Global::Untyped => return Err(bad()),
        }
        Ok(())
    }

    /// `(storage, offset, size, stride, requires_grad, hooks[, dtype][, metadata])`; version 3 names the dtype.
    fn tensor(&self, global: Global, arguments: &[Id]) -> Option<TensorRef<'a>> {
        let argument = |at: usize| arguments.get(at).map(|id| self.arena.get(*id));
        let Value::Storage(storage) = argument(0)?.clone() else { return None };
        let Value::Int(offset) = argument(1)? else { return None };
        let dtype = match (global, argument(6)) {
            (Global::RebuildTensorV3, Some(Value::Global(Global::Dtype(dtype)))) => *dtype,
            (Global::RebuildTensorV3, _) => return None,
            _ => storage.dtype,
        };
        let (size, stride) = (self.sizes(argument(2)?)?, self.sizes(argument(3)?)?);
        let offset = usize::try_from(*offset).ok()?;
        (size.len() == stride.len()).then_some(TensorRef { storage, dtype, offset, size, stride })
    }

    fn sizes(&self, tuple: &Value) -> Option<Vec<usize>> {
        let Value::Tuple(items) = tuple else { return None };
        if items.len() > MAX_ARGUMENTS {
            return None;
        }
        let size = |item: &Id| match self.arena.get(*item) {
            Value::Int(int) => usize::try_from(*int).ok(),
            _ => None,
        };
        items.iter().map(size).collect()
    }

    /// Attributes of a dict (a state dict's `_metadata`) do not matter; nothing else has any.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        let object = self.top()?;
        match self.arena.get(object) {
            Value::Dict(_) | Value::Tensor(_) => Ok(()),
            _ => Err(error!("sets attributes of something that has none")),
        }
    }
}

/// Instructions that push a value of their own.
fn plain<'a>(opcode: u8, cursor: &mut Cursor<'a>) -> Result<Value<'a>> {
    Ok(match opcode {
        b'N' => Value::None,
        0x88 => Value::Bool(true),
        0x89 => Value::Bool(false),
        b'J' => Value::Int(i64::from(cursor.i32()?)),
        b'K' => Value::Int(i64::from(cursor.u8()?)),
        b'M' => Value::Int(i64::from(cursor.u16()?)),
        0x8a => {
            let len = usize::from(cursor.u8()?);
            long(cursor.take(len)?)
        }
        0x8b => {
            let len = cursor.u32()? as usize;
            long(cursor.take(len)?)
        }
        b'G' => Value::Float(f64::from_be_bytes(cursor.array()?)),
        b'U' | 0x8c => {
            let len = usize::from(cursor.u8()?);
            text(cursor.take(len)?)?
        }
        b'T' | b'X' => {
            let len = cursor.u32()? as usize;
            text(cursor.take(len)?)?
        }
        0x8d => {
            let len = cursor.length()?;
            text(cursor.take(len)?)?
        }
        b'C' => bytes(usize::from(cursor.u8()?), cursor)?,
        b'B' => bytes(cursor.u32()? as usize, cursor)?,
        0x8e | 0x96 => bytes(cursor.length()?, cursor)?,
        b')' => Value::Tuple(Vec::new()),
        b']' => Value::List(Vec::new()),
        b'}' => Value::Dict(Vec::new()),
        0x8f => Value::Opaque,
        other => return Err(error!("has the instruction {other:#04x}, which is not supported")),
    })
}

/// Little-endian, two's complement.
fn long(bytes: &[u8]) -> Value<'_> {
    let mut wide = [if bytes.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 }; 8];
    match wide.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        }
        None => Value::Long(bytes),
    }
}

fn text(bytes: &[u8]) -> Result<Value<'_>> {
    std::str::from_utf8(bytes).map(Value::Text).map_err(|e| CheckpointError::new(e).at("a string"))
}

fn bytes<'a>(len: usize, cursor: &mut Cursor<'a>) -> Result<Value<'a>> {
    cursor.take(len).map(|_| Value::Bytes)
}

/// Up to a newline.
fn line<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str> {
    let len = cursor.rest().iter().position(|byte| *byte == b'\n');
    let line = cursor.take(len.ok_or_else(|| error!("has a name without an end"))?)?;
    cursor.u8()?;
    std::str::from_utf8(line).map_err(|e| CheckpointError::new(e).at("a name"))
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(error!("has a key without a value")),
    }
}
