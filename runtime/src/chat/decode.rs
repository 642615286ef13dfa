//! Reads a chat format from bytes that nobody has checked yet.

use super::encode::{
    ALL_FLAGS, HAS_LATE_SYSTEM, HAS_REASONING, MAGIC, MAY_END_WITH_REPLY, MUST_ALTERNATE, SKIP_EMPTY_SYSTEM,
    TRIM_JOINED, TRIM_NEWLINES, VERSION,
};
use super::{ChatFormat, Date, Piece, Reasoning, SystemPlace, Trim, Turn};
use crate::{Error, ErrorKind, Result};

impl ChatFormat {
    /// Reads what [`to_bytes`](Self::to_bytes) wrote, and nothing else: every byte is accounted for.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let format = reader.format().map_err(|e| e.in_place(format_args!("chat format, near byte {}", reader.at)))?;
        match bytes.len() - reader.at {
            0 => Ok(format),
            rest => Err(Error::invalid_file(format!("chat format: {rest} bytes follow its end"))),
        }
    }
}

/// `at` never passes the end of `bytes`.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn format(&mut self) -> Result<ChatFormat> {
        if self.take(4)? != MAGIC {
            self.at = 0;
            return Err(Error::invalid_file("not a chat format: it does not begin with TCCF"));
        }
        let version = self.u16()?;
        if version != VERSION {
            let message = format!("version {version} is unknown to this runtime, which reads {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let flags = self.u16()?;
        if flags & !ALL_FLAGS != 0 {
            return Err(Error::invalid_file(format!("flags {flags:#x} have unknown bits")));
        }
        let system_place = self.system_place()?;
        let (month, day, year) = (self.u8()?, self.u8()?, self.u16()?);
        let date = Date::new(year, month, day).map_err(|e| Error::invalid_file(e.to_string()))?;
        Ok(ChatFormat {
            system_place,
            date,
            opening: self.pieces()?,
            system: self.turn()?,
            user: self.turn()?,
            assistant: self.turn()?,
            generation: self.pieces()?,
            late_system: if flags & HAS_LATE_SYSTEM != 0 { Some(self.turn()?) } else { None },
            reasoning: self.reasoning(flags)?,
            stop_tokens: self.strings()?,
            stop_strings: self.strings()?,
            trim_joined: flags & TRIM_JOINED != 0,
            skip_empty_system: flags & SKIP_EMPTY_SYSTEM != 0,
            must_alternate: flags & MUST_ALTERNATE != 0,
            may_end_with_reply: flags & MAY_END_WITH_REPLY != 0,
        })
    }

    fn system_place(&mut self) -> Result<SystemPlace> {
        match self.u8()? {
            0 => Ok(SystemPlace::Refused),
            1 => Ok(SystemPlace::OwnTurn),
            2 => Ok(SystemPlace::FirstUser),
            3 => Ok(SystemPlace::LastUser),
            place => Err(Error::invalid_file(format!("unknown place of the system message {place}"))),
        }
    }

    fn reasoning(&mut self, flags: u16) -> Result<Option<Reasoning>> {
        let trim_newlines = flags & TRIM_NEWLINES != 0;
        match (flags & HAS_REASONING != 0, trim_newlines) {
            (true, _) => Ok(Some(Reasoning { close: self.filled_string("end of reasoning")?, trim_newlines })),
            (false, true) => Err(Error::invalid_file("flags trim the newlines of a reasoning that is not there")),
            (false, false) => Ok(None),
        }
    }

    fn turn(&mut self) -> Result<Turn> {
        let trim = self.u8()?;
        if trim > 3 {
            return Err(Error::invalid_file(format!("unknown trim {trim}")));
        }
        let trim = Trim { start: trim & 1 != 0, end: trim & 2 != 0 };
        Ok(Turn { trim, prefix: self.pieces()?, suffix: self.pieces()? })
    }

    fn pieces(&mut self) -> Result<Vec<Piece>> {
        self.list(|r| match r.u8()? {
            0 => Ok(Piece::Special(r.filled_string("special token")?)),
            1 => Ok(Piece::Text(r.string()?)),
            2 => {
                let format = r.string()?;
                Date::DEFAULT.format(&format)?;
                Ok(Piece::Date(format))
            }
            kind => Err(Error::invalid_file(format!("unknown piece kind {kind}"))),
        })
    }

    fn strings(&mut self) -> Result<Vec<String>> {
        self.list(|r| r.filled_string("stop"))
    }

    /// Grows as items are read, so that a wrong count costs no more than the file's own size.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn filled_string(&mut self, what: &str) -> Result<String> {
        match self.string()? {
            s if s.is_empty() => Err(Error::invalid_file(format!("an empty {what}"))),
            s => Ok(s),
        }
    }

    fn string(&mut self) -> Result<String> {
        let len = self.u32()? as usize;
        let bytes = self.take(len)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid_file("text that is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| {
            Error::invalid_file(format!("truncated: {len} bytes are wanted and {} are left", rest.len()))
        })?;
        self.at += len;
        Ok(taken)
    }
}
