//! Viterbi's algorithm for trellis-coded numbers.
//!
//! For each state of the code, the best numbers that lead to it are kept; a number that follows extends all of them, and of two that lead to one state the
//! better stays. Where an error is to be made good by the columns after it, each of these candidates has errors of its own, and with them
//! its own targets for what follows (per-survivor processing, Raheli et al. 1995).
//!
//! Several rows are searched at once, one in each lane of vectors. Two states that differ in their oldest bit lead to the same two, which differ in the newest
//! one. So both pairs can have the same two places, and each bit of a place's number stands for a bit of the state until that is forgotten: the
//! bit before number `t` by `i` is bit `(t - i) mod 5`.

#![allow(clippy::needless_range_loop, reason = "lanes of several arrays are indexed by loops that become vectors")]

use tc_kernels::layout::{Format, Values};
use tc_kernels::trellis::{HIGH_TAPS, LOW_TAP, MEMORY};

use crate::linalg::wide;

const STATES: usize = 1 << MEMORY;
/// The most numbers that are found together.
pub const WINDOW: usize = 56;
/// Rows that are searched at once.
pub const LANES: usize = 8;
const SUBSETS: usize = 4;
/// The most levels that a subset has.
const CHOICES: usize = 8;
/// After so many numbers, a state has its place again.
const PHASES: usize = MEMORY as usize;

pub type Lanes = [f32; LANES];
/// All bits or none.
type Mask = [u32; LANES];

/// One of the numbers that are looked for, in each row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// What the number should stand for, and what it should where errors before the window are made good.
    pub weight: Lanes,
    pub target: Lanes,
    pub scale: Lanes,
    /// What a squared distance from the target counts.
    pub cost: Lanes,
}

/// The states before the first place and after the last, where they are given: the last bits, the latest one highest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    pub start: Option<[u8; LANES]>,
    pub end: Option<[u8; LANES]>,
}

/// A format's levels.
pub struct Code {
    table: &'static [i8; 32],
    /// Levels of a subset.
    choices: usize,
    /// Half way between a level of a subset and the one below it in this (never, for the first), and how far the two are apart (for the first, its value).
    from: [[f32; CHOICES]; SUBSETS],
    step: [[f32; CHOICES]; SUBSETS],
}

impl Code {
    /// None for a format without a trellis.
    pub fn of(format: Format) -> Option<Code> {
        let Values::Trellis(table) = format.values else { return None };
        let choices = 1 << (format.bits - 1);
        let mut code =
            Code { table, choices, from: [[f32::INFINITY; CHOICES]; SUBSETS], step: [[0.0; CHOICES]; SUBSETS] };
        for subset in 0..SUBSETS {
            let level = |choice: usize| f32::from(table[SUBSETS * choice + subset]);
            code.step[subset][0] = level(0);
            for choice in 1..choices {
                code.from[subset][choice] = (level(choice - 1) + level(choice)) / 2.0;
                code.step[subset][choice] = level(choice) - level(choice - 1);
            }
        }
        Some(code)
    }

    #[inline(always)]
    fn nearest<const N: usize>(&self, place: &Place, target: &Lanes, subset: usize) -> Nearest {
        let mut nearest = Nearest { point: [self.step[subset][0]; LANES], ..Nearest::default() };
        for i in 1..N {
            let (from, step) = (self.from[subset][i], self.step[subset][i]);
            for lane in 0..LANES {
                let above = target[lane] > from * place.scale[lane];
                nearest.point[lane] += if above { step } else { 0.0 };
                nearest.choice[lane] += u32::from(above);
            }
        }
        for lane in 0..LANES {
            nearest.point[lane] *= place.scale[lane];
            let error = target[lane] - nearest.point[lane];
            nearest.cost[lane] = place.cost[lane] * error * error;
        }
        nearest
    }
}

/// The `i`th of the pairs of places between which number `t` chooses anew: whichever of the two a way is at, it goes on to one of them.
#[inline(always)]
fn pair(t: usize, i: usize) -> [usize; 2] {
    let bit = t % PHASES;
    let first = i >> bit << (bit + 1) | i & ((1 << bit) - 1);
    [first, first | 1 << bit]
}

/// The subset of number `t` after the state at `place`, if its bit is 0; the other bit's is two away.
fn subset(t: usize, place: usize) -> usize {
    let before = |count: u32| place >> ((t + PHASES - count as usize) % PHASES) & 1;
    (before(HIGH_TAPS[0]) ^ before(HIGH_TAPS[1])) << 1 | before(LOW_TAP)
}

/// The nearest level of a subset.
#[derive(Clone, Copy, Default)]
struct Nearest {
    point: Lanes,
    choice: Mask,
    /// What its distance from the target costs.
    cost: Lanes,
}

/// One of the two. Of a condition the compiler would make the choice of an address.
#[inline(always)]
fn select(mask: u32, yes: f32, no: f32) -> f32 {
    f32::from_bits(mask & yes.to_bits() | !mask & no.to_bits())
}

