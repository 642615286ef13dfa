use tc_kernels::layout::{Format, Kind};

use super::search::{Ends, Found, Lanes, Place, WINDOW};
use super::*;
use crate::checkpoint::{Grid, GridRow};
use crate::quantize::nearest;
use crate::testing::noise;

const KINDS: [Kind; 3] = [Kind::T2, Kind::T3, Kind::T4];

fn format(kind: Kind) -> Format {
    kind.format().unwrap()
}

/// Places with other targets in each lane.
fn places(count: usize, seed: u32) -> Vec<Place> {
    let values = noise(seed, 4 * LANES * count);
    let lanes = |i: usize, of: fn(f32) -> f32| -> Lanes { std::array::from_fn(|lane| of(values[LANES * i + lane])) };
    let place = |i: usize| {
        let weight = lanes(4 * i, |x| 120.0 * x);
        let target = std::array::from_fn(|lane| weight[lane] + 30.0 * values[LANES * (4 * i + 1) + lane]);
        Place { weight, target, scale: lanes(4 * i + 2, |x| 1.2 + x), cost: lanes(4 * i + 3, |x| 1.1 + x) }
    };
    (0..count).map(place).collect()
}

/// The levels that numbers stand for after a state, bit by bit, and the state after them.
fn levels(format: Format, q: &[i8], state: u8) -> (Vec<f32>, u8) {
    let mut state = usize::from(state);
    let level = |q: &i8| {
        let (bit, before) = (*q as usize & 1, |count: usize| state >> (5 - count) & 1);
        let subset = (bit ^ before(2) ^ before(5)) << 1 | before(3);
        state = bit << 4 | state >> 1;
        format.value((*q as u8 >> 1) << 2 | subset as u8) as f32
    };
    (q.iter().map(level).collect(), state as u8)
}

/// What a search makes as small as it can.
fn cost(places: &[Place], feedback: &[[f32; WINDOW]], lane: usize, levels: &[f32]) -> f32 {
    let errors = |t: usize| places[t].weight[lane] - places[t].scale[lane] * levels[t];
    let square = |t: usize| {
        let made_good: f32 = feedback.iter().take(t).enumerate().map(|(k, feedback)| feedback[t] * errors(k)).sum();
        (places[t].target[lane] + made_good - places[t].scale[lane] * levels[t]).powi(2)
    };
    (0..places.len()).map(|t| places[t].cost[lane] * square(t)).sum()
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-4 * a.abs().max(b.abs())
}

/// Against every row of numbers there is.
#[test]
fn a_search_finds_the_best_numbers() {
    let format = format(Kind::T2);
    let (code, mut work) = (Code::of(format).unwrap(), Work::new());
    // Often enough for ways to end in every state.
    let free = (0..32).map(|start| (start, None));
    for (start, end) in free.chain([(7, Some(0)), (31, Some(22))]) {
        let places = places(6, u32::from(start) + 5);
        let ends = Ends { start: Some([start; LANES]), end: end.map(|end| [end; LANES]) };
        let found = *work.search(&code, &places, &[], ends);
        for (lane, found) in found.iter().enumerate() {
            let mut best = f32::INFINITY;
            for all in 0..1u32 << 12 {
                let q: Vec<i8> = (0..6).map(|t| (all >> (2 * t) & 3) as i8).collect();
                let (levels, state) = levels(format, &q, start);
                if end.is_none_or(|end| end == state) {
                    best = best.min(cost(&places, &[], lane, &levels));
                }
            }
            assert!(close(found.cost, best), "from {start} to {end:?}: {}, and {best} can be had", found.cost);
        }
    }
}

#[test]
fn what_a_search_returns_is_what_its_numbers_mean() {
    for (kind, count) in KINDS.into_iter().flat_map(|kind| [1, 5, 31, WINDOW].map(|count| (kind, count))) {
        let (format, places, mut work) = (format(kind), places(count, count as u32), Work::new());
        let factors = noise(3, WINDOW * WINDOW);
        let row = |k: usize| std::array::from_fn(|t| if t > k { 0.4 * factors[k * WINDOW + t] } else { 0.0 });
        let feedback: Vec<[f32; WINDOW]> = (0..count).map(row).collect();
        let code = Code::of(format).unwrap();
        for (start, feedback) in [(3, &feedback[..]), (0, &[])] {
            let found = *work.search(&code, &places, feedback, Ends { start: Some([start; LANES]), end: None });
            for (lane, Found { q, levels: said, cost: sum }) in found.iter().enumerate() {
                let (levels, state) = levels(format, &q[..count], start);
                assert_eq!(said[..count], levels, "{kind:?} {count}");
                assert!(close(*sum, cost(&places, feedback, lane, &levels)), "{kind:?} {count}: {sum}");
                assert!(count < 5 || found[lane].state_after(count) == state, "{kind:?} {count}: {state}");
            }
        }
        let free = *work.search(&code, &places, &[], Ends::default());
        assert_eq!(work.least_costs(&code, &places), free.map(|found| found.cost), "{kind:?} {count}");
    }
}

/// Of normally distributed numbers, as good as they are: 0.101, 0.025 and 0.0054 are what tables have.
#[test]
fn rows_are_better_than_a_table_makes_them() {
    let uniform = noise(8, 12 * 32 * 60);
    let row: Vec<f32> = uniform.chunks_exact(12).map(|twelve| twelve.iter().sum()).collect();
    let error = |kind: Kind| {
        let (grid, mut out, mut values) = (Grid { kind, group: 192 }, GridRow::default(), vec![0.0; row.len()]);
        nearest::quantize(grid, &row, Some(&vec![1.0; row.len()]), &mut out);
        out.values(grid, &mut values);
        let sum = |of: fn(f32, f32) -> f32| row.iter().zip(&values).map(|(a, b)| of(*a, *b).powi(2)).sum::<f32>();
        sum(|a, b| a - b) / sum(|a, _| a)
    };
    for (kind, table, gain) in [(Kind::T2, Kind::N2, 0.8), (Kind::T3, Kind::N3, 0.84), (Kind::T4, Kind::N4, 1.05)] {
        let (trellis, table) = (error(kind), error(table));
        assert!(trellis < gain * table, "{kind:?}: {trellis}, and {table} by a table");
    }
}
