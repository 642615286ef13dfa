//! What is left to gain once every number has its place: numbers, scales and minima in turn become what is best while all others stay as
//! they are. The measure is `(w - ŵ) H (w - ŵ)ᵀ`, which each step lowers or leaves.
//!
//! Behdin et al. 2023 (QuantEase) do so with the numbers. Scales are found the same way: a change `δ` of a group's scale moves its columns
//! by `δ p`, where `p` are the points that its numbers stand for, and the best `δ` is `p·g / p H pᵀ` with `g = H (w - ŵ)`.

use super::as_f16;
use super::points::Points;
use super::trellis::{self, Code, Wanted, Window, Work};
use crate::checkpoint::{Grid, GridRow, Segment};
use crate::linalg::{add_combination, add_scaled, dot};

const SWEEPS: usize = 2;
/// Columns of `H` that stay in the cache while rows pass.
const BLOCK: usize = 32;

pub struct Descent<'a> {
    grid: Grid,
    points: Points,
    /// Symmetric, positive definite.
    hessian: &'a [f32],
    trellis: Option<Trellis>,
}

struct Trellis {
    code: Code,
    /// Of each step and the next.
    windows: Vec<Option<Window>>,
}

/// A row on its way.
struct State {
    values: Vec<f32>,
    /// What the numbers stand for, before scale and minimum.
    points: Vec<f32>,
    /// `H (w - ŵ)`: half of what the measure falls by for each step up of a column.
    pull: Vec<f32>,
}

/// What a factor of a segment may be.
#[derive(Clone, Copy)]
enum Part {
    Scale,
    Min,
}

