//! As much of the protobuf wire format as SentencePiece's model needs.

pub enum Value<'t> {
    Varint(u64),
    Bytes(&'t [u8]),
    Fixed32([u8; 4]),
    Fixed64,
}

impl<'t> Value<'t> {
    pub fn bytes(&self) -> Option<&'t [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn varint(&self) -> Option<u64> {
        match self {
            Value::Varint(value) => Some(*value),
            _ => None,
        }
    }

    pub fn flag(&self) -> Option<bool> {
        self.varint().map(|value| value != 0)
    }

    pub fn float(&self) -> Option<f32> {
        match self {
            Value::Fixed32(bytes) => Some(f32::from_le_bytes(*bytes)),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&'t str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

/// The fields of a message in order; `None` once the bytes make no sense.
pub struct Fields<'t> {
    rest: &'t [u8],
}

pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'t> Iterator for Fields<'t> {
    type Item = Option<(u64, Value<'t>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'t> Fields<'t> {
    fn field(&mut self) -> Option<(u64, Value<'t>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(*self.take(4)?.first_chunk()?),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take(&mut self, len: usize) -> Option<&'t [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
