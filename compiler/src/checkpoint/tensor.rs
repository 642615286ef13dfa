//! Lazy tensors: where the numbers of a weight lie in its files, and reading them row by row.
//!
//! A tensor has one or two dimensions. A vector is `n` rows of one column, so that everything that is said about rows
//! (joining, cutting, permuting) holds for biases as it does for matrices.

use std::sync::Arc;

use tc_kernels::layout::Kind;

use super::encoding::Encoding;
use super::error::{CheckpointError, Result, error};
use super::file::SourceFile;
use super::grid::{Grid, GridRow};
use super::gridded::Gridded;
use super::packed::Packed;
use super::stored::{Int8Groups, Stored};

#[derive(Clone, Debug)]
pub struct Tensor {
    name: String,
    shape: Vec<usize>,
    node: Node,
}

#[derive(Clone, Debug)]
enum Node {
    Stored(Stored),
    Int8Groups(Int8Groups),
    Packed(Arc<Packed>),
    ConcatRows(Vec<Tensor>),
    ConcatCols(Vec<Tensor>),
    Gridded(Arc<Gridded>),
    /// The source's numbers times one factor a row or a column.
    Scaled {
        source: Box<Tensor>,
        factors: Factors,
    },
    /// Rope pairs: in each head of `2 * half` rows, row `i < half` is row `2i` of the source and `half + i` is `2i + 1`.
    HalfSplit {
        source: Box<Tensor>,
        half: usize,
    },
    /// Rows from `start` on.
    Slice {
        source: Box<Tensor>,
        start: usize,
    },
}

/// Of [`Tensor::scaled`], one for each row or column.
#[derive(Clone, Debug)]
pub enum Factors {
    Rows(Arc<[f32]>),
    Cols(Arc<[f32]>),
}

/// A place for [`Tensor::stored`]: elements from `offset` on, in rows.
#[derive(Clone, Debug)]
pub struct Place {
    pub file: Arc<SourceFile>,
    pub offset: usize,
    pub encoding: Encoding,
}

impl Tensor {
    /// A tensor that lies in a file row after row. Every byte is checked to be there.
    pub fn stored(name: &str, shape: &[usize], place: Place) -> Result<Tensor> {
        let (_, cols) = rows_and_cols(name, shape)?;
        let row_stride = place.encoding.bytes(cols).ok_or_else(|| {
            let (len, encoding) = (place.encoding.block_len(), place.encoding.name());
            error!("tensor {name}: rows of {cols} cannot be stored as {encoding}, in blocks of {len}")
        })?;
        Tensor::strided(name, shape, place.clone(), [row_stride, place.encoding.block_bytes()])
    }

    /// A tensor whose rows and columns are `strides` bytes apart.
    pub fn strided(name: &str, shape: &[usize], place: Place, strides: [usize; 2]) -> Result<Tensor> {
        let (rows, cols) = rows_and_cols(name, shape)?;
        let Place { file, offset, encoding } = place;
        let blocks = cols / encoding.block_len();
        let last = |count: usize, stride: usize| (count - 1).checked_mul(stride);
        let end = last(rows, strides[0])
            .and_then(|row| row.checked_add(last(blocks, strides[1])?))
            .and_then(|bytes| bytes.checked_add(encoding.block_bytes())?.checked_add(offset));
        if end.is_none_or(|end| end > file.bytes().len()) {
            let len = file.bytes().len();
            return Err(file.fault(error!(
                "tensor {name}: {shape:?} of {} from byte {offset} on ends beyond the file's {len} bytes (truncated?)",
                encoding.name()
            )));
        }
        let stored = Stored { file, offset, encoding, row_stride: strides[0], col_stride: strides[1] };
        Ok(Tensor { name: name.to_string(), shape: shape.to_vec(), node: Node::Stored(stored) })
    }

