//! Measured values, and our ratio to each peer in the same round. All numbers are integers: hundredths of the unit.

use serde::{Deserialize, Serialize};

/// A ratio of one, in hundredths.
const ONE: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quantity {
    /// A heading of the report.
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) better: Better,
}

impl Quantity {
    pub(crate) fn higher(group: &str, name: &str, unit: &str) -> Quantity {
        Quantity::new(group, name, unit, Better::Higher)
    }

    pub(crate) fn lower(group: &str, name: &str, unit: &str) -> Quantity {
        Quantity::new(group, name, unit, Better::Lower)
    }

    fn new(group: &str, name: &str, unit: &str, better: Better) -> Quantity {
        Quantity {
            group: group.to_owned(),
            name: name.to_owned(),
            unit: unit.to_owned(),
            better,
        }
    }
}

/// What one subject showed, a value per round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Side {
    pub(crate) subject: String,
    /// Hundredths of the unit.
    pub(crate) values: Vec<u64>,
}

impl Side {
    pub(crate) fn median(&self) -> u64 {
        median(&self.values)
    }
}

/// One quantity of every subject. The first side is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) quantity: Quantity,
    pub(crate) sides: Vec<Side>,
}

/// How many times better we are than a peer, in hundredths: 100 is equal, more is better, whatever the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ratio {
    pub(crate) median: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Row {
    /// Our ratio to each peer.
    pub(crate) fn ratios(&self) -> Vec<(&str, Ratio)> {
        let Some((ours, peers)) = self.sides.split_first() else {
            return Vec::new();
        };
        peers
            .iter()
            .filter_map(|peer| Some((peer.subject.as_str(), self.ratio(ours, peer)?)))
            .collect()
    }

    /// Round by round: what else the machine does slows both sides down.
    fn ratio(&self, ours: &Side, peer: &Side) -> Option<Ratio> {
        let rounds = ours.values.iter().zip(&peer.values);
        let mut ratios: Vec<u64> = rounds
            .filter_map(|(ours, peer)| match self.quantity.better {
                Better::Higher => divide(*ours, *peer),
                Better::Lower => divide(*peer, *ours),
            })
            .collect();
        ratios.sort_unstable();
        Some(Ratio {
            median: median(&ratios),
            from: *ratios.first()?,
            to: *ratios.last()?,
        })
    }
}

fn divide(value: u64, by: u64) -> Option<u64> {
    u64::try_from((u128::from(value) * u128::from(ONE)).checked_div(by.into())?).ok()
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The machine and the programs of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    pub(crate) machine: Vec<(String, String)>,
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) rounds: usize,
    pub(crate) command: String,
}

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) conditions: Conditions,
    pub(crate) rows: Vec<Row>,
}

impl Results {
    /// Adds a value of the next round.
    pub(crate) fn add(&mut self, quantity: &Quantity, subject: &str, value: u64) {
        let known = self.rows.iter().position(|row| row.quantity == *quantity);
        let at = known.unwrap_or_else(|| {
            self.rows.push(Row {
                quantity: quantity.clone(),
                sides: Vec::new(),
            });
            self.rows.len() - 1
        });
        let Some(row) = self.rows.get_mut(at) else { return };
        match row.sides.iter_mut().find(|side| side.subject == subject) {
            Some(side) => side.values.push(value),
            None => row.sides.push(Side {
                subject: subject.to_owned(),
                values: vec![value],
            }),
        }
    }

    /// Puts this subject first in every row, in whatever order the values came.
    pub(crate) fn order(&mut self, subjects: &[&str]) {
        let rank = |side: &Side| subjects.iter().position(|name| *name == side.subject);
        for row in &mut self.rows {
            row.sides.sort_by_key(|side| rank(side).unwrap_or(usize::MAX));
        }
    }

    pub(crate) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !groups.contains(&row.quantity.group.as_str()) {
                groups.push(&row.quantity.group);
            }
        }
        groups
    }

    pub(crate) fn rows_of(&self, group: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.quantity.group == group)
    }
}

