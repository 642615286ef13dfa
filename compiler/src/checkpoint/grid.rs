//! Quantized numbers of a checkpoint that a packed kind holds as they are.

use tc_kernels::layout::{Kind, groups, sub_scales};
use tc_kernels::pack::QuantizedRow;

/// Which packed kind, in groups of how many columns (a multiple of 32; the last group of a row may be shorter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    pub kind: Kind,
    pub group: usize,
}

impl Grid {
    /// Columns that share a scale and a minimum.
    pub fn segment(self) -> usize {
        match self.kind.format().map_or(0, |format| format.sub) {
            0 => self.group,
            sub => sub,
        }
    }
}

/// A row on a grid, owned: its numbers as the packed kind stores them; see [`QuantizedRow`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GridRow {
    pub q: Vec<i8>,
    pub scales: Vec<f32>,
    pub mins: Vec<f32>,
    pub sub_scales: Vec<i8>,
    pub sub_mins: Vec<i8>,
}

impl GridRow {
    /// Room for `cols` columns.
    pub fn resize(&mut self, grid: Grid, cols: usize) {
        let (groups, subs) = (groups(grid.kind, cols, grid.group), sub_scales(grid.kind, cols));
        let minima = if grid.kind.has_min() { (groups, subs) } else { (0, 0) };
        self.q.resize(cols, 0);
        self.scales.resize(groups, 0.0);
        self.mins.resize(minima.0, 0.0);
        self.sub_scales.resize(subs, 0);
        self.sub_mins.resize(minima.1, 0);
    }

    /// The columns that share a scale and a minimum, in order, with the two.
    pub fn segments(&self, grid: Grid) -> impl Iterator<Item = Segment> {
        (0..self.q.len().div_ceil(grid.segment())).map(move |at| self.segment(grid, at))
    }

    pub fn segment(&self, grid: Grid, at: usize) -> Segment {
        let len = grid.segment();
        let begin = at * len;
        let g = begin / grid.group;
        let times = |factor: f32, subs: &[i8]| subs.get(at).map_or(factor, |sub| factor * f32::from(*sub));
        let min = self.mins.get(g).map_or(0.0, |min| times(*min, &self.sub_mins));
        let end = self.q.len().min(begin + len).min((g + 1) * grid.group);
        Segment { begin, end, scale: times(self.scales[g], &self.sub_scales), min }
    }

    /// What the numbers stand for.
    pub fn values(&self, grid: Grid, out: &mut [f32]) {
        let Some(format) = grid.kind.format() else { return };
        format.values(&self.q, |i, value| out[i] = value as f32);
        for Segment { begin, end, scale, min } in self.segments(grid) {
            out[begin..end].iter_mut().for_each(|out| *out = scale * *out + min);
        }
    }

    pub fn view(&self) -> QuantizedRow<'_> {
        let GridRow { q, scales, mins, sub_scales, sub_mins } = self;
        QuantizedRow { q, scales, mins, sub_scales, sub_mins }
    }
}

/// Columns of a row whose numbers stand for `scale * value + min`.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub begin: usize,
    pub end: usize,
    pub scale: f32,
    pub min: f32,
}

/// One group of at most 256 columns: the part of a [`GridRow`] that a block of a file holds.
#[derive(Clone, Debug)]
pub struct Group {
    pub q: [i8; 256],
    pub scale: f32,
    pub min: f32,
    pub sub_scales: [i8; 16],
    pub sub_mins: [i8; 16],
}

impl Group {
    pub const EMPTY: Group = Group { q: [0; 256], scale: 0.0, min: 0.0, sub_scales: [0; 16], sub_mins: [0; 16] };

    /// What the numbers stand for.
    pub fn values(&self, kind: Kind, out: &mut [f32]) {
        let Some(format) = kind.format() else { return };
        let len = if format.sub == 0 { out.len() } else { format.sub };
        for (i, (out, q)) in out.chunks_mut(len).zip(self.q.chunks(len)).enumerate() {
            let factor = |subs: &[i8; 16]| if format.sub == 0 { 1.0 } else { f32::from(subs[i]) };
            let scale = self.scale * factor(&self.sub_scales);
            let min = if format.min { self.min * factor(&self.sub_mins) } else { 0.0 };
            for (out, q) in out.iter_mut().zip(q) {
                *out = scale * format.value(*q as u8) as f32 + min;
            }
        }
    }
}

impl GridRow {
    /// Puts group `g` of `len` columns to its place.
    pub fn put(&mut self, kind: Kind, g: usize, len: usize, group: &Group) {
        let subs = sub_scales(kind, len);
        self.q[g * len..][..len].copy_from_slice(&group.q[..len]);
        self.scales[g] = group.scale;
        self.sub_scales[g * subs..][..subs].copy_from_slice(&group.sub_scales[..subs]);
        if kind.has_min() {
            self.mins[g] = group.min;
            self.sub_mins[g * subs..][..subs].copy_from_slice(&group.sub_mins[..subs]);
        }
    }
}