    /// Numbers as i8 from `offset` on, and right after them their scales in f32, one for each `group`.
    pub fn int8_groups(
        name: &str,
        shape: &[usize],
        file: Arc<SourceFile>,
        offset: usize,
        group: usize,
    ) -> Result<Tensor> {
        let (rows, cols) = rows_and_cols(name, shape)?;
        let count = rows.checked_mul(cols);
        if group == 0 || !count.is_some_and(|count| count.is_multiple_of(group)) {
            return Err(file.fault(error!("tensor {name}: {shape:?} does not divide into groups of {group}")));
        }
        let scales_offset = count.and_then(|count| offset.checked_add(count));
        let end = count.and_then(|count| (count / group).checked_mul(4)?.checked_add(scales_offset?));
        match (scales_offset, end) {
            (Some(scales_offset), Some(end)) if end <= file.bytes().len() => {
                let node = Node::Int8Groups(Int8Groups { file, offset, scales_offset, group });
                Ok(Tensor { name: name.to_string(), shape: shape.to_vec(), node })
            }
            _ => {
                Err(file
                    .fault(error!("tensor {name}: {shape:?} from byte {offset} on ends beyond the file (truncated?)")))
            }
        }
    }

    /// A matrix of packed integers; what makes it up has been checked to fit together.
    pub(super) fn packed(name: &str, rows: usize, packed: Packed) -> Result<Tensor> {
        let shape = [rows, packed.cols];
        rows_and_cols(name, &shape)?;
        let node = Node::Packed(Arc::new(Packed::new(rows, packed)?));
        Ok(Tensor { name: name.to_string(), shape: shape.to_vec(), node })
    }

    /// The place in a file of a tensor that lies there as it is, in this encoding.
    pub(super) fn as_stored(&self, encoding: Encoding) -> Result<&Stored> {
        match &self.node {
            Node::Stored(stored) if stored.encoding == encoding => Ok(stored),
            _ => Err(error!("tensor {}: is stored as {}, not {}", self.name, self.encoding_name(), encoding.name())),
        }
    }

    pub(super) fn is_stored_float(&self) -> bool {
        matches!(&self.node, Node::Stored(stored) if stored.encoding.is_float())
    }

    /// Whether it holds plain integers, which stand for something else.
    pub fn is_integer(&self) -> bool {
        matches!(&self.node, Node::Stored(stored) if stored.encoding.is_integer())
    }

    /// Rows as columns, of a matrix of floats.
    pub(super) fn into_transposed(self) -> Result<Tensor> {
        match (self.node, &self.shape[..]) {
            (Node::Stored(mut stored), &[rows, cols]) if stored.encoding.is_float() => {
                std::mem::swap(&mut stored.row_stride, &mut stored.col_stride);
                Ok(Tensor { name: self.name, shape: vec![cols, rows], node: Node::Stored(stored) })
            }
            _ => Err(error!("tensor {}: has shape {:?}, but should be a matrix of floats", self.name, self.shape)),
        }
    }

    /// A vector as a matrix of one column.
    pub(super) fn into_matrix(self) -> Result<Tensor> {
        Ok(Tensor { shape: vec![self.rows(), self.cols()], ..self })
    }

    /// One row, `rows` times.
    pub(super) fn repeated(self, rows: usize) -> Result<Tensor> {
        let shape = vec![rows, self.cols()];
        match self.node {
            Node::Stored(stored) if self.shape.first() == Some(&1) => {
                let node = Node::Stored(Stored { row_stride: 0, ..stored });
                Ok(Tensor { name: self.name, shape, node })
            }
            _ => Err(error!("tensor {}: has shape {:?}, but should be one row", self.name, self.shape)),
        }
    }

    /// A matrix that a quantizer has put on a grid.
    pub(super) fn gridded(name: &str, rows: usize, gridded: Gridded) -> Result<Tensor> {
        let shape = [rows, gridded.cols()];
        rows_and_cols(name, &shape)?;
        Ok(Tensor { name: name.to_string(), shape: shape.to_vec(), node: Node::Gridded(Arc::new(gridded)) })
    }

    /// Every number times the factor of its row or column.
    pub fn scaled(self, factors: Factors) -> Result<Tensor> {
        let (needed, given) = match &factors {
            Factors::Rows(factors) => (self.rows(), factors.len()),
            Factors::Cols(factors) => (self.cols(), factors.len()),
        };
        if needed != given {
            return Err(error!("tensor {}: takes {needed} factors, not {given}", self.name));
        }
        let (name, shape) = (self.name.clone(), self.shape.clone());
        Ok(Tensor { name, shape, node: Node::Scaled { source: Box::new(self), factors } })
    }

