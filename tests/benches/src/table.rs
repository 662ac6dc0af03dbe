//! The table of a run, in integers: picoseconds and hundredths.

use std::time::Duration;

use crate::Sample;

const HEADING: [&str; 6] = [
    "hot path",
    "ours",
    "limit",
    "ratio",
    "8 of 10 samples",
    "the limit is",
];
const MEANING: &str = "Times are medians of one repetition. A ratio is our time by the limit's in the same moment: 1.0 is the limit.";

/// One comparison.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    limit: String,
    ours_ps: u128,
    limit_ps: u128,
    /// Hundredths: the median, and what 8 of 10 samples lie between.
    ratio: u128,
    from: u128,
    to: u128,
}

impl Row {
    pub(crate) fn new(name: String, limit: &str, samples: &[Sample]) -> Self {
        let sorted = |of: &dyn Fn(&Sample) -> u128| {
            let mut values: Vec<u128> = samples.iter().map(of).collect();
            values.sort_unstable();
            values
        };
        let ours = sorted(&|sample| each_ps(sample.ours, sample.times));
        let limit_times = sorted(&|sample| each_ps(sample.limit, sample.times));
        let ratios = sorted(&|sample| sample.ours.as_nanos() * 100 / sample.limit.as_nanos().max(1));
        Self {
            name,
            limit: limit.to_owned(),
            ours_ps: at_tenth(&ours, 5),
            limit_ps: at_tenth(&limit_times, 5),
            ratio: at_tenth(&ratios, 5),
            from: at_tenth(&ratios, 1),
            to: at_tenth(&ratios, 9),
        }
    }

    fn cells(&self) -> [String; 6] {
        [
            self.name.clone(),
            time(self.ours_ps),
            time(self.limit_ps),
            three_digits(self.ratio),
            format!("{} to {}", three_digits(self.from), three_digits(self.to)),
            self.limit.clone(),
        ]
    }
}

/// The time of one repetition.
fn each_ps(all: Duration, times: u64) -> u128 {
    all.as_nanos() * 1_000 / u128::from(times.max(1))
}

/// The value below which so many tenths of the sorted values lie.
fn at_tenth(sorted: &[u128], tenth: usize) -> u128 {
    let at = sorted.len() * tenth / 10;
    sorted.get(at).or(sorted.last()).copied().unwrap_or_default()
}

fn time(picoseconds: u128) -> String {
    let (unit_ps, unit) = match picoseconds {
        0..1_000_000 => (1_000, "ns"),
        1_000_000..1_000_000_000 => (1_000_000, "µs"),
        _ => (1_000_000_000, "ms"),
    };
    format!("{} {unit}", three_digits(picoseconds * 100 / unit_ps))
}

/// A number of hundredths with about three digits.
fn three_digits(hundredths: u128) -> String {
    let whole = hundredths / 100;
    match hundredths {
        0..1_000 => format!("{whole}.{:02}", hundredths % 100),
        1_000..10_000 => format!("{whole}.{}", hundredths % 100 / 10),
        _ => whole.to_string(),
    }
}

/// The table, with a line that says how to read it.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut lines = vec![HEADING.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..HEADING.len()).map(width).collect();
    let mut text = String::from("\n");
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                // Numbers end in one column.
                1..=3 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text.push('\n');
    text.push_str(MEANING);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_the_range_of_the_ratio() {
        let samples: Vec<Sample> = (1..=10)
            .map(|n| Sample {
                times: 100,
                ours: Duration::from_micros(200 + n),
                limit: Duration::from_micros(100),
            })
            .collect();
        let row = Row::new("evm/verify".into(), "recovery", &samples);
        assert_eq!(
            row.cells(),
            [
                "evm/verify",
                "2.06 µs",
                "1.00 µs",
                "2.06",
                "2.02 to 2.10",
                "recovery"
            ]
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(time(999), "0.99 ns");
        assert_eq!(time(210_400), "210 ns");
        assert_eq!(time(12_340_000), "12.3 µs");
        assert_eq!(time(4_000_000_000), "4.00 ms");
        assert_eq!(three_digits(123_456), "1234");
    }

    #[test]
    fn columns_are_aligned() {
        let sample = Sample {
            times: 1,
            ours: Duration::from_micros(3),
            limit: Duration::from_micros(2),
        };
        let rows = [
            Row::new("a".into(), "x", &[sample]),
            Row::new("longer".into(), "y", &[sample]),
        ];
        let text = text(&rows);
        let columns: Vec<usize> = text
            .lines()
            .filter(|line| line.contains("µs"))
            .filter_map(|line| line.split("µs").next().map(|start| start.chars().count()))
            .collect();
        assert_eq!(columns.len(), 2);
        assert_eq!(columns.first(), columns.last());
    }
}