impl<'a> Descent<'a> {
    pub fn new(grid: Grid, hessian: &'a [f32]) -> Option<Descent<'a>> {
        let format = grid.kind.format()?;
        let trellis = Code::of(format).map(|code| {
            let order = trellis::order(hessian.len().isqrt());
            let begins = (0..order.len()).step_by(grid.segment());
            Trellis { code, windows: begins.map(|begin| Window::new(hessian, &order, begin)).collect() }
        });
        Some(Descent { grid, points: Points::of(format), hessian, trellis })
    }

    /// `targets` are what the rows should be. Rows pass the columns together, so that those of `H` are read once for all of them.
    pub fn improve(&self, targets: &[f32], rows: &mut [GridRow]) {
        let size = targets.len() / rows.len();
        let (mut states, mut work) = (self.states(targets, rows), Work::new());
        for _ in 0..SWEEPS {
            let mut changed = false;
            for at in 0..size.div_ceil(self.grid.segment()) {
                for (row, state) in rows.iter_mut().zip(&mut states) {
                    self.factor(row, state, at, Part::Scale);
                    if self.points.format.min {
                        self.factor(row, state, at, Part::Min);
                    }
                    if self.trellis.is_none() {
                        changed |= self.numbers(row, state, at);
                    }
                }
                changed |= self.windows(rows, &mut states, at, &mut work);
            }
            if !changed {
                return;
            }
        }
    }

    fn states(&self, targets: &[f32], rows: &[GridRow]) -> Vec<State> {
        let size = targets.len() / rows.len();
        let state = |row: &GridRow| {
            let [mut values, mut points, pull] = [(); 3].map(|()| vec![0.0; size]);
            row.values(self.grid, &mut values);
            self.points.format.values(&row.q, |i, value| points[i] = value as f32);
            State { values, points, pull }
        };
        let mut states: Vec<State> = rows.iter().map(state).collect();
        let left = |(target, state): (&[f32], &State)| target.iter().zip(&state.values).map(|(a, b)| a - b).collect();
        let left: Vec<Vec<f32>> = targets.chunks_exact(size).zip(&states).map(left).collect();
        for (block, columns) in self.hessian.chunks(BLOCK * size).enumerate() {
            for (state, left) in states.iter_mut().zip(&left) {
                let left = &left[block * BLOCK..][..columns.len() / size];
                add_combination(&mut state.pull, left, columns, size);
            }
        }
        states
    }

    fn of_col(&self, col: usize, size: usize) -> &[f32] {
        &self.hessian[col * size..(col + 1) * size]
    }

    /// Whether any of the segment's changed.
    fn numbers(&self, row: &mut GridRow, state: &mut State, at: usize) -> bool {
        let Segment { begin, end, scale, min } = row.segment(self.grid, at);
        let mut changed = false;
        for col in begin..end {
            let of_col = self.of_col(col, state.values.len());
            let best = state.values[col] + state.pull[col] / of_col[col];
            let (q, value) = self.points.nearest(best, scale, min);
            if q != row.q[col] {
                add_scaled(&mut state.pull, state.values[col] - value, of_col);
                (row.q[col], state.values[col], changed) = (q, value, true);
                state.points[col] = self.points.of_number(q);
            }
        }
        changed
    }

    /// As [`Descent::numbers`], where they have a trellis: those of part `at` and of the next together.
    fn windows(&self, rows: &mut [GridRow], states: &mut [State], at: usize, work: &mut Work) -> bool {
        let Some(Trellis { code, windows }) = &self.trellis else { return false };
        let Some(window) = &windows[at] else { return false };
        let (size, columns) = (states[0].values.len(), &window.columns);
        let mut changed = false;
        for (rows, states) in rows.chunks_mut(trellis::LANES).zip(states.chunks_mut(trellis::LANES)) {
            let wanted = |(row, state): (_, &State)| {
                let mut ideal: Vec<f32> = columns.iter().map(|col| state.pull[*col]).collect();
                window.factor.solve(&mut ideal);
                ideal.iter_mut().zip(columns).for_each(|(ideal, col)| *ideal += state.values[*col]);
                Wanted { row, levels: columns.iter().map(|col| state.points[*col]).collect(), ideal }
            };
            let mut wanted: Vec<Wanted> = rows.iter_mut().zip(states.iter()).map(wanted).collect();
            window.improve(self.grid, code, &mut wanted, work);
            for (Wanted { row, levels, .. }, state) in wanted.iter().zip(states) {
                for (col, level) in columns.iter().zip(levels) {
                    if state.points[*col] == *level {
                        continue;
                    }
                    let value = row.segment(self.grid, col / self.grid.segment()).scale * level;
                    add_scaled(&mut state.pull, state.values[*col] - value, self.of_col(*col, size));
                    (state.values[*col], state.points[*col], changed) = (value, *level, true);
                }
            }
        }
        changed
    }

    /// Moves the scale or the minimum of segment `at` to where the measure is least, as far as it is a number that can be stored.
    fn factor(&self, row: &mut GridRow, state: &mut State, at: usize, part: Part) {
        let segment = &row.segment(self.grid, at);
        let (size, columns) = (state.values.len(), segment.begin..segment.end);
        let points: Vec<f32> = match part {
            Part::Scale => state.points[columns.clone()].to_vec(),
            Part::Min => vec![1.0; columns.len()],
        };
        let mut through = vec![0.0; size];
        add_combination(&mut through, &points, &self.hessian[columns.start * size..columns.end * size], size);
        let curvature = dot(&points, &through[columns.clone()]);
        let slope = dot(&points, &state.pull[columns.clone()]);
        if curvature <= 0.0 {
            return;
        }
        let step = self.step(row, at, segment, part, slope / curvature);
        if step * (step * curvature - 2.0 * slope) >= 0.0 {
            return;
        }
        self.take(row, at, segment, part, step);
        add_scaled(&mut state.pull, -step, &through);
        add_scaled(&mut state.values[columns], step, &points);
    }

    /// The change nearest to `ideal` after which the factor can be stored.
    fn step(&self, row: &GridRow, at: usize, segment: &Segment, part: Part, ideal: f32) -> f32 {
        let g = segment.begin / self.grid.group;
        let (now, unit, sub) = match part {
            Part::Scale => (segment.scale, row.scales[g], row.sub_scales.get(at)),
            Part::Min => (segment.min, row.mins[g], row.sub_mins.get(at)),
        };
        match sub {
            None => as_f16(now + ideal) - now,
            Some(_) if unit == 0.0 => 0.0,
            Some(sub) => {
                let sub = f32::from(*sub);
                unit * (f32::from(self.points.format.sub_scale(sub + ideal / unit)) - sub)
            }
        }
    }

    fn take(&self, row: &mut GridRow, at: usize, segment: &Segment, part: Part, step: f32) {
        let g = segment.begin / self.grid.group;
        let (factors, subs) = match part {
            Part::Scale => (&mut row.scales, &mut row.sub_scales),
            Part::Min => (&mut row.mins, &mut row.sub_mins),
        };
        match subs.get_mut(at) {
            None => factors[g] += step,
            Some(sub) => *sub += (step / factors[g]).round() as i8,
        }
    }
}
