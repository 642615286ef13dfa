//! Numbers for rows of which each column stands for itself.

use tc_kernels::abi::ACT_GROUP;

use super::scales::costs;
use super::search::{Code, Ends, LANES, Place, WINDOW, Work};
use super::{order, scales_from};
use crate::checkpoint::{Grid, GridRow};

/// Numbers for rows whose scales are chosen: some at a time, of which the last ones only show what the first will lead to.
pub fn put(grid: Grid, values: &[f32], importance: Option<&[f32]>, rows: &mut [GridRow]) {
    let Some(code) = grid.kind.format().and_then(Code::of) else { return };
    let (size, mut work) = (values.len() / rows.len(), Work::new());
    let (order, costs) = (order(size), costs(importance, size));
    for (values, rows) in values.chunks(LANES * size).zip(rows.chunks_mut(LANES)) {
        let lanes: [usize; LANES] = std::array::from_fn(|lane| lane.min(rows.len() - 1));
        let mut start = [0; LANES];
        for begin in (0..size).step_by(ACT_GROUP) {
            let window = &order[begin..size.min(begin + WINDOW)];
            let scales = scales_from(grid, begin / ACT_GROUP, window.len(), |lane| &rows[lanes[lane]]);
            let place = |(i, col): (usize, &usize)| {
                let weights = lanes.map(|row| values[row * size + col]);
                Place { weight: weights, target: weights, scale: scales[i / ACT_GROUP], cost: [costs[*col]; LANES] }
            };
            let places: Vec<Place> = window.iter().enumerate().map(place).collect();
            let found = work.search(&code, &places, &[], Ends { start: Some(start), end: None });
            start = std::array::from_fn(|lane| found[lane].state_after(ACT_GROUP));
            for (row, found) in rows.iter_mut().zip(found) {
                window[..ACT_GROUP].iter().zip(&found.q).for_each(|(col, q)| row.q[*col] = *q);
            }
        }
    }
}
