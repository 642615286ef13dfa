/// A 64-bit sum of bytes against accidents, not attacks; it does not depend on how they are portioned. FNV-1a over words of 8
/// bytes, the high half folded in because a product's low bits know nothing of it.
#[derive(Default)]
pub struct Checksum {
    state: u64,
    pending: [u8; 8],
    filled: usize,
    bytes: u64,
}

impl Checksum {
    pub fn add(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(8 - self.filled));
            self.pending[self.filled..][..head.len()].copy_from_slice(head);
            self.filled += head.len();
            bytes = rest;
            if self.filled < 8 {
                return;
            }
            self.word(self.pending);
        }
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(*word));
        self.pending = [0; 8];
        self.pending[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// The sum of everything, its length included.
    pub fn finish(mut self) -> u64 {
        self.word(self.pending);
        self.word(self.bytes.to_le_bytes());
        self.state
    }

    fn word(&mut self, word: [u8; 8]) {
        let mixed = (self.state ^ u64::from_le_bytes(word) ^ 0xcbf2_9ce4_8422_2325).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.state = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut sum = Checksum::default();
        pieces.into_iter().for_each(|piece| sum.add(piece));
        sum.finish()
    }

    #[test]
    fn portions_do_not_matter_and_every_byte_does() {
        let bytes: Vec<u8> = (0..100u8).collect();
        let whole = sum([&bytes[..]]);
        for size in 1..30 {
            assert_eq!(sum(bytes.chunks(size)), whole);
        }
        for at in 0..100 {
            let mut other = bytes.clone();
            other[at] ^= 0x80;
            assert_ne!(sum([&other[..]]), whole);
        }
        assert_ne!(sum([&bytes[..99]]), whole);
        assert_ne!(sum([&[0u8][..]]), sum([&[0u8, 0][..]]));
    }
}
