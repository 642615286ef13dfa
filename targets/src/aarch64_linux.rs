//! 64-bit Arm Linux. NEON is part of the architecture; dot products and half-precision arithmetic came with Armv8.2.

use super::{Layout, ObjectFormat, Target};

pub const TARGET: Target = Target {
    name: "aarch64-linux",
    triple: "aarch64-unknown-linux-gnu",
    object: ObjectFormat::Elf,
    pointer_bytes: 8,
    features: &["neon"],
    vector_bytes: 16,
    layouts: &[Layout::Rows16],
};