/// `a`, or `b` where the mask says so, and so many times the errors more.
#[inline(always)]
fn chosen(factor: f32, errors: &Lanes, other: &Mask, a: &Lanes, b: &Lanes) -> Lanes {
    let mut sum = [0.0; LANES];
    for lane in 0..LANES {
        sum[lane] = factor.mul_add(errors[lane], select(other[lane], b[lane], a[lane]));
    }
    sum
}

/// Room for a search, and what it found.
pub struct Work {
    costs: [Lanes; STATES],
    errors: [Lanes; STATES],
    /// Whether the best way to a state came from the other place of its pair, and the choice that it took.
    other: [[Mask; STATES]; WINDOW],
    choice: [[Mask; STATES]; WINDOW],
    /// What the errors on the best way to a state add to the target of each place.
    made_good: [[Lanes; WINDOW]; STATES],
    found: [Found; LANES],
}

/// A row's numbers as they are stored, and the levels that they stand for.
#[derive(Clone, Copy)]
pub struct Found {
    pub q: [i8; WINDOW],
    pub levels: [f32; WINDOW],
    pub cost: f32,
}

impl Found {
    /// The state after the first `count` numbers, which are five or more.
    pub fn state_after(&self, count: usize) -> u8 {
        let bits = self.q[count - PHASES..count].iter().enumerate();
        bits.fold(0, |state, (i, q)| state | (*q as u8 & 1) << i)
    }
}

impl Work {
    pub fn new() -> Box<Work> {
        Box::new(Work {
            costs: [[0.0; LANES]; STATES],
            errors: [[0.0; LANES]; STATES],
            other: [[[0; LANES]; STATES]; WINDOW],
            choice: [[[0; LANES]; STATES]; WINDOW],
            made_good: [[[0.0; LANES]; WINDOW]; STATES],
            found: [Found { q: [0; WINDOW], levels: [0.0; WINDOW], cost: 0.0 }; LANES],
        })
    }

    /// Finds each row's numbers with the least sum of `cost (target - scale level)²`. What place `k` misses of its weight adds
    /// `feedback[k][t]` times to the target of place `t` after it.
    pub fn search(&mut self, code: &Code, places: &[Place], feedback: &[[f32; WINDOW]], ends: Ends) -> &[Found; LANES] {
        self.follow(code, places, feedback, ends.start);
        let least = self.least();
        for lane in 0..LANES {
            let last = match ends.end {
                None => least[lane],
                // State bit `i` is that of the number before the window's end by `5 - i`.
                Some(end) => (0..PHASES)
                    .fold(0, |place, i| place | usize::from(end[lane] >> i & 1) << ((places.len() + i) % PHASES)),
            };
            self.trace(code, places.len(), lane, last);
        }
        &self.found
    }

    /// What the best numbers that [`Work::search`] could find would cost, each column standing for itself.
    pub fn least_costs(&mut self, code: &Code, places: &[Place]) -> Lanes {
        self.follow(code, places, &[], None);
        let least = self.least();
        std::array::from_fn(|lane| self.costs[least[lane]][lane])
    }

    /// All ways through the places.
    fn follow(&mut self, code: &Code, places: &[Place], feedback: &[[f32; WINDOW]], start: Option<[u8; LANES]>) {
        self.costs = [[if start.is_some() { f32::INFINITY } else { 0.0 }; LANES]; STATES];
        for (lane, start) in start.iter().flatten().enumerate() {
            self.costs[usize::from(*start)][lane] = 0.0;
        }
        wide(
            #[inline(always)]
            || match code.choices {
                2 => self.forward::<2>(code, places, feedback),
                4 => self.forward::<4>(code, places, feedback),
                _ => self.forward::<CHOICES>(code, places, feedback),
            },
        );
    }

    /// Where each lane's best way ends; of equals the first.
    fn least(&self) -> [usize; LANES] {
        let (mut least, mut at) = (self.costs[0], [0; LANES]);
        for (place, costs) in self.costs.iter().enumerate().skip(1) {
            for lane in 0..LANES {
                if costs[lane] < least[lane] {
                    (least[lane], at[lane]) = (costs[lane], place);
                }
            }
        }
        at
    }

    /// The way to the last state.
    fn trace(&mut self, code: &Code, count: usize, lane: usize, last: usize) {
        let (found, mut place) = (&mut self.found[lane], last);
        found.cost = self.costs[place][lane];
        for t in (0..count).rev() {
            let (pair, choice) = (1 << (t % PHASES), self.choice[t][place][lane] as usize);
            let bit = usize::from(place & pair != 0);
            if self.other[t][place][lane] != 0 {
                place ^= pair;
            }
            found.q[t] = (choice << 1 | bit) as i8;
            found.levels[t] = f32::from(code.table[SUBSETS * choice + (subset(t, place) ^ bit << 1)]);
        }
    }

