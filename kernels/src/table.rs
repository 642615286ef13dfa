//! Every kernel with its variants, and the choice among them.

use core::fmt;

use crate::abi::{Run, Tasks};
#[cfg(target_arch = "aarch64")]
use crate::cpu::arm::neon::Neon;
use crate::cpu::drive::{self, tasks};
use crate::cpu::scalar::Scalar;
use crate::cpu::scalar::elementwise as ops;
#[cfg(target_arch = "x86_64")]
use crate::cpu::x86::{amx::Amx, avx2::Avx2, avx512::Avx512, avxvnni::AvxVnni, mirror::Mirror};

/// What variants are written for, oldest to shiniest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2,
    /// And AVX-VNNI.
    AvxVnni,
    /// And AVX-512 (F, BW, VL) with VNNI.
    Avx512,
    /// And AMX's tiles of bytes and bf16, with AVX-512 BF16.
    Amx,
    /// aarch64's vectors.
    Neon,
}

impl Tier {
    /// Those of this architecture.
    #[cfg(target_arch = "x86_64")]
    pub const ALL: &[Tier] = &[Tier::Scalar, Tier::Avx2, Tier::AvxVnni, Tier::Avx512, Tier::Amx];
    #[cfg(target_arch = "aarch64")]
    pub const ALL: &[Tier] = &[Tier::Scalar, Tier::Neon];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub const ALL: &[Tier] = &[Tier::Scalar];

    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::AvxVnni => "avxvnni",
            Tier::Avx512 => "avx512",
            Tier::Amx => "amx",
            Tier::Neon => "neon",
        }
    }

    pub fn from_name(name: &str) -> Option<Tier> {
        Tier::ALL.iter().copied().find(|tier| tier.name() == name)
    }

    pub fn needs(self) -> Features {
        match self {
            Tier::Scalar => Features::NONE,
            Tier::Avx2 => Features::AVX2.with(Features::FMA).with(Features::F16C),
            Tier::AvxVnni => Tier::Avx2.needs().with(Features::AVXVNNI),
            Tier::Avx512 => Tier::Avx2
                .needs()
                .with(Features::AVX512F)
                .with(Features::AVX512BW)
                .with(Features::AVX512VL)
                .with(Features::AVX512VNNI),
            Tier::Amx => Tier::Avx512.needs().with(Features::AMX),
            Tier::Neon => Features::NEON,
        }
    }
}

/// A set of CPU features that variants ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    pub const NONE: Features = Features(0);
    pub const AVX2: Features = Features(1);
    pub const FMA: Features = Features(1 << 1);
    pub const F16C: Features = Features(1 << 2);
    pub const AVX512F: Features = Features(1 << 3);
    pub const AVX512BW: Features = Features(1 << 4);
    pub const AVX512VL: Features = Features(1 << 5);
    pub const AVX512VNNI: Features = Features(1 << 6);
    pub const AVXVNNI: Features = Features(1 << 7);
    pub const NEON: Features = Features(1 << 8);
    pub const AMX: Features = Features(1 << 9);

    const NAMES: [(Features, &'static str); 10] = [
        (Features::AVX2, "avx2"),
        (Features::FMA, "fma"),
        (Features::F16C, "f16c"),
        (Features::AVX512F, "avx512f"),
        (Features::AVX512BW, "avx512bw"),
        (Features::AVX512VL, "avx512vl"),
        (Features::AVX512VNNI, "avx512vnni"),
        (Features::AVXVNNI, "avxvnni"),
        (Features::AMX, "amx"),
        (Features::NEON, "neon"),
    ];

    /// What the CPU that we run on has.
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> Features {
        Features::found([
            (Features::AVX2, is_x86_feature_detected!("avx2")),
            (Features::FMA, is_x86_feature_detected!("fma")),
            (Features::F16C, is_x86_feature_detected!("f16c")),
            (Features::AVX512F, is_x86_feature_detected!("avx512f")),
            (Features::AVX512BW, is_x86_feature_detected!("avx512bw")),
            (Features::AVX512VL, is_x86_feature_detected!("avx512vl")),
            (Features::AVX512VNNI, is_x86_feature_detected!("avx512vnni")),
            (Features::AVXVNNI, is_x86_feature_detected!("avxvnni")),
            (Features::AMX, crate::cpu::x86::amx::usable()),
        ])
    }

    #[cfg(target_arch = "aarch64")]
    pub fn detect() -> Features {
        Features::found([(Features::NEON, std::arch::is_aarch64_feature_detected!("neon"))])
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn detect() -> Features {
        Features::NONE
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn found<const N: usize>(all: [(Features, bool); N]) -> Features {
        let found = all.into_iter().filter(|(_, found)| *found);
        found.fold(Features::NONE, |features, (feature, _)| features.with(feature))
    }

    pub const fn with(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }

    pub const fn has(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// As if the CPU had nothing newer than `tier`.
    pub fn limited_to(self, tier: Tier) -> Features {
        Features(self.0 & tier.needs().0)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut names = Features::NAMES.into_iter().filter(|(feature, _)| self.has(*feature)).map(|(_, name)| name);
        f.write_str(names.next().unwrap_or("none"))?;
        names.try_for_each(|name| write!(f, " {name}"))
    }
}

/// One implementation of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub tier: Tier,
    pub run: Run,
}

/// A kernel: `variants[0]` is the scalar reference, later ones are preferred.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    pub name: &'static str,
    pub tasks: Tasks,
    pub variants: &'static [Variant],
}

/// What `select` found.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub kernel: &'static str,
    pub variant: &'static str,
    pub run: Run,
    pub tasks: Tasks,
}

