//! The kernels: their ABI, the packed weight layouts, and hand-written implementations.

pub mod abi;
mod cpu;
pub mod exp;
pub mod half;
pub mod layout;
pub mod measure;
pub mod pack;
pub mod signature;
pub mod table;
pub mod trellis;
