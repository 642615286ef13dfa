//! The kernels: their ABI, the packed weight layouts, and hand-written implementations.

pub mod abi;
pub mod layout;
pub mod signature;
