//! Top-k, top-p and min-p without sorting the vocabulary.

/// A token that may be drawn; `weight` is `exp((logit - max) / temperature)`, so the best one has 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub id: u32,
    logit: f32,
    pub weight: f64,
}

pub(super) struct Truncation {
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
    pub temperature: f32,
}

/// How many of the best top-p looks at first; a trained model's nucleus is rarely larger. Each further look takes `GROWTH` times as many.
const FIRST_LOOK: usize = 64;
const GROWTH: usize = 8;

impl Truncation {
    /// Leaves in `out` the tokens that remain: in descending order if top-k or top-p is on, else by id.
    pub fn keep(&self, logits: &[f32], max: f32, out: &mut Vec<Candidate>) {
        let limit = if self.top_k == 0 { logits.len() } else { self.top_k.min(logits.len()) };
        if self.top_p < 1.0 {
            self.keep_nucleus(logits, max, limit, out);
        } else if limit < logits.len() {
            self.keep_best(logits, max, limit, out);
        } else {
            out.clear();
            out.extend(logits.iter().enumerate().map(|(id, &l)| self.candidate(id, l, max)));
        }
        // The best has weight 1, so this is the ratio to it.
        out.retain(|c| c.weight > 0.0 && c.weight >= f64::from(self.min_p));
    }

    fn keep_nucleus(&self, logits: &[f32], max: f32, limit: usize, out: &mut Vec<Candidate>) {
        // With top-k on, the mass is that of the k best; else that of all.
        let mut mass = None;
        if limit == logits.len() {
            mass = Some(logits.iter().map(|&l| self.weight(l, max)).sum::<f64>());
        }
        let mut look = if mass.is_some() { FIRST_LOOK.min(limit) } else { limit };
        loop {
            self.keep_best(logits, max, look, out);
            let mass = mass.unwrap_or_else(|| out.iter().map(|c| c.weight).sum());
            let wanted = mass * f64::from(self.top_p);
            let mut sum = 0.0;
            let reached = out.iter().position(|c| {
                sum += c.weight;
                sum >= wanted
            });
            match reached {
                Some(last) => return out.truncate(last + 1),
                None if look == limit => return,
                None => look = look.saturating_mul(GROWTH).min(limit),
            }
        }
    }

    /// The `k` best in descending order, the lower id first among equals. One pass: whatever does not beat the k-th best so far is
    /// passed over, what does is put in a buffer of twice `k`, which is cut back to its best half whenever it is full.
    fn keep_best(&self, logits: &[f32], max: f32, k: usize, out: &mut Vec<Candidate>) {
        let descending = |a: &Candidate, b: &Candidate| b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id));
        out.clear();
        // Masked tokens (-inf) never enter.
        let mut floor = f32::NEG_INFINITY;
        for (id, &l) in logits.iter().enumerate() {
            // An equal logit with a higher id ranks below the k-th best: strictly above is right.
            if l > floor {
                out.push(Candidate { id: id as u32, logit: l, weight: 0.0 });
                if out.len() >= 2 * k {
                    let (_, kth, _) = out.select_nth_unstable_by(k - 1, descending);
                    floor = kth.logit;
                    out.truncate(k);
                }
            }
        }
        out.sort_unstable_by(descending);
        out.truncate(k);
        for c in out {
            c.weight = self.weight(c.logit, max);
        }
    }

    fn candidate(&self, id: usize, logit: f32, max: f32) -> Candidate {
        Candidate { id: id as u32, logit, weight: self.weight(logit, max) }
    }

    /// Relative to the maximum before dividing, so that no temperature can overflow.
    fn weight(&self, logit: f32, max: f32) -> f64 {
        f64::from(((logit - max) / self.temperature).exp())
    }
}
