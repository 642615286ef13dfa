//! Viterbi's algorithm for trellis-coded numbers.
//!
//! For each state of the code, the best numbers that lead to it are kept; a number that follows extends all of them, and of two that lead to one state the
//! better stays. Where an error is to be made good by the columns after it, each of these candidates has errors of its own, and with them
//! its own targets for what follows (per-survivor processing, Raheli et al. 1995).
//!
//! Several rows are searched at once, one in each lane of vectors. Two states that differ in their oldest bit lead to the same two, which differ in the newest
//! one. So both pairs can have the same two places, and each bit of a place's number stands for a bit of the state until that is forgotten: the
//! bit before number `t` by `i` is bit `(t - i) mod 5`.

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
}

/// The subset of number `t` after the state at `place`, if its bit is 0; the other bit's is two away.
fn subset(t: usize, place: usize) -> usize {
    let before = |count: u32| place >> ((t + PHASES - count as usize) % PHASES) & 1;
    (before(HIGH_TAPS[0]) ^ before(HIGH_TAPS[1])) << 1 | before(LOW_TAP)
}

/// A number on the way from a state.
#[derive(Clone, Copy)]
struct Branch {
    total: Lanes,
    point: Lanes,
    choice: Mask,
}

/// `a`, or `b` where the mask says so, and so many times the errors more.
#[inline(always)]
fn chosen(factor: f32, errors: &Lanes, other: &Mask, a: Lanes, b: Lanes) -> Lanes {
    let mut sum = [0.0; LANES];
    for lane in 0..LANES {
        let own = if other[lane] != 0 { b[lane] } else { a[lane] };
        sum[lane] = factor.mul_add(errors[lane], own);
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
    made_good: [[Lanes; STATES]; WINDOW],
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
            made_good: [[[0.0; LANES]; STATES]; WINDOW],
            found: [Found { q: [0; WINDOW], levels: [0.0; WINDOW], cost: 0.0 }; LANES],
        })
    }

    /// Finds each row's numbers with the least sum of `cost (target - scale level)²`. What place `k` misses of its weight adds
    /// `feedback[k][t]` times to the target of place `t` after it.
    pub fn search(&mut self, code: &Code, places: &[Place], feedback: &[[f32; WINDOW]], ends: Ends) -> &[Found; LANES] {
        self.costs = [[if ends.start.is_some() { f32::INFINITY } else { 0.0 }; LANES]; STATES];
        for (lane, start) in ends.start.iter().flatten().enumerate() {
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
        for lane in 0..LANES {
            let least = |best: usize, place: usize| {
                if self.costs[place][lane] < self.costs[best][lane] { place } else { best }
            };
            let last = match ends.end {
                None => (0..STATES).fold(0, least),
                // State bit `i` is that of the number before the window's end by `5 - i`.
                Some(end) => (0..PHASES)
                    .fold(0, |place, i| place | usize::from(end[lane] >> i & 1) << ((places.len() + i) % PHASES)),
            };
            self.trace(code, places.len(), lane, last);
        }
        &self.found
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

    #[inline(always)]
    fn forward<const N: usize>(&mut self, code: &Code, places: &[Place], feedback: &[[f32; WINDOW]]) {
        self.made_good[..places.len()].fill([[0.0; LANES]; STATES]);
        for (t, place) in places.iter().enumerate() {
            let pair = 1 << (t % PHASES);
            let firsts = (0..STATES).filter(|place| place & pair == 0);
            for first in firsts.clone() {
                self.pair::<N>(code, place, t, [first, first | pair]);
            }
            let Some(feedback) = feedback.get(t) else { continue };
            let factors = &feedback[t + 1..places.len()];
            for (made_good, factor) in self.made_good[t + 1..].iter_mut().zip(factors) {
                for first in firsts.clone() {
                    let second = first | pair;
                    let (a, b) = (made_good[first], made_good[second]);
                    made_good[first] = chosen(*factor, &self.errors[first], &self.other[t][first], a, b);
                    made_good[second] = chosen(*factor, &self.errors[second], &self.other[t][second], b, a);
                }
            }
        }
    }

    /// Number `t` after two states that lead to the same two.
    #[inline(always)]
    fn pair<const N: usize>(&mut self, code: &Code, place: &Place, t: usize, pair: [usize; 2]) {
        let branches = pair.map(|from| {
            let subset = subset(t, from);
            [self.branch::<N>(code, place, t, from, subset), self.branch::<N>(code, place, t, from, subset ^ 2)]
        });
        for (bit, to) in pair.into_iter().enumerate() {
            let (own, other) = (&branches[bit][bit], &branches[1 - bit][bit]);
            let (mut cost, mut error, mut choice, mut mask) = ([0.0; LANES], [0.0; LANES], [0; LANES], [0; LANES]);
            for lane in 0..LANES {
                let from_other = other.total[lane] < own.total[lane];
                cost[lane] = if from_other { other.total[lane] } else { own.total[lane] };
                error[lane] = place.weight[lane] - if from_other { other.point[lane] } else { own.point[lane] };
                choice[lane] = if from_other { other.choice[lane] } else { own.choice[lane] };
                mask[lane] = if from_other { u32::MAX } else { 0 };
            }
            (self.costs[to], self.errors[to], self.choice[t][to], self.other[t][to]) = (cost, error, choice, mask);
        }
    }

    /// The nearest level of a subset after the state at `from`.
    #[inline(always)]
    fn branch<const N: usize>(&self, code: &Code, place: &Place, t: usize, from: usize, subset: usize) -> Branch {
        let mut branch = Branch { total: [0.0; LANES], point: [code.step[subset][0]; LANES], choice: [0; LANES] };
        let (mut target, costs, scale, made_good) =
            (place.target, self.costs[from], place.scale, self.made_good[t][from]);
        for lane in 0..LANES {
            target[lane] += made_good[lane];
        }
        for i in 1..N {
            let (level, step) = (code.from[subset][i], code.step[subset][i]);
            for lane in 0..LANES {
                let above = target[lane] > level * scale[lane];
                branch.point[lane] += if above { step } else { 0.0 };
                branch.choice[lane] += u32::from(above);
            }
        }
        for lane in 0..LANES {
            branch.point[lane] *= scale[lane];
            let error = target[lane] - branch.point[lane];
            branch.total[lane] = costs[lane] + place.cost[lane] * error * error;
        }
        branch
    }
}
