//! The kernels: their ABI, the packed weight layouts, and hand-written implementations.

pub mod abi;
mod cpu;
/// Contexts that are cut into segments, as who runs kernels must know them.
pub mod cut {
    pub use crate::cpu::cut::{bytes, is_worth_it};
}
pub mod exp;
pub mod half;
pub mod layout;
pub mod measure;
pub mod pack;
pub mod signature;
pub mod table;
pub mod trellis;
