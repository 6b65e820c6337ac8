//! What was measured, as a table on the screen and as flat JSON.

use std::path::Path;

use serde_json::{Map, Value};

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// Shown beside the others.
    None,
}

impl Aim {
    fn says(self, value: f64) -> String {
        let (text, met) = match self {
            Aim::Most(most) => (format!("aim ≤ {most}"), value <= most),
            Aim::Least(least) => (format!("aim ≥ {least}"), value >= least),
            Aim::None => return String::new(),
        };
        if met { text } else { format!("{text}: MISSED") }
    }
}

/// Figures in the order in which they were found.
#[derive(Debug, Default)]
pub struct Figures(Vec<(String, f64, Aim)>);

impl Figures {
    /// Adds a figure and shows it.
    pub fn add(&mut self, key: impl Into<String>, value: f64, aim: Aim) {
        let key = key.into();
        eprintln!("  {}", line(&key, value, aim));
        self.0.push((key, value, aim));
    }

    /// All figures, aligned; those with an aim first.
    pub fn table(&self) -> String {
        let (aimed, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, _, aim)| !matches!(aim, Aim::None));
        aimed.iter().chain(&others).map(|(key, value, aim)| line(key, *value, *aim) + "\n").collect()
    }

    /// Writes one flat object.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let rounded = |value: &f64| Value::from((value * 10_000.0).round() / 10_000.0);
        let map: Map<String, Value> = self.0.iter().map(|(key, value, _)| (key.clone(), rounded(value))).collect();
        std::fs::write(path, format!("{:#}\n", Value::Object(map)))
    }
}

fn line(key: &str, value: f64, aim: Aim) -> String {
    format!("{key:<38} {value:>10.3}  {}", aim.says(value)).trim_end().to_owned()
}

/// The middle of the values, or the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(low, high)
}
