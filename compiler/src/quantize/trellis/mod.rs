//! Trellis-coded numbers ([`tc_kernels::trellis`]): whole rows of them are found together, since each decides what the next may be.

mod compensate;
mod row;
mod scales;
mod search;

pub use compensate::{Wanted, Window, compensate};
pub use row::put;
pub use scales::choose_scales;
pub use search::{Code, LANES, Work};

use search::Lanes;
use tc_kernels::abi::ACT_GROUP;
use tc_kernels::trellis::{MEMORY, dword, input};

use crate::checkpoint::{Grid, GridRow};

/// Columns in the order in which the code passes them. The last step is whole.
pub fn order(cols: usize) -> Vec<usize> {
    (0..cols).map(|at| at / ACT_GROUP * ACT_GROUP + input(at % ACT_GROUP)).collect()
}

/// The scales of the steps that a window touches whose first one is `step`, of a row in each lane.
fn scales_from<'a>(grid: Grid, step: usize, count: usize, row: impl Fn(usize) -> &'a GridRow) -> Vec<Lanes> {
    let of_step = |step| std::array::from_fn(|lane| row(lane).segment(grid, step).scale);
    (step..step + count.div_ceil(ACT_GROUP)).map(of_step).collect()
}

/// The state after a step's numbers: their last bits, the latest one highest.
pub fn state_after(q: &[i8]) -> u8 {
    let mut step = [0; ACT_GROUP];
    step.iter_mut().zip(q).for_each(|(step, q)| *step = *q as u8);
    (dword(&step) >> (32 - MEMORY)) as u8
}

#[cfg(test)]
mod tests;