/// What is this much worse than in the kept run, in hundredths of the kept ratio, is reported.
pub(crate) const THRESHOLD: u64 = 15;

/// A ratio that got worse.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Worse {
    pub(crate) what: String,
    pub(crate) kept: u64,
    pub(crate) now: Ratio,
}

/// Ratios whose median is more than [`THRESHOLD`] below the kept median, and whose best round is below it, too.
pub(crate) fn worse(kept: &Results, now: &Results) -> Vec<Worse> {
    let mut worse = Vec::new();
    for row in &now.rows {
        let Some(before) = kept.rows.iter().find(|other| other.quantity == row.quantity) else {
            continue;
        };
        let before = before.ratios();
        for (peer, ratio) in row.ratios() {
            let Some((_, kept)) = before.iter().find(|(name, _)| *name == peer) else {
                continue;
            };
            let limit = kept.median.saturating_mul(ONE.saturating_sub(THRESHOLD)) / ONE;
            if ratio.median < limit && ratio.to < kept.median {
                let Quantity {
                    group, name, unit, ..
                } = &row.quantity;
                worse.push(Worse {
                    what: format!("{group}, {name}, {unit}: beside {peer}"),
                    kept: kept.median,
                    now: ratio,
                });
            }
        }
    }
    worse
}

/// Hundredths as text with about three digits.
pub(crate) fn shown(hundredths: u64) -> String {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match hundredths {
        0..1_000 => format!("{whole}.{rest:02}"),
        1_000..10_000 => format!("{whole}.{}", rest / 10),
        _ => thousands(whole),
    }
}

/// With a comma before every third digit.
fn thousands(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(quantity: &Quantity, ours: &[u64], peer: &[u64]) -> Results {
        let mut results = Results::default();
        for value in peer {
            results.add(quantity, "peer", *value);
        }
        for value in ours {
            results.add(quantity, "ours", *value);
        }
        results.order(&["ours", "peer"]);
        results
    }

    #[test]
    fn a_ratio_above_one_is_better_whatever_the_unit() {
        let rate = Quantity::higher("verify", "16", "verifies/s");
        let cpu = Quantity::lower("verify", "16", "µs");
        let expected = Ratio {
            median: 200,
            from: 150,
            to: 300,
        };
        let faster = results(&rate, &[300, 200, 150], &[100, 100, 100]);
        assert_eq!(faster.rows[0].ratios(), [("peer", expected)]);
        let cheaper = results(&cpu, &[100, 100, 100], &[300, 200, 150]);
        assert_eq!(cheaper.rows[0].ratios(), [("peer", expected)]);
    }

    #[test]
    fn a_worse_ratio_is_reported_when_it_is_beyond_the_threshold_in_every_round() {
        let rate = Quantity::higher("verify", "16", "verifies/s");
        let kept = results(&rate, &[200], &[100]);
        assert_eq!(worse(&kept, &results(&rate, &[171], &[100])), []);
        // One round as good as before: noise.
        assert_eq!(
            worse(&kept, &results(&rate, &[150, 150, 200], &[100, 100, 100])),
            []
        );
        let worse = worse(&kept, &results(&rate, &[150, 150, 160], &[100, 100, 100]));
        assert_eq!(worse.len(), 1);
        assert_eq!((worse[0].kept, worse[0].now.median), (200, 150));
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let texts = [7, 999, 1_234, 123_456, 123_456_700].map(shown);
        assert_eq!(texts, ["0.07", "9.99", "12.3", "1,234", "1,234,567"]);
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let rate = Quantity::higher("verify", "16", "verifies/s");
        let written = results(&rate, &[300], &[100]);
        let text = serde_json::to_string(&written).expect("written");
        assert_eq!(serde_json::from_str::<Results>(&text).expect("read"), written);
    }
}
