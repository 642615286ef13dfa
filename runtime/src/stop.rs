//! Ends a reply at a stop string, wherever token boundaries fall.

use crate::{Error, Result};

/// Takes a reply's bytes piece by piece and passes on what cannot be part of a stop string any more.
///
/// The first stop string to be completed ends the reply, the longest if several end on the same byte; neither it nor anything after
/// it is passed on. What comes out does not depend on how the bytes were cut into pieces.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<Pattern>,
    /// The bytes not yet passed on: the longest end of the reply that begins some stop string.
    held: Vec<u8>,
    stopped: bool,
}

impl StopMatcher {
    pub fn new<S: AsRef<[u8]>>(stops: impl IntoIterator<Item = S>) -> Result<Self> {
        let stops = stops.into_iter().map(|s| Pattern::new(s.as_ref())).collect::<Result<_>>()?;
        Ok(Self { stops, held: Vec::new(), stopped: false })
    }

    /// Appends to `out` what `piece` makes safe, and says whether the reply has ended.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in piece {
            if self.stopped {
                break;
            }
            self.held.push(byte);
            let mut completed = 0;
            let mut begun = 0;
            for stop in &mut self.stops {
                match stop.advance(byte) {
                    n if n == stop.bytes.len() => completed = completed.max(n),
                    n => begun = begun.max(n),
                }
            }
            self.stopped = completed > 0;
            let keep = if self.stopped { completed } else { begun };
            out.extend(self.held.drain(..self.held.len() - keep));
        }
        if self.stopped {
            self.held.clear();
        }
        self.stopped
    }

    /// The reply ended otherwise (a stop token, the length): what was held back is text after all.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.stops.iter_mut().for_each(|stop| stop.matched = 0);
    }

    pub fn stopped(&self) -> bool {
        self.stopped
    }
}

/// One stop string as a Knuth-Morris-Pratt automaton, so that no text and no stop string can make matching slow.
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// For each prefix, the length of its longest proper prefix that also ends it.
    borders: Vec<usize>,
    /// How many of the pattern's bytes the text ends with; below `bytes.len()` between calls.
    matched: usize,
}

impl Pattern {
    fn new(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::invalid_argument("a stop string is empty"));
        }
        let mut borders = vec![0; bytes.len()];
        for i in 1..bytes.len() {
            borders[i] = extend(bytes, &borders, borders[i - 1], bytes[i]);
        }
        Ok(Self { bytes: bytes.to_vec(), borders, matched: 0 })
    }

    /// Takes a byte of the text, and returns how many bytes of the pattern it ends with now.
    fn advance(&mut self, byte: u8) -> usize {
        let matched = extend(&self.bytes, &self.borders, self.matched, byte);
        // The reply ends at a full match, so there is no state after one.
        self.matched = if matched == self.bytes.len() { 0 } else { matched };
        matched
    }
}

fn extend(pattern: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && pattern[matched] != byte {
        matched = borders[matched - 1];
    }
    if pattern[matched] == byte { matched + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything passed on before the end, then whether it stopped.
    fn run(stops: &[&str], pieces: &[&[u8]]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops).unwrap();
        let mut out = Vec::new();
        let stopped = pieces.iter().any(|piece| matcher.push(piece, &mut out));
        matcher.finish(&mut out);
        (String::from_utf8(out).unwrap(), stopped)
    }

    #[test]
    fn stops_within_and_across_pieces() {
        assert_eq!(run(&["</s>"], &[b"hello</s>world"]), ("hello".into(), true));
        assert_eq!(run(&["</s>"], &[b"hello<", b"/", b"s>world", b"more"]), ("hello".into(), true));
        assert_eq!(run(&["</s>"], &[b"a<", b"/b"]), ("a</b".into(), false));
        assert_eq!(run(&[], &[b"a", b"b"]), ("ab".into(), false));
        // A failed beginning holds the true beginning.
        assert_eq!(run(&["aab"], &[b"aa", b"a", b"b"]), ("a".into(), true));
        assert_eq!(run(&["é"], &["x".as_bytes(), &[0xc3], &[0xa9]]), ("x".into(), true));
    }

    #[test]
    fn the_first_completed_wins_and_the_longest_of_those() {
        assert_eq!(run(&["abcd", "bc"], &[b"abcd"]), ("a".into(), true));
        assert_eq!(run(&["bc", "abc"], &[b"xabc"]), ("x".into(), true));
    }

    #[test]
    fn holds_back_no_more_than_a_beginning() {
        let mut matcher = StopMatcher::new(["\nUser:"]).unwrap();
        let mut out = Vec::new();
        assert!(!matcher.push(b"one\nUs", &mut out));
        assert_eq!(out, b"one");
        assert!(!matcher.push(b"a\n", &mut out));
        assert_eq!(out, b"one\nUsa");
        assert!(matcher.push(b"User: two", &mut out));
        assert!(matcher.push(b"three", &mut out), "what has stopped stays stopped");
        matcher.finish(&mut out);
        assert_eq!(out, b"one\nUsa");
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        assert_eq!(StopMatcher::new(["a", ""]).unwrap_err().to_string(), "a stop string is empty");
    }

    /// The first position at which some stop string ends decides; the longest one ending there is cut off.
    fn reference(stops: &[&[u8]], text: &[u8]) -> (Vec<u8>, bool) {
        for end in 1..=text.len() {
            let longest = stops.iter().filter(|s| text[..end].ends_with(s)).map(|s| s.len()).max();
            if let Some(len) = longest {
                return (text[..end - len].to_vec(), true);
            }
        }
        (text.to_vec(), false)
    }

    #[test]
    fn agrees_with_a_plain_search_however_the_text_is_cut() {
        let mut rng = crate::sampling::Rng::new(5);
        let mut random = |alphabet: u64, len: u64| -> Vec<u8> {
            (0..len).map(|_| b'a' + (rng.next_u64() % alphabet) as u8).collect()
        };
        for case in 0..3000u64 {
            let stops: Vec<Vec<u8>> = (0..case % 4).map(|i| random(2, 1 + (case / 4 + i * 3) % 6)).collect();
            let stops: Vec<&[u8]> = stops.iter().map(Vec::as_slice).collect();
            let text = random(3, case % 40);
            let mut matcher = StopMatcher::new(&stops).unwrap();
            let mut out = Vec::new();
            let stopped = text.chunks(1 + case as usize % 5).any(|piece| matcher.push(piece, &mut out));
            matcher.finish(&mut out);
            assert_eq!((out, stopped), reference(&stops, &text), "{stops:?} in {text:?}");
        }
    }
}
