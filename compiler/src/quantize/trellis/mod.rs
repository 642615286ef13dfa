//! Trellis-coded numbers ([`tc_kernels::trellis`]): whole rows of them are found together, since each decides what the next may be.

mod compensate;
mod row;
mod scales;
mod search;

pub use compensate::{Wanted, Window, compensate};
pub use row::put;
pub use scales::choose_scales;
pub use search::{Code, LANES, WINDOW, Work};

use tc_kernels::abi::ACT_GROUP;
use tc_kernels::trellis::{MEMORY, dword, input};

/// Columns in the order in which the code passes them. The last step is whole.
pub fn order(cols: usize) -> Vec<usize> {
    (0..cols).map(|at| at / ACT_GROUP * ACT_GROUP + input(at % ACT_GROUP)).collect()
}

/// The state after a step's numbers: their last bits, the latest one highest.
pub fn state_after(q: &[i8]) -> u8 {
    let mut step = [0; ACT_GROUP];
    step.iter_mut().zip(q).for_each(|(step, q)| *step = *q as u8);
    (dword(&step) >> (32 - MEMORY)) as u8
}

#[cfg(test)]
mod tests;
