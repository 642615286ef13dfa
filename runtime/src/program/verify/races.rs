//! Threads may be in any of the instructions between two barriers at once, so no two of them may touch the same bytes where one
//! writes; and what an instruction reads must be what an earlier one wrote there. Both follow from one walk over the instructions.

use super::super::{Buffer, Instruction, Operand, Program};
use super::bad;
use super::ops::{Heads, Op, find};
use crate::{Error, Result};
use tc_kernels::signature::Cache;

pub fn check(program: &Program, ops: &[Op]) -> Result<()> {
    let mut walk = Walk {
        program,
        since: 0,
        buffers: vec![Uses::default(); program.buffers.len()],
        layers: vec![Uses::default(); program.cache.layers as usize],
        segments: Uses::default(),
    };
    for (at, (instruction, op)) in program.instructions.iter().zip(ops).enumerate() {
        let name = &program.kernels[usize::from(instruction.kernel)];
        walk.step(at, instruction, op).map_err(|error| error.in_place(format!("instructions[{at}] ({name})")))?;
    }
    let logits = program.logits as usize;
    walk.holds(logits).map_err(|error| error.in_place("logits"))
}

/// When a buffer or a layer of the cache was last touched: numbers of instructions.
#[derive(Clone, Copy, Default)]
struct Uses {
    read: Option<usize>,
    written: Option<usize>,
    /// Written over, since, through a buffer that shares its bytes.
    lost: Option<usize>,
}

impl Uses {
    /// An instruction since the last barrier that another access of this kind would race with.
    fn rival(&self, writes: bool, since: usize) -> Option<usize> {
        let read = self.read.filter(|_| writes);
        [self.written, read].into_iter().flatten().find(|at| *at >= since)
    }

    fn touch(&mut self, writes: bool, at: usize) {
        if writes {
            (self.written, self.lost) = (Some(at), None);
        } else {
            self.read = Some(at);
        }
    }
}

struct Walk<'a> {
    program: &'a Program,
    /// The instruction before which the last barrier stood.
    since: usize,
    buffers: Vec<Uses>,
    layers: Vec<Uses>,
    /// The sums of contexts that are cut, of which there is one place for all attention.
    segments: Uses,
}

struct Access {
    buffer: usize,
    writes: bool,
    /// A matmul's residual may be its result.
    residual: bool,
}

impl Walk<'_> {
    fn step(&mut self, at: usize, instruction: &Instruction, op: &Op) -> Result<()> {
        if instruction.barrier {
            self.since = at;
        }
        let accesses = self.accesses(instruction)?;
        self.check_aliases(&accesses)?;
        for access in &accesses {
            if !access.writes {
                self.holds(access.buffer)?;
            }
            let rival = self.overlapping(access.buffer).find_map(|i| self.buffers[i].rival(access.writes, self.since));
            rival.map_or(Ok(()), |rival| Err(race(&self.program.buffers[access.buffer].name, rival)))?;
        }
        for access in accesses {
            self.touch(&access, at);
        }
        match op {
            Op::RopeKv { heads, .. } => self.cache(heads, Cache::Writes, at),
            Op::Attention { heads, .. } => {
                self.cache(heads, Cache::Reads, at)?;
                let rival = self.segments.rival(true, self.since);
                self.segments.touch(true, at);
                rival.map_or(Ok(()), |rival| Err(race("attention's sums", rival)))
            }
            _ => Ok(()),
        }
    }

    fn accesses(&self, instruction: &Instruction) -> Result<Vec<Access>> {
        let signature = find(&self.program.kernels[usize::from(instruction.kernel)])?;
        let access = |(operand, takes): (&Operand, &tc_kernels::signature::Operand)| match operand {
            Operand::Buffer(i) => {
                Some(Access { buffer: *i as usize, writes: takes.output, residual: takes.name == "residual" })
            }
            _ => None,
        };
        Ok(instruction.operands.iter().zip(signature.operands).filter_map(access).collect())
    }

    /// Within one instruction, what is written shares no byte with anything else but a residual in exactly its place.
    fn check_aliases(&self, accesses: &[Access]) -> Result<()> {
        for written in accesses.iter().filter(|access| access.writes) {
            for other in accesses.iter().filter(|access| !access.writes) {
                let (y, x) = (&self.program.buffers[written.buffer], &self.program.buffers[other.buffer]);
                let in_place = other.residual && (x.offset, x.stride) == (y.offset, y.stride);
                if overlap(x, y) && !in_place {
                    return Err(bad(format!("writes '{}' over '{}', which it reads", label(y), label(x))));
                }
            }
        }
        Ok(())
    }

    fn overlapping(&self, buffer: usize) -> impl Iterator<Item = usize> {
        let buffers = &self.program.buffers;
        (0..buffers.len()).filter(move |i| overlap(&buffers[*i], &buffers[buffer]))
    }

    /// The buffer still has what was last written to it.
    fn holds(&self, buffer: usize) -> Result<()> {
        let (uses, name) = (&self.buffers[buffer], label(&self.program.buffers[buffer]));
        match (uses.written, uses.lost) {
            (None, _) => Err(bad(format!("'{name}' is read before anything was written to it"))),
            (_, Some(by)) => Err(bad(format!("'{name}' is read after instructions[{by}] wrote over it"))),
            _ => Ok(()),
        }
    }

    fn touch(&mut self, access: &Access, at: usize) {
        if access.writes {
            let others: Vec<usize> = self.overlapping(access.buffer).collect();
            others.into_iter().for_each(|i| self.buffers[i].lost = Some(at));
        }
        self.buffers[access.buffer].touch(access.writes, at);
    }

    fn cache(&mut self, heads: &Heads, how: Cache, at: usize) -> Result<()> {
        let (layer, writes) = (heads.layer, how == Cache::Writes);
        let uses = &mut self.layers[layer as usize];
        if !writes && uses.written.is_none() {
            return Err(bad(format!("layer {layer} of the cache is read before anything was written to it")));
        }
        if let Some(rival) = uses.rival(writes, self.since) {
            return Err(race(&format!("layer {layer} of the cache"), rival));
        }
        uses.touch(writes, at);
        Ok(())
    }
}

fn overlap(a: &Buffer, b: &Buffer) -> bool {
    let end = |buffer: &Buffer| buffer.offset + u64::from(buffer.stride);
    a.over_rows == b.over_rows && a.offset < end(b) && b.offset < end(a)
}

fn label(buffer: &Buffer) -> String {
    buffer.name.escape_debug().to_string()
}

fn race(what: &str, rival: usize) -> Error {
    bad(format!("a barrier is missing: '{}' is touched by instructions[{rival}] at the same time", what.escape_debug()))
}
