//! Log probabilities of a row of logits.

use super::Scored;

/// `token` in this row, and the `top` best beside it.
pub fn score(row: &[f32], token: u32, top: usize) -> Scored {
    let norm = log_sum_exp(row);
    let logprob = |id: u32| row[id as usize] - norm;
    let top = best(row, top).into_iter().map(|id| (id, logprob(id))).collect();
    Scored { token, logprob: logprob(token), top }
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|logit| f64::from((logit - max).exp())).sum();
    max + sum.ln() as f32
}

/// The `count` best ids, best first, the lower one first among equals.
fn best(row: &[f32], count: usize) -> Vec<u32> {
    let count = count.min(row.len());
    if count == 0 {
        return Vec::new();
    }
    let mut ids: Vec<u32> = (0..row.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
    ids.select_nth_unstable_by(count - 1, by_logit);
    ids.truncate(count);
    ids.sort_unstable_by(by_logit);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_the_best_come_first() {
        let row = [1.0, 3.0, -2.0, 3.0, 0.5];
        let scored = score(&row, 2, 5);
        assert_eq!(scored.top.iter().map(|entry| entry.0).collect::<Vec<_>>(), [1, 3, 0, 4, 2]);
        let sum: f32 = scored.top.iter().map(|entry| entry.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(scored.logprob, scored.top[4].1);
        assert_eq!(score(&row, 0, 0).top, []);
        assert_eq!(score(&row, 0, 9).top.len(), 5);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let scored = score(&[1e30, -1e30], 0, 1);
        assert_eq!(scored.logprob, 0.0);
    }
}
