//! What was measured, and how it is shown: median, least and most of the rounds.

use serde_json::{Value, json};

use super::super::output::Unwritable;

/// A figure, with a sample from each round.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    samples: Vec<f64>,
}

/// What one load came to.
#[derive(Debug)]
pub(super) struct Case {
    pub shape: &'static str,
    what: String,
    figures: Vec<Figure>,
}

impl Case {
    pub fn new(shape: &'static str, what: impl Into<String>) -> Self {
        Self { shape, what: what.into(), figures: Vec::new() }
    }

    /// Adds a round's sample.
    pub fn add(&mut self, name: &'static str, unit: &'static str, sample: f64) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.samples.push(sample),
            None => self.figures.push(Figure { name, unit, samples: vec![sample] }),
        }
    }

    /// Adds a round's latencies.
    pub fn add_latencies(&mut self, latencies: &Latencies) {
        for (name, sample) in LATENCIES.into_iter().zip(latencies.0) {
            self.add(name, "ms", sample);
        }
    }

    /// The median of a figure, if it was measured.
    pub fn median(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.median())
    }

    /// Prints a table.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self) -> Result<(), Unwritable> {
        outln!("\n{}: {}", self.shape, self.what)?;
        outln!("  {:<38} {:>12} {:>12} {:>12}", "", "median", "least", "most")?;
        for figure in &self.figures {
            let [median, least, most] = figure.summary().map(shown);
            outln!("  {:<38} {median:>12} {least:>12} {most:>12}", format!("{}, {}", figure.name, figure.unit))?;
        }
        Ok(())
    }

    pub fn json(&self) -> Value {
        let figure = |figure: &Figure| {
            let [median, least, most] = figure.summary();
            json!({"name": figure.name, "unit": figure.unit, "median": median, "least": least, "most": most, "samples": figure.samples})
        };
        json!({"shape": self.shape, "what": self.what, "figures": self.figures.iter().map(figure).collect::<Vec<_>>()})
    }
}

impl Figure {
    fn median(&self) -> f64 {
        median(&self.samples)
    }

    /// Median, least and most.
    fn summary(&self) -> [f64; 3] {
        let ends = |fold: fn(f64, f64) -> f64| self.samples.iter().copied().reduce(fold).unwrap_or_default();
        [self.median(), ends(f64::min), ends(f64::max)]
    }
}

/// Of an even number, the mean of the two in the middle; 0 of none.
pub(super) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Three digits that count, and groups of thousands.
fn shown(value: f64) -> String {
    if value.abs() < 100.0 {
        let digits = if value.abs() < 1.0 { 3 } else { 2 - usize::from(value.abs() >= 10.0) };
        return format!("{value:.digits$}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

const LATENCIES: [&str; 4] = ["p50", "p99", "p99.9", "at most"];

/// Milliseconds from the moment a report was due to its arrival at the receiver: at the parts of [`LATENCIES`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latencies(pub [f64; 4]);

impl Latencies {
    pub fn p99(&self) -> f64 {
        self.0[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_with_its_spread() {
        let mut case = Case::new("burst", "a load");
        [3.0, 1.0, 2.0].into_iter().for_each(|sample| case.add("delivered", "1/s", sample));
        assert_eq!(case.median("delivered"), Some(2.0));
        assert_eq!(case.median("accepted"), None);
        assert_eq!(case.figures[0].summary(), [2.0, 1.0, 3.0]);
        assert_eq!((median(&[1.0, 2.0]), median(&[])), (1.5, 0.0));
    }

    #[test]
    fn numbers_are_shown_with_three_digits_that_count() {
        for (value, text) in
            [(0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (1234.0, "1,234"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(shown(value), text);
        }
    }
}