    // What follows must be inlined to be compiled for the widest vectors, which closures within closures are not.

    #[inline(always)]
    fn forward<const N: usize>(&mut self, code: &Code, places: &[Place], feedback: &[[f32; WINDOW]]) {
        if feedback.is_empty() {
            for (t, place) in places.iter().enumerate() {
                self.alike::<N>(code, place, t);
            }
            return;
        }
        self.made_good.fill([[0.0; LANES]; WINDOW]);
        for (t, place) in places.iter().enumerate() {
            self.each::<N>(code, place, t);
            let Some(feedback) = feedback.get(t) else { continue };
            for i in 0..STATES / 2 {
                self.make_good(&feedback[..places.len()], t, pair(t, i));
            }
        }
    }

    /// Carries on what was added on the ways to two states before number `t`, and adds what this misses.
    #[inline(always)]
    fn make_good(&mut self, factors: &[f32], t: usize, pair: [usize; 2]) {
        let (errors, other) =
            ([self.errors[pair[0]], self.errors[pair[1]]], [self.other[t][pair[0]], self.other[t][pair[1]]]);
        let Ok([first, second]) = self.made_good.get_disjoint_mut(pair) else { return };
        let places = first.iter_mut().zip(second).zip(factors).skip(t + 1);
        for ((first, second), factor) in places {
            let (a, b) = (*first, *second);
            *first = chosen(*factor, &errors[0], &other[0], &a, &b);
            *second = chosen(*factor, &errors[1], &other[1], &b, &a);
        }
    }

    /// Number `t` after all states, which have one target.
    #[inline(always)]
    fn alike<const N: usize>(&mut self, code: &Code, place: &Place, t: usize) {
        let mut nearest = [Nearest::default(); SUBSETS];
        for (subset, nearest) in nearest.iter_mut().enumerate() {
            *nearest = code.nearest::<N>(place, &place.target, subset);
        }
        for i in 0..STATES / 2 {
            let [first, second] = pair(t, i);
            let (a, b) = (subset(t, first), subset(t, second));
            self.join(place, t, [first, second], [&nearest[a], &nearest[a ^ 2], &nearest[b], &nearest[b ^ 2]]);
        }
    }

    /// Number `t` after all states, each of which has a target of its own.
    #[inline(always)]
    fn each<const N: usize>(&mut self, code: &Code, place: &Place, t: usize) {
        for i in 0..STATES / 2 {
            let [first, second] = pair(t, i);
            let (a, b) = (subset(t, first), subset(t, second));
            let (of_first, of_second) = (self.target(place, t, first), self.target(place, t, second));
            let nearest = [
                &code.nearest::<N>(place, &of_first, a),
                &code.nearest::<N>(place, &of_first, a ^ 2),
                &code.nearest::<N>(place, &of_second, b),
                &code.nearest::<N>(place, &of_second, b ^ 2),
            ];
            self.join(place, t, [first, second], nearest);
        }
    }

    /// What number `t` should be after the state at `from`.
    #[inline(always)]
    fn target(&self, place: &Place, t: usize, from: usize) -> Lanes {
        let mut target = self.made_good[from][t];
        for lane in 0..LANES {
            target[lane] += place.target[lane];
        }
        target
    }

    /// Number `t` after two states that lead to the same two: the levels nearest for each of them and each bit.
    #[inline(always)]
    fn join(&mut self, place: &Place, t: usize, pair: [usize; 2], nearest: [&Nearest; 4]) {
        let [a, b] = [self.costs[pair[0]], self.costs[pair[1]]];
        self.better(place, t, pair[0], (&a, nearest[0]), (&b, nearest[2]));
        self.better(place, t, pair[1], (&b, nearest[3]), (&a, nearest[1]));
    }

    /// The better of two ways to the state at `to`, of which the first comes from its own place.
    #[inline(always)]
    fn better(&mut self, place: &Place, t: usize, to: usize, own: (&Lanes, &Nearest), other: (&Lanes, &Nearest)) {
        let (mut cost, mut error, mut choice, mut mask) = ([0.0; LANES], [0.0; LANES], [0; LANES], [0; LANES]);
        for lane in 0..LANES {
            let (a, b) = (own.0[lane] + own.1.cost[lane], other.0[lane] + other.1.cost[lane]);
            mask[lane] = if b < a { u32::MAX } else { 0 };
            cost[lane] = if b < a { b } else { a };
        }
        for lane in 0..LANES {
            error[lane] = place.weight[lane] - select(mask[lane], other.1.point[lane], own.1.point[lane]);
            choice[lane] = mask[lane] & other.1.choice[lane] | !mask[lane] & own.1.choice[lane];
        }
        (self.costs[to], self.errors[to], self.choice[t][to], self.other[t][to]) = (cost, error, choice, mask);
    }
}
