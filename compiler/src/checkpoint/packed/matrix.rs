//! A matrix that its checkpoint holds as integers of a few bits, with a scale and a zero point for each group of columns:
//! `w = scale * (code - zero)`.

use std::sync::Arc;

use tc_kernels::layout::Kind;

use super::super::error::{Result, error};
use super::super::grid::{Grid, GridRow};
use super::super::tensor::Tensor;
use super::codes::Codes;

#[derive(Clone, Debug)]
pub struct Packed {
    pub cols: usize,
    pub bits: u32,
    pub codes: Codes,
    /// One for each row and group.
    pub scales: Tensor,
    pub zeros: Zeros,
    pub groups: Groups,
}

/// What stands for the weight 0.
#[derive(Clone, Debug)]
pub enum Zeros {
    /// The middle of the range, for every group.
    Middle,
    /// One for each row and group.
    Coded(Codes),
}

/// Which columns share a scale.
#[derive(Clone, Debug)]
pub enum Groups {
    /// This many neighbours; the last group may be shorter.
    Runs(usize),
    /// The group of each column.
    Listed(Arc<[u32]>),
}

impl Groups {
    /// Groups from a list of each column's; one that only spells out runs of `group` becomes them.
    pub fn listed(list: Vec<u32>, group: usize) -> Groups {
        match list.iter().enumerate().all(|(col, of)| *of as usize == col / group) {
            true => Groups::Runs(group),
            false => Groups::Listed(list.into()),
        }
    }

    fn of(&self, col: usize) -> usize {
        match self {
            Groups::Runs(group) => col / group,
            Groups::Listed(list) => list[col] as usize,
        }
    }
}

impl Packed {
    /// Zero points that are all in the middle are told by nothing but reading them, whatever a config claims.
    pub fn new(rows: usize, mut packed: Packed) -> Result<Packed> {
        let middle = packed.middle();
        let groups = packed.scales.cols();
        let mut symmetric = true;
        for row in 0..rows {
            let zeros = packed.zero_row(row, groups)?;
            if let Some(odd) = zeros.iter().find(|zero| !(0..2 * middle).contains(*zero)) {
                return Err(error!("row {row} has a zero point of {odd}, not of {} bits", packed.bits));
            }
            symmetric &= zeros.iter().all(|zero| *zero == middle);
        }
        if symmetric {
            packed.zeros = Zeros::Middle;
        }
        Ok(packed)
    }

    fn middle(&self) -> i32 {
        1 << (self.bits - 1)
    }

    pub fn encoding_name(&self) -> &'static str {
        match self.bits {
            2 => "int2 groups",
            3 => "int3 groups",
            4 => "int4 groups",
            _ => "int8 groups",
        }
    }

    pub fn stored_bytes(&self, rows: usize) -> usize {
        (rows * self.cols).saturating_mul(self.bits as usize).div_ceil(8) + self.scales.stored_bytes()
    }

    /// Numbers around a middle zero have one scale a group, others a minimum beside.
    pub fn grid(&self) -> Option<Grid> {
        let group = match self.groups {
            Groups::Runs(group) if group >= self.cols => self.cols.next_multiple_of(32),
            Groups::Runs(group) if group.is_multiple_of(32) => group,
            _ => return None,
        };
        let kind = Kind::plain(self.bits as usize, matches!(self.zeros, Zeros::Coded(_)))?;
        Some(Grid { kind, group })
    }

    fn zero_row(&self, row: usize, groups: usize) -> Result<Vec<i32>> {
        let mut zeros = vec![self.middle(); groups];
        if let Zeros::Coded(codes) = &self.zeros {
            codes.fill_row(row, &mut zeros)?;
        }
        Ok(zeros)
    }

    fn code_row(&self, row: usize) -> Result<Vec<i32>> {
        let mut codes = vec![0; self.cols];
        self.codes.fill_row(row, &mut codes)?;
        match codes.iter().position(|code| !(0..2 * self.middle()).contains(code)) {
            None => Ok(codes),
            Some(col) => {
                let number = codes[col] - self.middle();
                Err(error!("row {row}, column {col} holds {number}, not a number of {} bits", self.bits))
            }
        }
    }

    pub fn fill_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let codes = self.code_row(row)?;
        let mut scales = vec![0.0; self.scales.cols()];
        self.scales.read_row(row, &mut scales)?;
        let zeros = self.zero_row(row, scales.len())?;
        for (col, (out, code)) in out.iter_mut().zip(codes).enumerate() {
            let group = self.groups.of(col);
            *out = scales[group] * (code - zeros[group]) as f32;
        }
        Ok(())
    }

    /// As [`Tensor::read_row_grid`].
    pub fn fill_row_grid(&self, row: usize, out: &mut GridRow) -> Result<()> {
        // 8 bits are stored signed.
        let offset = if self.bits == 8 { self.middle() } else { 0 };
        let codes = self.code_row(row)?;
        out.q.iter_mut().zip(codes).for_each(|(q, code)| *q = (code - offset) as i8);
        self.scales.read_row(row, &mut out.scales)?;
        let zeros = self.zero_row(row, out.scales.len())?;
        for ((min, scale), zero) in out.mins.iter_mut().zip(&out.scales).zip(zeros) {
            *min = scale * (offset - zero) as f32;
        }
        Ok(())
    }
}