    /// One below the other.
    pub fn concat_rows(name: &str, parts: Vec<Tensor>) -> Result<Tensor> {
        let first = parts.first().ok_or_else(|| error!("tensor {name}: has no parts"))?;
        if let Some(odd) = parts.iter().find(|part| part.shape.get(1..) != first.shape.get(1..)) {
            return Err(error!("tensor {name}: its parts do not fit together: {:?} and {:?}", first.shape, odd.shape));
        }
        let rows = checked_sum(name, parts.iter().map(Tensor::rows))?;
        let shape = std::iter::once(rows).chain(first.shape.iter().skip(1).copied()).collect();
        Ok(Tensor { name: name.to_string(), shape, node: Node::ConcatRows(parts) })
    }

    /// One beside the other.
    pub fn concat_cols(name: &str, parts: Vec<Tensor>) -> Result<Tensor> {
        let first = parts.first().ok_or_else(|| error!("tensor {name}: has no parts"))?;
        let fits = |part: &Tensor| part.shape.len() == 2 && part.rows() == first.rows();
        if let Some(odd) = parts.iter().find(|part| !fits(part)) {
            return Err(error!("tensor {name}: its parts do not fit together: {:?} and {:?}", first.shape, odd.shape));
        }
        let shape = vec![first.rows(), checked_sum(name, parts.iter().map(Tensor::cols))?];
        Ok(Tensor { name: name.to_string(), shape, node: Node::ConcatCols(parts) })
    }

    /// From rope over neighbouring rows (Meta's order) to rope over the two halves of each head (Hugging Face's order).
    pub fn into_half_split(self, head_dim: usize) -> Result<Tensor> {
        let name = self.name.clone();
        if head_dim == 0 || !head_dim.is_multiple_of(2) || !self.rows().is_multiple_of(head_dim) {
            return Err(error!("tensor {name}: {} rows are not heads of {head_dim}", self.rows()));
        }
        Ok(Tensor {
            name,
            shape: self.shape.clone(),
            node: Node::HalfSplit { source: Box::new(self), half: head_dim / 2 },
        })
    }

    /// `count` rows from `start` on.
    pub fn slice_rows(&self, name: &str, start: usize, count: usize) -> Result<Tensor> {
        if count == 0 || start.checked_add(count).is_none_or(|end| end > self.rows()) {
            return Err(error!("tensor {}: has {} rows, not {count} from {start} on", self.name, self.rows()));
        }
        let shape = std::iter::once(count).chain(self.shape.iter().skip(1).copied()).collect();
        Ok(Tensor { name: name.to_string(), shape, node: Node::Slice { source: Box::new(self.clone()), start } })
    }

    /// Whether both are the same bytes of the same file.
    pub fn is_same_place(&self, other: &Tensor) -> bool {
        match (&self.node, &other.node) {
            (Node::Stored(a), Node::Stored(b)) => {
                let layout = |stored: &Stored| (stored.offset, stored.encoding, stored.row_stride, stored.col_stride);
                Arc::ptr_eq(&a.file, &b.file) && layout(a) == layout(b) && self.shape == other.shape
            }
            _ => false,
        }
    }

    /// The name as the checkpoint has it; for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One or two dimensions, none of them 0.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// 1 for a vector.
    pub fn cols(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }

