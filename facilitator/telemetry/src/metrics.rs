//! Counters, gauges and histograms, written as Prometheus text at `/metrics`.
//!
//! Every family is bounded: at most [`MAX_SERIES`] label sets per name, and [`MAX_PLUGIN_NAMES`] names per plugin.
//! What comes beyond is counted in one overflow series, so that a hostile or careless label (a payer, a URL) costs
//! precision, never memory.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sdk_plugin::host::MetricKind;

use super::help;

/// Label sets kept per name.
pub const MAX_SERIES: usize = 512;
/// Names kept per plugin.
pub const MAX_PLUGIN_NAMES: usize = 64;
/// Labels kept per plugin-supplied series.
const MAX_PLUGIN_LABELS: usize = 8;
/// Longest name or label value, in bytes; the rest is cut.
const MAX_TEXT: usize = 100;
/// Upper bounds of histogram buckets: seconds from one millisecond to beyond the longest settle wait, and small counts.
const BUCKETS: [f64; 16] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 100.0,
];
/// Observations that found no room, or that were not numbers.
const DROPPED: &str = "switchyard_metrics_dropped_total";

type Labels = Vec<(String, String)>;

#[derive(Debug)]
struct Family {
    kind: MetricKind,
    series: BTreeMap<Labels, Series>,
}

#[derive(Debug, Clone)]
enum Series {
    Number(f64),
    Histogram {
        buckets: [u64; BUCKETS.len()],
        count: u64,
        sum: f64,
    },
}

#[derive(Debug, Default)]
struct Registry {
    families: BTreeMap<String, Family>,
    /// Names in use per plugin.
    plugin_names: HashMap<String, usize>,
}

/// The process's metrics. Cheap enough for every request: one short lock, no I/O.
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Metrics {
    /// Adds to a counter. Names end in `_total`.
    pub fn add(&self, name: &'static str, labels: &[(&'static str, &str)], by: u64) {
        // Counters are exact up to 2^53, a number of events that no process sees.
        #[expect(clippy::cast_precision_loss, reason = "a count of events, exact up to 2^53")]
        let by = by as f64;
        self.lock().record(MetricKind::Counter, name, owned(labels), by);
    }

    /// Sets a gauge.
    pub fn set(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.lock().record(MetricKind::Gauge, name, owned(labels), value);
    }

    /// Adds one observation to a histogram: seconds, or a small count.
    pub fn observe(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.lock()
            .record(MetricKind::Histogram, name, owned(labels), value);
    }

    /// A sample of a plugin's own metric, as the family `plugin_<plugin>_<name>`. Names and labels are cleaned and cut.
    pub fn plugin(
        &self,
        plugin: &str,
        kind: MetricKind,
        name: &str,
        value: f64,
        labels: &BTreeMap<String, String>,
    ) {
        let full = format!("plugin_{}_{}", identifier(plugin), identifier(name));
        let mut registry = self.lock();
        if !registry.families.contains_key(&full) {
            let names = registry.plugin_names.entry(plugin.to_owned()).or_insert(0);
            if *names >= MAX_PLUGIN_NAMES {
                registry.drop_sample();
                return;
            }
            *names += 1;
        }
        let labels: BTreeMap<String, String> = labels
            .iter()
            .take(MAX_PLUGIN_LABELS)
            .map(|(label, value)| match identifier(label).as_str() {
                // `le` is the histogram's own label and a leading underscore pair is reserved.
                reserved if reserved == "le" || reserved.starts_with("__") => {
                    (format!("label_{reserved}"), cut(value))
                }
                good => (good.to_owned(), cut(value)),
            })
            .collect();
        registry.record(kind, &full, labels.into_iter().collect(), value);
    }

    /// Everything, in the Prometheus text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let registry = self.lock();
        let mut out = String::new();
        for (name, family) in &registry.families {
            // Writing to a String can't fail.
            if let Some(help) = help::of(name) {
                let _ = writeln!(out, "# HELP {name} {help}");
            }
            let kind = match family.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            };
            let _ = writeln!(out, "# TYPE {name} {kind}");
            for (labels, series) in &family.series {
                write_series(&mut out, name, labels, series);
            }
        }
        out
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A map of numbers is valid at every point.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    #[expect(
        clippy::float_arithmetic,
        reason = "metrics are floating point by format; no amount passes here"
    )]
    fn record(&mut self, kind: MetricKind, name: &str, labels: Labels, value: f64) {
        if !value.is_finite() || (kind == MetricKind::Counter && value < 0.0) {
            return self.drop_sample();
        }
        if !self.families.contains_key(name) {
            self.families.insert(
                name.to_owned(),
                Family {
                    kind,
                    series: BTreeMap::new(),
                },
            );
        }
        let Some(family) = self.families.get_mut(name).filter(|family| family.kind == kind) else {
            return self.drop_sample();
        };
        let labels = if family.series.len() >= MAX_SERIES && !family.series.contains_key(&labels) {
            vec![("overflow".to_owned(), "true".to_owned())]
        } else {
            labels
        };
        let series = family.series.entry(labels).or_insert(match kind {
            MetricKind::Counter | MetricKind::Gauge => Series::Number(0.0),
            MetricKind::Histogram => Series::Histogram {
                buckets: [0; BUCKETS.len()],
                count: 0,
                sum: 0.0,
            },
        });
        match series {
            Series::Number(number) if kind == MetricKind::Gauge => *number = value,
            Series::Number(number) => *number += value,
            Series::Histogram { buckets, count, sum } => {
                *count = count.saturating_add(1);
                *sum += value;
                for (bound, bucket) in BUCKETS.iter().zip(buckets) {
                    if value <= *bound {
                        *bucket = bucket.saturating_add(1);
                    }
                }
            }
        }
    }

    fn drop_sample(&mut self) {
        self.record(MetricKind::Counter, DROPPED, Vec::new(), 1.0);
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    let mut labels: Labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), cut(value)))
        .collect();
    labels.sort_unstable();
    labels
}

