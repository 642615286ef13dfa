use super::*;

fn cache(context: usize, sequences: usize) -> KvCache {
    let cache = Cache { layers: 1, kv_heads: 1, head_dim: 2 };
    KvCache::new(KvShape::new(cache, KvType::F32, context, sequences)).unwrap()
}

impl KvCache {
    fn append(&mut self, id: SeqId, value: u8, count: usize) {
        self.grow(id, count).unwrap();
        for position in self.len(id).unwrap()..self.len(id).unwrap() + count {
            let at = self.place(id, position);
            self.memory.bytes_mut(at, 8).unwrap().fill(value);
        }
        self.advance(id, count);
    }

    /// Where position's key lies in this shape.
    fn place(&self, id: SeqId, position: usize) -> usize {
        let block = self.tables[self.entry(id, position / KV_BLOCK)] as usize;
        block * self.shape.block_bytes + position % KV_BLOCK * 8
    }

    fn content(&self, id: SeqId) -> Vec<u8> {
        let len = self.len(id).unwrap();
        (0..len).map(|position| self.memory.bytes(self.place(id, position), 8).unwrap()[0]).collect()
    }
}

#[test]
fn a_fork_shares_until_either_writes() {
    let mut kv = cache(256, 3);
    let a = kv.add().unwrap();
    kv.append(a, 1, 100);
    let b = kv.fork(a).unwrap();
    assert_eq!(kv.used_blocks(), 2, "a fork costs nothing");
    kv.append(b, 2, 1);
    assert_eq!(kv.used_blocks(), 3, "only the last, partial block was copied");
    kv.append(a, 3, 1);
    assert_eq!(kv.used_blocks(), 3, "the other is its only holder now");
    assert_eq!(kv.content(a), [vec![1; 100], vec![3]].concat());
    assert_eq!(kv.content(b), [vec![1; 100], vec![2]].concat());
    kv.remove(a).unwrap();
    assert_eq!(kv.content(b), [vec![1; 100], vec![2]].concat());
    kv.remove(b).unwrap();
    assert_eq!(kv.used_blocks(), 0);
}

#[test]
fn a_fork_at_a_block_boundary_copies_nothing() {
    let mut kv = cache(256, 2);
    let a = kv.add().unwrap();
    kv.append(a, 1, 128);
    let b = kv.fork(a).unwrap();
    kv.append(b, 2, 64);
    assert_eq!(kv.used_blocks(), 3);
    assert_eq!(kv.content(a), vec![1; 128]);
}

#[test]
fn a_rewound_fork_does_not_write_into_what_others_hold() {
    let mut kv = cache(256, 2);
    let a = kv.add().unwrap();
    kv.append(a, 1, 130);
    let b = kv.fork(a).unwrap();
    kv.truncate(b, 10).unwrap();
    kv.append(b, 2, 130);
    assert_eq!(kv.content(a), vec![1; 130]);
    assert_eq!(kv.content(b), [vec![1; 10], vec![2; 130]].concat());
}

#[test]
fn truncating_frees_blocks_and_growing_takes_them_again() {
    let mut kv = cache(256, 1);
    let a = kv.add().unwrap();
    kv.append(a, 1, 200);
    kv.truncate(a, 64).unwrap();
    assert_eq!(kv.used_blocks(), 1);
    kv.append(a, 2, 192);
    assert_eq!(kv.content(a), [vec![1; 64], vec![2; 192]].concat());
    assert_eq!(kv.blocks.touched(), 4, "freed blocks come before fresh ones");
    assert!(kv.truncate(a, 257).unwrap_err().to_string().contains("cannot rewind"));
}

#[test]
fn limits_are_errors_and_leave_everything_as_it_was() {
    let mut kv = cache(100, 2);
    let a = kv.add().unwrap();
    kv.append(a, 1, 90);
    let error = kv.grow(a, 11).unwrap_err();
    assert_eq!(error.kind, ErrorKind::LimitExceeded);
    assert_eq!(error.to_string(), "11 more tokens do not fit: the context is 100, 90 are taken");
    assert_eq!(kv.content(a), vec![1; 90]);
    let b = kv.fork(a).unwrap();
    assert_eq!(kv.add().unwrap_err().kind, ErrorKind::LimitExceeded);
    kv.append(a, 2, 10);
    kv.append(b, 3, 10);
    assert_eq!(kv.used_blocks(), 3, "the pool has room for all sequences at their longest");
}

#[test]
fn a_removed_sequence_is_recognised() {
    let mut kv = cache(64, 1);
    let a = kv.add().unwrap();
    kv.remove(a).unwrap();
    let b = kv.add().unwrap();
    assert!(kv.len(a).is_err() && kv.truncate(a, 0).is_err() && kv.fork(a).is_err() && kv.grow(a, 1).is_err());
    assert_eq!(kv.len(b).unwrap(), 0);
}

#[test]
fn a_pool_that_cannot_be_reserved_is_an_error() {
    let huge = Cache { layers: 4096, kv_heads: 4096, head_dim: 8 };
    let error = KvCache::new(KvShape::new(huge, KvType::F32, 1 << 28, 64)).err().unwrap();
    assert_eq!(error.kind, ErrorKind::LimitExceeded);
    assert!(error.to_string().starts_with("KV cache: cannot reserve"), "{error}");
}