    pub fn encoding_name(&self) -> &'static str {
        match &self.node {
            Node::Stored(stored) => stored.encoding.name(),
            Node::Int8Groups(_) => "int8 groups",
            Node::Packed(packed) => packed.encoding_name(),
            Node::ConcatRows(parts) | Node::ConcatCols(parts) => parts.first().map_or("", Tensor::encoding_name),
            Node::Gridded(gridded) => gridded.grid().kind.name(),
            Node::HalfSplit { source, .. } | Node::Slice { source, .. } | Node::Scaled { source, .. } => {
                source.encoding_name()
            }
        }
    }

    /// Bytes that the numbers take in the checkpoint.
    pub fn stored_bytes(&self) -> usize {
        let elements = self.rows() * self.cols();
        match &self.node {
            Node::Stored(stored) => stored.encoding.bytes(elements).unwrap_or(0),
            Node::Int8Groups(groups) => elements + 4 * (elements / groups.group),
            Node::Packed(packed) => packed.stored_bytes(self.rows()),
            Node::ConcatRows(parts) | Node::ConcatCols(parts) => parts.iter().map(Tensor::stored_bytes).sum(),
            Node::Gridded(gridded) => gridded.row_bytes() * self.rows(),
            Node::HalfSplit { source, .. } | Node::Scaled { source, .. } => source.stored_bytes(),
            Node::Slice { source, .. } => source.stored_bytes() / source.rows() * self.rows(),
        }
    }

    /// The numbers of a row as f32; `out` has room for exactly one row. A number that is not finite is an error.
    pub fn read_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        self.check_row(row, out.len())?;
        self.fill_row(row, out).map_err(|e| self.fault(row, 0, e))?;
        match out.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(col) => Err(self.fault(row, col, error!("row {row}, column {col} is {}", out[col]))),
        }
    }

    /// All numbers of a vector.
    pub fn read_vector(&self) -> Result<Vec<f32>> {
        if self.shape.len() != 1 {
            return Err(error!("tensor {}: has shape {:?}, but should be a vector", self.name, self.shape));
        }
        let mut values = vec![0.0; self.rows()];
        for (row, value) in values.iter_mut().enumerate() {
            self.read_row(row, std::slice::from_mut(value))?;
        }
        Ok(values)
    }

    /// Whether, and as what, [`Tensor::read_row_grid`] reads this tensor.
    pub fn grid(&self) -> Option<Grid> {
        match &self.node {
            Node::Stored(stored) => stored.grid(),
            Node::Int8Groups(Int8Groups { group, .. }) => {
                let whole = group.is_multiple_of(32) && self.cols().is_multiple_of(*group);
                whole.then_some(Grid { kind: Kind::I8, group: *group })
            }
            Node::Packed(packed) => packed.grid(),
            Node::ConcatRows(parts) => {
                let first = parts.first()?.grid()?;
                parts.iter().all(|part| part.grid() == Some(first)).then_some(first)
            }
            Node::Gridded(gridded) => Some(gridded.grid()),
            Node::ConcatCols(_) | Node::Scaled { .. } => None,
            Node::HalfSplit { source, .. } | Node::Slice { source, .. } => source.grid(),
        }
    }

    /// A row of a tensor with a grid as it is stored. Scales that are not finite are an error. Scales and minima are as the
    /// checkpoint has them: f16, or f32 and bf16, which a packed kind rounds to f16.
    pub fn read_row_grid(&self, row: usize, out: &mut GridRow) -> Result<()> {
        let grid = self.grid().ok_or_else(|| error!("tensor {}: has no grid", self.name))?;
        self.check_row(row, self.cols())?;
        out.resize(grid, self.cols());
        self.fill_row_grid(row, out).map_err(|e| self.fault(row, 0, e))?;
        match out.scales.iter().chain(&out.mins).find(|value| !value.is_finite()) {
            None => Ok(()),
            Some(value) => Err(self.fault(row, 0, error!("row {row} has a scale of {value}"))),
        }
    }

    /// Puts before an error which tensor it is about and which file that number lies in.
    fn fault(&self, row: usize, col: usize, error: CheckpointError) -> CheckpointError {
        let error = error.at(format_args!("tensor {}", self.name));
        match self.file_of(row, col) {
            Some(file) => file.fault(error),
            None => error,
        }
    }

    fn file_of(&self, row: usize, col: usize) -> Option<&SourceFile> {
        match &self.node {
            Node::Stored(stored) => Some(&stored.file),
            Node::Int8Groups(groups) => Some(&groups.file),
            Node::Packed(packed) => packed.scales.file_of(row, 0),
            Node::Gridded(gridded) => Some(gridded.file()),
            Node::Scaled { source, .. } => source.file_of(row, col),
            Node::ConcatCols(parts) => {
                let mut col = col;
                for part in parts {
                    match col.checked_sub(part.cols()) {
                        Some(after) => col = after,
                        None => return part.file_of(row, col),
                    }
                }
                None
            }
            Node::ConcatRows(_) | Node::HalfSplit { .. } | Node::Slice { .. } => {
                let (source, row) = self.source_of(row)?;
                source.file_of(row, col)
            }
        }
    }

    fn check_row(&self, row: usize, len: usize) -> Result<()> {
        match row < self.rows() && len == self.cols() {
            true => Ok(()),
            false => Err(error!("tensor {}: has shape {:?}, not a row {row} of {len}", self.name, self.shape)),
        }
    }

    fn fill_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        match &self.node {
            Node::Stored(stored) => stored.fill_row(row, out),
            Node::Int8Groups(groups) => groups.fill_row(row, out),
            Node::Packed(packed) => return packed.fill_row(row, out),
            Node::Gridded(gridded) => gridded.fill_row(row, out),
            Node::Scaled { source, factors } => {
                source.fill_row(row, out)?;
                match factors {
                    Factors::Rows(factors) => out.iter_mut().for_each(|value| *value *= factors[row]),
                    Factors::Cols(factors) => {
                        out.iter_mut().zip(&factors[..]).for_each(|(value, factor)| *value *= factor)
                    }
                }
            }
            Node::ConcatCols(parts) => {
                let mut rest = out;
                for part in parts {
                    let (here, after) = rest.split_at_mut(part.cols());
                    part.fill_row(row, here)?;
                    rest = after;
                }
            }
            Node::ConcatRows(_) | Node::HalfSplit { .. } | Node::Slice { .. } => {
                if let Some((source, row)) = self.source_of(row) {
                    return source.fill_row(row, out);
                }
            }
        }
        Ok(())
    }

    fn fill_row_grid(&self, row: usize, out: &mut GridRow) -> Result<()> {
        match &self.node {
            Node::Stored(stored) => stored.fill_row_grid(row, out),
            Node::Int8Groups(groups) => groups.fill_row_grid(row, out),
            Node::Packed(packed) => return packed.fill_row_grid(row, out),
            Node::Gridded(gridded) => gridded.fill_row_grid(row, out),
            Node::ConcatCols(_) | Node::Scaled { .. } => {}
            Node::ConcatRows(_) | Node::HalfSplit { .. } | Node::Slice { .. } => {
                if let Some((source, row)) = self.source_of(row) {
                    return source.fill_row_grid(row, out);
                }
            }
        }
        Ok(())
    }

    /// The tensor, and its row, that a row of a tensor made of others comes from.
    fn source_of(&self, row: usize) -> Option<(&Tensor, usize)> {
        match &self.node {
            Node::ConcatRows(parts) => {
                let mut row = row;
                for part in parts {
                    match row.checked_sub(part.rows()) {
                        Some(after) => row = after,
                        None => return Some((part, row)),
                    }
                }
                None
            }
            Node::HalfSplit { source, half } => {
                let (head, i) = (row / (2 * half), row % (2 * half));
                Some((source.as_ref(), head * 2 * half + i % half * 2 + i / half))
            }
            Node::Slice { source, start } => Some((source.as_ref(), start + row)),
            Node::Stored(_)
            | Node::Int8Groups(_)
            | Node::Packed(_)
            | Node::Gridded(_)
            | Node::Scaled { .. }
            | Node::ConcatCols(_) => None,
        }
    }
}

fn rows_and_cols(name: &str, shape: &[usize]) -> Result<(usize, usize)> {
    match *shape {
        [rows] if rows > 0 => Ok((rows, 1)),
        [rows, cols] if rows > 0 && cols > 0 && rows.checked_mul(cols).is_some() => Ok((rows, cols)),
        _ => Err(error!("tensor {name}: shape {shape:?} is neither a vector nor a matrix")),
    }
}

fn checked_sum(name: &str, mut sizes: impl Iterator<Item = usize>) -> Result<usize> {
    let sum = sizes.try_fold(0usize, |sum, size| sum.checked_add(size));
    sum.ok_or_else(|| error!("tensor {name}: its parts are too large together"))
}
