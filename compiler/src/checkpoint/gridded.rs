//! Matrices that the compiler makes before it emits them: on a grid, or in f32. They lie in temporary files, so that memory does not
//! grow with the model; a file goes when its tensor does.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use tc_kernels::layout::{groups, sub_scales};
use tempfile::{NamedTempFile, TempPath};

use super::encoding::Encoding;
use super::error::{CheckpointError, Result, error};
use super::file::{Cursor, SourceFile};
use super::grid::{Grid, GridRow};
use super::tensor::{Place, Tensor};

/// Rows one after the other, each its numbers, sub-scales, sub-minima, scales and minima.
#[derive(Debug)]
pub struct Gridded {
    grid: Grid,
    cols: usize,
    file: Arc<SourceFile>,
    _path: TempPath,
}

/// Where the rows of one matrix are written, in order.
pub struct Scratch {
    name: String,
    grid: Grid,
    rows: usize,
    cols: usize,
    file: BufWriter<NamedTempFile>,
}

fn failed(name: &str) -> impl Fn(std::io::Error) -> CheckpointError {
    move |reason| error!("tensor {name}: a temporary file: {reason}")
}

impl Scratch {
    pub fn new(name: &str, grid: Grid, cols: usize) -> Result<Scratch> {
        let file = NamedTempFile::new().map_err(failed(name))?;
        Ok(Scratch { name: name.to_string(), grid, rows: 0, cols, file: BufWriter::new(file) })
    }

    pub fn push(&mut self, row: &GridRow) -> Result<()> {
        let bytes = |numbers: &[i8]| numbers.iter().map(|number| *number as u8).collect::<Vec<u8>>();
        let mut out = [bytes(&row.q), bytes(&row.sub_scales), bytes(&row.sub_mins)].concat();
        out.extend(row.scales.iter().chain(&row.mins).flat_map(|value| value.to_le_bytes()));
        self.rows += 1;
        self.file.write_all(&out).map_err(failed(&self.name))
    }

    pub fn finish(self) -> Result<Tensor> {
        let Scratch { name, grid, rows, cols, file } = self;
        let file = file.into_inner().map_err(|error| failed(&name)(error.into_error()))?;
        let gridded = Gridded { grid, cols, file: SourceFile::open(file.path())?, _path: file.into_temp_path() };
        match gridded.file.bytes().len() == rows * gridded.row_bytes() {
            true => Tensor::gridded(&name, rows, gridded),
            false => Err(error!("tensor {name}: a row of another length than {cols}")),
        }
    }
}

/// A tensor of these numbers, and the file that it needs.
pub fn floats_tensor(name: &str, shape: &[usize], values: &[f32]) -> Result<(Tensor, TempPath)> {
    let mut file = BufWriter::new(NamedTempFile::new().map_err(failed(name))?);
    values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes())).map_err(failed(name))?;
    let path = file.into_inner().map_err(|error| failed(name)(error.into_error()))?.into_temp_path();
    let place = Place { file: SourceFile::open(&path)?, offset: 0, encoding: Encoding::F32 };
    Ok((Tensor::stored(name, shape, place)?, path))
}

impl Gridded {
    pub fn grid(&self) -> Grid {
        self.grid
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn file(&self) -> &SourceFile {
        &self.file
    }

    pub fn row_bytes(&self) -> usize {
        let factors = if self.grid.kind.has_min() { 2 } else { 1 };
        let subs = sub_scales(self.grid.kind, self.cols);
        self.cols + factors * (subs + 4 * groups(self.grid.kind, self.cols, self.grid.group))
    }

    pub fn fill_row(&self, row: usize, out: &mut [f32]) {
        let mut grid_row = GridRow::default();
        self.fill_row_grid(row, &mut grid_row);
        grid_row.values(self.grid, out);
    }

    pub fn fill_row_grid(&self, row: usize, out: &mut GridRow) {
        out.resize(self.grid, self.cols);
        let start = row * self.row_bytes();
        let mut bytes = Cursor::new(&self.file.bytes()[start..start + self.row_bytes()]);
        for numbers in [&mut out.q, &mut out.sub_scales, &mut out.sub_mins] {
            // `Scratch::finish` has checked the length.
            let stored = bytes.take(numbers.len()).unwrap_or_default();
            numbers.iter_mut().zip(stored).for_each(|(number, byte)| *number = *byte as i8);
        }
        for value in out.scales.iter_mut().chain(&mut out.mins) {
            *value = f32::from_le_bytes(bytes.array().unwrap_or_default());
        }
    }
}