/// A kernel that is the same everywhere.
macro_rules! plain {
    ($run:expr) => {
        &[Variant { tier: Tier::Scalar, run: $run }]
    };
}

/// A kernel generic over the instruction set, and perhaps over the planes of its Q8 rows; `tiled` where AMX has something to add.
macro_rules! tiers {
    (tiled $run:ident $(, $planes:literal)?) => {
        tiers!(
            @ $run [$(, $planes)?]
            #[cfg(target_arch = "x86_64")]
            Variant { tier: Tier::Amx, run: drive::$run::<Amx $(, $planes)?> },
        )
    };
    ($run:ident $(, $planes:literal)?) => {
        tiers!(@ $run [$(, $planes)?])
    };
    (@ $run:ident [$($planes:tt)*] $($tiled:tt)*) => {
        &[
            Variant { tier: Tier::Scalar, run: drive::$run::<Scalar $($planes)*> },
            #[cfg(target_arch = "x86_64")]
            Variant { tier: Tier::Avx2, run: drive::$run::<Avx2 $($planes)*> },
            #[cfg(target_arch = "x86_64")]
            Variant { tier: Tier::AvxVnni, run: drive::$run::<AvxVnni $($planes)*> },
            #[cfg(target_arch = "x86_64")]
            Variant { tier: Tier::Avx512, run: drive::$run::<Avx512 $($planes)*> },
            $($tiled)*
            #[cfg(target_arch = "aarch64")]
            Variant { tier: Tier::Neon, run: drive::$run::<Neon $($planes)*> },
        ]
    };
}

/// In the order of `signature::SIGNATURES`.
pub const KERNELS: &[Kernel] = &[
    // One row of a table for each token: too little work to gain from vectors.
    Kernel { name: "embed", tasks: tasks::tokens, variants: plain!(drive::embed) },
    Kernel { name: "rope_table", tasks: tasks::tokens, variants: plain!(drive::rope_table) },
    Kernel { name: "rms_norm", tasks: tasks::norm, variants: tiers!(rms_norm) },
    Kernel { name: "rms_norm_q8", tasks: tasks::norm, variants: tiers!(rms_norm_q8, 1) },
    Kernel { name: "rms_norm_q8x2", tasks: tasks::norm, variants: tiers!(rms_norm_q8, 2) },
    Kernel { name: "quantize_q8", tasks: tasks::quantize, variants: tiers!(quantize_q8, 1) },
    Kernel { name: "quantize_q8x2", tasks: tasks::quantize, variants: tiers!(quantize_q8, 2) },
    Kernel { name: "linear", tasks: tasks::linear, variants: tiers!(tiled linear) },
    Kernel { name: "linear_q8", tasks: tasks::linear, variants: tiers!(tiled linear_q8, 1) },
    Kernel { name: "linear_q8x2", tasks: tasks::linear, variants: tiers!(tiled linear_q8, 2) },
    Kernel { name: "swiglu", tasks: tasks::swiglu, variants: tiers!(swiglu) },
    Kernel { name: "swiglu_q8", tasks: tasks::swiglu, variants: tiers!(swiglu_q8, 1) },
    Kernel { name: "swiglu_q8x2", tasks: tasks::swiglu, variants: tiers!(swiglu_q8, 2) },
    Kernel { name: "rope_kv", tasks: tasks::rope_kv, variants: tiers!(rope_kv) },
    Kernel { name: "attention", tasks: tasks::attention, variants: tiers!(attention) },
    Kernel { name: "gather_rows", tasks: tasks::rows, variants: plain!(drive::gather_rows) },
    Kernel { name: "concat_cols", tasks: tasks::tokens, variants: plain!(drive::concat_cols) },
    Kernel { name: "add", tasks: tasks::elementwise, variants: plain!(drive::elementwise::<ops::Add>) },
    Kernel { name: "mul", tasks: tasks::elementwise, variants: plain!(drive::elementwise::<ops::Mul>) },
    Kernel { name: "silu", tasks: tasks::elementwise, variants: plain!(drive::elementwise::<ops::Silu>) },
    Kernel { name: "scale", tasks: tasks::elementwise, variants: plain!(drive::elementwise::<ops::Scale>) },
];

