//! What the compiler knows of each target. A target is one small file of data; adding one is a file and a line in [`ALL`].
//!
//! A `.pte` runs on all of them: its weights lie in blocks of 16 rows, which suit every CPU here. What only native code needs
//! (triple, object format, features to compile for) is what tells them apart.

mod aarch64_linux;
mod x86_64_linux;

/// How a compiled object is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFormat {
    Elf,
}

/// A packed weight layout, by what it interleaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Blocks of 16 output rows: `kernels/src/layout.rs`.
    Rows16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// What `--target` calls it.
    pub name: &'static str,
    /// LLVM's and Cranelift's name for it.
    pub triple: &'static str,
    pub object: ObjectFormat,
    pub pointer_bytes: u32,
    /// CPU features that code may take for granted. What a CPU has beyond them is found when the kernels are chosen.
    pub features: &'static [&'static str],
    /// Bytes of the widest vector that `features` give.
    pub vector_bytes: u32,
    /// Weight layouts that its kernels read, best first.
    pub layouts: &'static [Layout],
}

pub const ALL: &[&Target] = &[&x86_64_linux::TARGET, &aarch64_linux::TARGET];

/// The target of this name or triple.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().copied().find(|target| target.name == name || target.triple == name)
}

/// The machine that this code was compiled for, if it is a target.
pub fn host() -> Option<&'static Target> {
    find(&format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_triples_are_unique() {
        for target in ALL {
            assert_eq!(find(target.name), Some(*target));
            assert_eq!(find(target.triple), Some(*target));
            assert!(target.vector_bytes.is_power_of_two() && !target.layouts.is_empty());
        }
        assert_eq!(find("vax-vms"), None);
    }
}
