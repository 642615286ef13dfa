//! x86-64 Linux. AVX2, FMA and F16C have been in every server and desktop CPU since 2015 (Haswell, Zen).

use super::{Layout, ObjectFormat, Target};

pub const TARGET: Target = Target {
    name: "x86_64-linux",
    triple: "x86_64-unknown-linux-gnu",
    object: ObjectFormat::Elf,
    pointer_bytes: 8,
    features: &["avx2", "fma", "f16c"],
    vector_bytes: 32,
    layouts: &[Layout::Rows16],
};