/// Kernels that no instruction of a program names: they cut an instruction's work in other tasks, or are for where it is known that there
/// is one token.
pub const PARTS: &[Kernel] = &[
    Kernel { name: "attention_segments", tasks: tasks::attention_segments, variants: tiers!(attention_segments) },
    Kernel { name: "linear_q8_one", tasks: tasks::linear, variants: tiers!(linear_q8_one) },
    Kernel { name: "swiglu_q8_groups", tasks: tasks::swiglu_groups, variants: tiers!(swiglu_q8_groups, 1) },
    Kernel { name: "swiglu_q8x2_groups", tasks: tasks::swiglu_groups, variants: tiers!(swiglu_q8_groups, 2) },
];

/// The kernel that does the same in smaller tasks, by groups of columns or segments of contexts, where there is one.
pub fn in_parts(kernel: &str) -> Option<&'static str> {
    if kernel == "attention" { Some("attention_segments") } else { by_groups(kernel) }
}

/// The kernel that does the same by groups of columns, where there is one.
pub fn by_groups(kernel: &str) -> Option<&'static str> {
    match kernel {
        "swiglu_q8" => Some("swiglu_q8_groups"),
        "swiglu_q8x2" => Some("swiglu_q8x2_groups"),
        _ => None,
    }
}

/// The best variant of a kernel for a CPU with these features; None where no kernel has the name.
pub fn select(name: &str, features: Features) -> Option<Chosen> {
    let kernel = KERNELS.iter().chain(PARTS).find(|kernel| kernel.name == name)?;
    let best = kernel.variants.iter().rev().find(|variant| features.has(variant.tier.needs()))?;
    Some(Chosen { kernel: kernel.name, variant: best.tier.name(), run: best.run, tasks: kernel.tasks })
}

/// The arithmetic that the tiers of `linear_q8` share, without vectors; never selected: tests hold the tiers to it.
#[cfg(target_arch = "x86_64")]
pub const LINEAR_Q8_MIRROR: Chosen =
    Chosen { kernel: "linear_q8", variant: "mirror", run: drive::linear_q8::<Mirror, 1>, tasks: tasks::linear };

/// Weights that are worth a thread's trip to the counter, some microseconds of them: before a portion's first weights and after its last
/// ones, memory has nothing to do for a moment.
pub const PORTION_BYTES: usize = 64 << 10;

/// How many tasks a thread should take at a time: few enough that a slow thread does not hold the rest for long, many
/// enough that taking them costs little, and at least `least`, but that each thread gets some. Shares are whole portions; the largest is
/// no more than a sixteenth over what is fair.
pub fn grain(tasks: u32, threads: u32, least: u32) -> u32 {
    const TURNS: u32 = 8;
    let threads = threads.max(1);
    let each = tasks.div_ceil(threads).max(1);
    let fair = |portion: &u32| 16 * portion * tasks.div_ceil(*portion).div_ceil(threads) <= 17 * each;
    let most = (each / least.max(1)).clamp(1, TURNS);
    let mut portions = (2..=most).rev().map(|turns| (tasks / (threads * turns)).max(1));
    portions.find(fair).unwrap_or(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::SIGNATURES;

    #[test]
    fn the_table_has_every_signature_in_order() {
        assert!(KERNELS.iter().map(|k| k.name).eq(SIGNATURES.iter().map(|s| s.name)));
        assert!(KERNELS.iter().chain(PARTS).all(|k| crate::abi::args_size(k.name).is_some()));
    }

    #[test]
    fn variants_go_from_scalar_to_shiniest() {
        for kernel in KERNELS.iter().chain(PARTS) {
            assert_eq!(kernel.variants[0].tier, Tier::Scalar, "{}", kernel.name);
            assert!(kernel.variants.is_sorted_by_key(|v| v.tier), "{}", kernel.name);
        }
    }

    #[test]
    fn portions_are_as_many_for_all_threads_and_worth_their_while() {
        // (tasks, threads, least) and what a thread takes.
        for ((tasks, threads, least), portion) in [
            ((36, 2, 25), 18),
            ((36, 2, 1), 2),
            ((60, 2, 12), 15),
            ((60, 2, 1), 3),
            // Eights would be five, and one thread would have three of them.
            ((33, 2, 8), 17),
            ((33, 2, 1), 2),
            ((192, 2, 12), 12),
            ((192, 2, 1), 12),
            ((3, 2, 1), 1),
            ((5, 4, 1), 1),
            ((3, 2, 50), 2),
            ((1, 4, 1), 1),
            ((0, 2, 1), 1),
        ] {
            assert_eq!(grain(tasks, threads, least), portion, "{tasks} tasks, {threads} threads, {least} at least");
        }
    }

    #[test]
    fn a_tier_can_be_forced() {
        let scalar = select("linear", Features::detect().limited_to(Tier::Scalar));
        assert_eq!(scalar.map(|c| c.variant), Some("scalar"));
        assert!(select("nothing", Features::detect()).is_none());
    }
}
