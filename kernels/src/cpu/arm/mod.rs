//! aarch64.

pub mod neon;
