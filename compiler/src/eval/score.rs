//! Sums over predictions, in f64.

use serde::Serialize;

/// A mean and its standard error, or what is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub error: f64,
}

impl Estimate {
    /// In another unit.
    #[must_use]
    pub fn times(self, factor: f64) -> Estimate {
        Estimate { value: factor * self.value, error: factor * self.error }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub windows: usize,
    /// Tokens of a window.
    pub ctx: usize,
    /// Tokens that were predicted.
    pub positions: usize,
    pub perplexity: Estimate,
    /// Against the base, where there is one.
    pub divergence: Option<Divergence>,
}

/// How far predictions are from those of the base, which has the probabilities p and the model q.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Divergence {
    pub base_perplexity: Estimate,
    /// exp of the mean of ln p - ln q for the tokens that came; its error is that of paired samples.
    pub perplexity_ratio: Estimate,
    /// The mean over positions of Σ p ln(p / q) over the vocabulary.
    pub kld: Estimate,
    pub median_kld: f64,
    pub kld_99: f64,
    pub max_kld: f64,
    /// The part of the positions where both find the same token likeliest.
    pub top1: Estimate,
}

#[derive(Default)]
pub struct Score {
    /// -ln q of each token that came.
    surprise: Sum,
    base: Sum,
    ratio: Sum,
    kld: Sum,
    klds: Vec<f64>,
    same: usize,
}

#[derive(Default)]
pub struct Sum {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Sum {
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    pub fn mean(&self) -> Estimate {
        let count = self.count as f64;
        let value = self.sum / count;
        let variance = (self.squares / count - value * value).max(0.0);
        Estimate { value, error: if self.count > 1 { (variance / (count - 1.0)).sqrt() } else { 0.0 } }
    }

    fn exp_mean(&self) -> Estimate {
        let Estimate { value, error } = self.mean();
        Estimate { value: value.exp(), error: value.exp() * error }
    }
}

impl Score {
    pub fn add(&mut self, logits: &[f32], target: u32) {
        self.surprise.add(log_sum_exp(logits) - f64::from(logits[target as usize]));
    }

    pub fn add_pair(&mut self, logits: &[f32], base: &[f32], target: u32) {
        let (norm, base_norm) = (log_sum_exp(logits), log_sum_exp(base));
        let surprise = norm - f64::from(logits[target as usize]);
        let base_surprise = base_norm - f64::from(base[target as usize]);
        self.surprise.add(surprise);
        self.base.add(base_surprise);
        self.ratio.add(surprise - base_surprise);
        let kld = divergence(logits, norm, base, base_norm);
        self.kld.add(kld);
        self.klds.push(kld);
        self.same += usize::from(likeliest(logits) == likeliest(base));
    }

    pub fn report(mut self, windows: usize, ctx: usize) -> Report {
        let divergence = (!self.klds.is_empty()).then(|| self.divergence());
        Report { windows, ctx, positions: self.surprise.count, perplexity: self.surprise.exp_mean(), divergence }
    }

    fn divergence(&mut self) -> Divergence {
        self.klds.sort_by(f64::total_cmp);
        let count = self.klds.len();
        let quantile = |part: f64| self.klds[((count - 1) as f64 * part).round() as usize];
        let same = self.same as f64 / count as f64;
        Divergence {
            base_perplexity: self.base.exp_mean(),
            perplexity_ratio: self.ratio.exp_mean(),
            kld: self.kld.mean(),
            median_kld: quantile(0.5),
            kld_99: quantile(0.99),
            max_kld: quantile(1.0),
            top1: Estimate { value: same, error: (same * (1.0 - same) / (count.max(2) - 1) as f64).sqrt() },
        }
    }
}

pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    f64::from(largest) + sum.ln()
}

/// Σ p (ln p - ln q).
pub fn divergence(logits: &[f32], norm: f64, base: &[f32], base_norm: f64) -> f64 {
    let pairs = logits.iter().zip(base).map(|(logit, base)| (f64::from(*logit) - norm, f64::from(*base) - base_norm));
    pairs.map(|(ln_q, ln_p)| ln_p.exp() * (ln_p - ln_q)).sum()
}

/// The first of the largest.
pub fn likeliest<T: Copy + PartialOrd>(logits: &[T]) -> usize {
    let best = logits.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
    }

    #[test]
    fn known_distributions() {
        // q = (1/2, 1/4, 1/4) and p = (1/4, 1/4, 1/2), with a constant added that must not matter.
        let logits = |parts: [f32; 3]| parts.map(|part| part.ln() + 100.0);
        let (q, p) = (logits([0.5, 0.25, 0.25]), logits([0.25, 0.25, 0.5]));
        let mut score = Score::default();
        score.add_pair(&q, &p, 0);
        score.add_pair(&q, &p, 2);
        let report = score.report(1, 4);
        close(report.perplexity.value, 8f64.sqrt());
        let divergence = report.divergence.unwrap();
        close(divergence.base_perplexity.value, 8f64.sqrt());
        close(divergence.perplexity_ratio.value, 1.0);
        close(divergence.kld.value, 0.25 * 2f64.ln());
        close(divergence.max_kld, divergence.median_kld);
        assert_eq!(divergence.top1.value, 0.0);
    }

    #[test]
    fn errors_are_those_of_the_mean() {
        let mut sum = Sum::default();
        [1.0, 2.0, 3.0, 4.0].into_iter().for_each(|value| sum.add(value));
        close(sum.mean().value, 2.5);
        close(sum.mean().error, (5.0f64 / 3.0 / 4.0).sqrt());
    }
}
