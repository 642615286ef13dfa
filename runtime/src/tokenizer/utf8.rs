//! Bytes come in any portions, whole characters go out.

/// Turns a stream of bytes into text without ever splitting a character. What can never become UTF-8 is replaced by
/// U+FFFD exactly as `String::from_utf8_lossy` would, however the bytes were portioned.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    /// The beginning of a character whose end has not come yet: at most 3 bytes between calls.
    pending: Vec<u8>,
}

impl Utf8Stream {
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that `bytes` completes.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let broken = chunk.invalid();
            if broken.is_empty() || (done + broken.len() == self.pending.len() && may_continue(broken)) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += broken.len();
        }
        self.pending.drain(..done);
        text
    }

    /// What is left at the end of the stream: U+FFFD for a character that was never finished, or nothing.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

/// Whether `bytes`, which are not UTF-8, are the beginning of some character.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_portions_give_the_lossy_text() {
        let samples: [&[u8]; 6] = [
            "héllo 👩‍👩‍👧 漢字".as_bytes(),
            b"\xf0\x9f\x92",
            b"a\xffb\xc3",
            b"\xe2\x28\xa1",
            b"\xf0\x9f\x41\xed\xa0\x80",
            b"\xc0\x80\xf5",
        ];
        for sample in samples {
            for size in 1..=sample.len() {
                let mut stream = Utf8Stream::new();
                let mut text: String = sample.chunks(size).map(|part| stream.push(part)).collect();
                text += &stream.finish();
                assert_eq!(text, String::from_utf8_lossy(sample), "{sample:?} by {size}");
            }
        }
    }

    #[test]
    fn a_character_comes_when_it_is_whole() {
        let mut stream = Utf8Stream::new();
        assert_eq!(stream.push(b"\xe6\xbc"), "");
        assert_eq!(stream.push(b"\xa2!"), "漢!");
        assert_eq!(stream.finish(), "");
    }
}
