//! Trellis-coded numbers that make good each other's errors: GPTQ, and the descent after it.

use tc_kernels::abi::ACT_GROUP;
use tc_kernels::trellis::MEMORY;

use super::search::{Code, Ends, LANES, Place, WINDOW, Work};
use super::{scales_from, state_after};
use crate::checkpoint::{Grid, GridRow};
use crate::linalg::Factor;

/// `feedback[k][t]` of the columns that are number `begin..end` of a factor.
fn feedback(factor: &Factor, begin: usize, end: usize) -> Vec<[f32; WINDOW]> {
    let row = |k: usize| {
        let mut row = [0.0; WINDOW];
        row[k + 1 - begin..end - begin].copy_from_slice(&factor.right_of(k)[..end - k - 1]);
        row
    };
    (begin..end).map(row).collect()
}

/// Puts some rows on the grid, a step of their columns at a time, where each looks ahead into the next. `targets` has the columns in the code's
/// order, and so has `factor`.
pub fn compensate(
    grid: Grid,
    factor: &Factor,
    order: &[usize],
    weights: &[f32],
    targets: &mut [f32],
    rows: &mut [GridRow],
) {
    let Some(code) = grid.kind.format().and_then(Code::of) else { return };
    let (size, mut work, mut starts) = (order.len(), Work::new(), vec![0; rows.len()]);
    for begin in (0..size).step_by(ACT_GROUP) {
        let (end, seen) = (begin + ACT_GROUP, size.min(begin + WINDOW));
        let feedback = feedback(factor, begin, seen);
        for first in (0..rows.len()).step_by(LANES) {
            let lanes: [usize; LANES] = std::array::from_fn(|lane| (first + lane).min(rows.len() - 1));
            let scales = scales_from(grid, begin / ACT_GROUP, seen - begin, |lane| &rows[lanes[lane]]);
            let place = |at: usize| Place {
                weight: lanes.map(|row| weights[row * size + order[at]]),
                target: lanes.map(|row| targets[row * size + at]),
                scale: scales[(at - begin) / ACT_GROUP],
                cost: [factor.pivots()[at]; LANES],
            };
            let places: Vec<Place> = (begin..seen).map(place).collect();
            let start = Some(lanes.map(|row| starts[row]));
            let found = work.search(&code, &places, &feedback, Ends { start, end: None });
            for (lane, (row, found)) in (first..rows.len()).zip(found).enumerate() {
                starts[row] = found.state_after(ACT_GROUP);
                let mut errors = [0.0; ACT_GROUP];
                for (i, &col) in order[begin..end].iter().enumerate() {
                    rows[row].q[col] = found.q[i];
                    errors[i] = places[i].weight[lane] - places[i].scale[lane] * found.levels[i];
                }
                factor.add_rows(begin, &errors, end, &mut targets[row * size + end..(row + 1) * size]);
            }
        }
    }
}

/// What may change of rows together: two steps' numbers, all others staying as they are.
pub struct Window {
    /// The window's columns in the code's order, from `begin` on.
    begin: usize,
    pub columns: Vec<usize>,
    /// Of the second moments of these.
    pub factor: Factor,
    feedback: Vec<[f32; WINDOW]>,
}

/// A row: what its window's columns are, and the values that would be best for them while all others stay.
pub struct Wanted<'a> {
    pub row: &'a mut GridRow,
    pub levels: Vec<f32>,
    pub ideal: Vec<f32>,
}

impl Window {
    /// None where the moments do not say what is best.
    pub fn new(hessian: &[f32], order: &[usize], begin: usize) -> Option<Window> {
        let size = order.len();
        let columns = order[begin..size.min(begin + WINDOW)].to_vec();
        let moments = columns.iter().flat_map(|i| columns.iter().map(move |j| hessian[i * size + j])).collect();
        let factor = Factor::new(moments, columns.len())?;
        Some(Window { begin, feedback: feedback(&factor, 0, columns.len()), columns, factor })
    }

    /// Looks for better numbers of up to `LANES` rows, with which the rows' others still mean what they did, and takes them. `levels` become those of the row.
    pub fn improve(&self, grid: Grid, code: &Code, rows: &mut [Wanted], work: &mut Work) {
        let (begin, count) = (self.begin, self.columns.len());
        let lanes: [usize; LANES] = std::array::from_fn(|lane| lane.min(rows.len() - 1));
        let scales = scales_from(grid, begin / ACT_GROUP, count, |lane| &*rows[lanes[lane]].row);
        let places: Vec<Place> = (0..count)
            .map(|i| {
                let ideal = lanes.map(|row| rows[row].ideal[i]);
                Place {
                    weight: ideal,
                    target: ideal,
                    scale: scales[i / ACT_GROUP],
                    cost: [self.factor.pivots()[i]; LANES],
                }
            })
            .collect();
        let step = |row: &GridRow, first: usize| state_after(&row.q[first..first + ACT_GROUP]);
        let start = lanes.map(|row| if begin == 0 { 0 } else { step(rows[row].row, begin - ACT_GROUP) });
        let end = lanes.map(|row| self.state_at_end(rows[row].row));
        let last = begin + count == rows[0].row.q.len();
        let ends = Ends { start: Some(start), end: (!last).then_some(end) };
        let found = work.search(code, &places, &self.feedback, ends);
        for (lane, (row, found)) in rows.iter_mut().zip(found).enumerate() {
            if found.cost < self.cost(&places, lane, &row.levels) * (1.0 - 1e-5) {
                self.columns.iter().zip(&found.q).for_each(|(col, q)| row.row.q[*col] = *q);
                row.levels.copy_from_slice(&found.levels[..count]);
            }
        }
    }

    /// The window may end within a step.
    fn state_at_end(&self, row: &GridRow) -> u8 {
        let last = &self.columns[self.columns.len() - MEMORY as usize..];
        last.iter().enumerate().fold(0, |state, (i, col)| state | (row.q[*col] as u8 & 1) << i)
    }

    /// What the search would say of these levels.
    fn cost(&self, places: &[Place], lane: usize, levels: &[f32]) -> f32 {
        let (mut errors, mut cost) = ([0.0; WINDOW], 0.0);
        for (t, place) in places.iter().enumerate() {
            errors[t] = place.weight[lane] - place.scale[lane] * levels[t];
            let made_good: f32 = (0..t).map(|k| self.feedback[k][t] * errors[k]).sum();
            cost += place.cost[lane] * (errors[t] + made_good).powi(2);
        }
        cost
    }
}
