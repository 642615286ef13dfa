use crate::{Error, ErrorKind, Result};

/// Which blocks of the pool are in use, and by how many sequences.
pub struct Blocks {
    total: u32,
    /// Holders of each block that was ever used.
    holders: Vec<u32>,
    /// Used once and free again; these come before fresh ones, whose memory is still untouched.
    free: Vec<u32>,
}

impl Blocks {
    pub fn new(total: u32) -> Blocks {
        Blocks { total, holders: Vec::new(), free: Vec::new() }
    }

    pub fn used(&self) -> usize {
        self.touched() - self.free.len()
    }

    /// Blocks that were ever used: what the pool takes of the machine's memory.
    pub fn touched(&self) -> usize {
        self.holders.len()
    }

    pub fn take(&mut self) -> Result<u32> {
        if let Some(block) = self.free.pop() {
            self.holders[block as usize] = 1;
            return Ok(block);
        }
        let fresh = self.holders.len() as u32;
        if fresh == self.total {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("all {} blocks of the KV cache are in use", self.total),
            ));
        }
        self.holders.push(1);
        Ok(fresh)
    }

    pub fn share(&mut self, block: u32) {
        self.holders[block as usize] += 1;
    }

    pub fn is_shared(&self, block: u32) -> bool {
        self.holders[block as usize] > 1
    }

    pub fn release(&mut self, block: u32) {
        let holders = &mut self.holders[block as usize];
        *holders -= 1;
        if *holders == 0 {
            self.free.push(block);
        }
    }
}