/// `text` as a Prometheus identifier.
fn identifier(text: &str) -> String {
    let mut name: String = text
        .chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, 'n');
    }
    name
}

fn cut(value: &str) -> String {
    let end = (0..=MAX_TEXT.min(value.len()))
        .rev()
        .find(|end| value.is_char_boundary(*end))
        .unwrap_or(0);
    value.get(..end).unwrap_or_default().to_owned()
}

fn write_series(out: &mut String, name: &str, labels: &Labels, series: &Series) {
    match series {
        Series::Number(number) => {
            let _ = writeln!(out, "{name}{} {number}", label_text(labels, None));
        }
        Series::Histogram { buckets, count, sum } => {
            for (bound, bucket) in BUCKETS.iter().zip(buckets) {
                let labels = label_text(labels, Some(&bound.to_string()));
                let _ = writeln!(out, "{name}_bucket{labels} {bucket}");
            }
            let _ = writeln!(out, "{name}_bucket{} {count}", label_text(labels, Some("+Inf")));
            let _ = writeln!(out, "{name}_sum{} {sum}", label_text(labels, None));
            let _ = writeln!(out, "{name}_count{} {count}", label_text(labels, None));
        }
    }
}

fn label_text(labels: &Labels, bound: Option<&str>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(name, value)| {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_text() {
        let metrics = Metrics::default();
        metrics.add("requests_total", &[("path", "/verify"), ("code", "200")], 2);
        metrics.add("requests_total", &[("code", "200"), ("path", "/verify")], 1);
        metrics.set("open", &[], 4.5);
        metrics.set("open", &[], 3.0);
        metrics.observe("wait_seconds", &[("kind", "a\"b\\\n")], 0.3);
        let text = metrics.render();
        assert!(
            text.contains("# TYPE requests_total counter\nrequests_total{code=\"200\",path=\"/verify\"} 3\n")
        );
        assert!(text.contains("# TYPE open gauge\nopen 3\n"));
        assert!(
            text.contains("wait_seconds_bucket{kind=\"a\\\"b\\\\\\n\",le=\"0.25\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("wait_seconds_bucket{kind=\"a\\\"b\\\\\\n\",le=\"0.5\"} 1\n"));
        assert!(text.contains("wait_seconds_bucket{kind=\"a\\\"b\\\\\\n\",le=\"+Inf\"} 1\n"));
        assert!(text.contains("wait_seconds_sum{kind=\"a\\\"b\\\\\\n\"} 0.3\n"));
    }

    #[test]
    fn t109_label_sets_and_plugin_names_are_bounded() {
        let metrics = Metrics::default();
        for n in 0..MAX_SERIES + 10 {
            metrics.add("payers_total", &[("payer", &n.to_string())], 1);
        }
        let text = metrics.render();
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("payers_total{payer"))
                .count(),
            MAX_SERIES
        );
        assert!(text.contains("payers_total{overflow=\"true\"} 10\n"), "{text}");

        let labels = BTreeMap::from([
            ("le".to_owned(), "é".repeat(1_000)),
            ("__x".to_owned(), String::new()),
        ]);
        for n in 0..MAX_PLUGIN_NAMES + 5 {
            metrics.plugin("evm-2", MetricKind::Gauge, &format!("n{n}/é"), 1.0, &labels);
        }
        let text = metrics.render();
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("plugin_evm_2_n"))
            .collect();
        assert_eq!(kept.len(), MAX_PLUGIN_NAMES);
        assert!(
            kept.iter()
                .all(|line| line.contains("{label___x=\"\",label_le=\"éé") && line.len() < 200),
            "{kept:?}"
        );
        assert!(text.contains("switchyard_metrics_dropped_total 5\n"));
        assert!(text.contains("# HELP switchyard_metrics_dropped_total "));
    }

    #[test]
    fn samples_that_make_no_sense_are_dropped_and_counted() {
        let metrics = Metrics::default();
        metrics.add("a_total", &[], 1);
        metrics.set("a_total", &[], 7.0);
        metrics.observe("b", &[], f64::NAN);
        metrics.plugin("p", MetricKind::Counter, "c", -1.0, &BTreeMap::new());
        let text = metrics.render();
        assert!(text.contains("\na_total 1\n"), "{text}");
        assert!(text.contains("switchyard_metrics_dropped_total 3\n"));
    }
}
