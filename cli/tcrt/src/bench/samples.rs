//! The same measurement, repeated.

pub struct Samples(Vec<f64>);

impl Samples {
    pub fn new(mut values: Vec<f64>) -> Samples {
        values.sort_by(f64::total_cmp);
        Samples(values)
    }

    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len().is_multiple_of(2) { (self.0[middle - 1] + self.0[middle]) / 2.0 } else { self.0[middle] }
    }

    /// The least and the most.
    pub fn spread(&self) -> [f64; 2] {
        [self.0[0], self.0[self.0.len() - 1]]
    }
}
