//! Random numbers for names and seeds, from the keys that the standard library draws for its hash maps.

use std::hash::{BuildHasher, Hasher, RandomState};

pub fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A name that no other answer has.
pub fn id(prefix: &str) -> String {
    format!("{prefix}{:016x}{:016x}", number(), number())
}
