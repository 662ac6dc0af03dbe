//! Counters, gauges and histograms, served as Prometheus text at `/metrics`.
//!
//! Every family is bounded: at most [`MAX_SERIES`] label sets per name, and [`MAX_PLUGIN_NAMES`] names per plugin. Samples
//! beyond that are counted in one overflow series, so a hostile or careless label (a payer, a URL) costs precision but
//! never memory. `prometheus-client` has no such bound; it writes the text and keeps the histograms, and this module
//! keeps the maps.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _,
    GaugeValueEncoder, MetricEncoder, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry;
use sdk_plugin::host::MetricKind;

use super::help;

/// Label sets kept per name.
pub const MAX_SERIES: usize = 512;
/// Names kept per plugin.
pub const MAX_PLUGIN_NAMES: usize = 64;
/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;
/// Labels kept per plugin-supplied series.
const MAX_PLUGIN_LABELS: usize = 8;
/// Longest name or label value in bytes; longer ones are cut.
const MAX_TEXT: usize = 100;
/// Upper bounds of the histogram buckets: seconds from one millisecond to above the longest settle wait, and small counts.
const BUCKETS: [f64; 16] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 100.0,
];
/// Counts samples that were not recorded.
const DROPPED: &str = "switchyard_metrics_dropped_total";
/// The suffix that the text encoder appends to the name of every counter.
const COUNTER_SUFFIX: &str = "_total";
/// Integers in this range are written without a fraction.
const MAX_INTEGER: f64 = 9.0e18;
/// Series that are found without a copy of their labels, at most. The core's own are far fewer.
const MAX_RECENT: usize = 1_024;

type Labels = Vec<(String, String)>;
/// Labels as a caller gives them.
type Given<'a> = [(&'static str, &'a str)];

#[derive(Debug)]
struct Family {
    kind: MetricKind,
    series: BTreeMap<Labels, Series>,
}

#[derive(Debug)]
enum Series {
    Number(Number),
    Histogram(Histogram),
}

/// The value of a counter or gauge.
#[derive(Debug, Clone, Copy)]
struct Number(f64);

#[derive(Debug, Default)]
struct Registry {
    families: BTreeMap<String, Family>,
    /// Names in use per plugin.
    plugin_names: HashMap<String, usize>,
    /// Series by a hash of what the caller gave.
    recent: HashMap<u64, Recent>,
    hasher: RandomState,
}

/// Where a sample with this name and these labels was recorded.
#[derive(Debug)]
struct Recent {
    name: &'static str,
    given: Vec<(&'static str, String)>,
    series: Labels,
}

impl Recent {
    fn is_of(&self, name: &str, labels: &Given<'_>) -> bool {
        let given = self.given.iter().map(|(label, value)| (*label, value.as_str()));
        self.name == name && given.eq(labels.iter().copied())
    }
}

/// The locked families, from which the text encoder reads.
#[derive(Debug, Default)]
struct Shared(Mutex<Registry>);

/// The process's metrics. Recording takes one short lock and does no I/O.
#[derive(Debug, Default)]
pub struct Metrics {
    shared: Arc<Shared>,
}

impl Metrics {
    /// Adds to a counter. Its name must end in `_total`.
    pub fn add(&self, name: &'static str, labels: &[(&'static str, &str)], by: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a count of events, exact up to 2^53")]
        let by = by as f64;
        self.record(MetricKind::Counter, name, labels, by);
    }

    /// Adds a quantity that may exceed an integer to a counter, for instance an amount. Its name must end in `_total`.
    pub fn add_quantity(&self, name: &'static str, labels: &[(&'static str, &str)], by: f64) {
        self.record(MetricKind::Counter, name, labels, by);
    }

    /// Sets a gauge.
    pub fn set(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.record(MetricKind::Gauge, name, labels, value);
    }

    /// Adds one observation to a histogram: seconds, or a small count.
    pub fn observe(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.record(MetricKind::Histogram, name, labels, value);
    }

    /// Records a sample of a plugin's own metric in the family `plugin_<plugin>_<name>`. Characters that Prometheus does
    /// not allow are replaced, and long names and labels are cut.
    pub fn plugin(
        &self,
        plugin: &str,
        kind: MetricKind,
        name: &str,
        value: f64,
        labels: &BTreeMap<String, String>,
    ) {
        let full = format!("plugin_{}_{}", identifier(plugin), identifier(name));
        let mut registry = self.shared.0.lock();
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
                // `le` is the histogram's own label, and names that start with `__` are reserved.
                reserved if reserved == "le" || reserved.starts_with("__") => {
                    (format!("label_{reserved}"), cut(value))
                }
                allowed => (allowed.to_owned(), cut(value)),
            })
            .collect();
        // The core does not record where: a plugin's name is not `'static`.
        let _ = registry.record(kind, &full, labels.into_iter().collect(), value);
    }

    /// Returns every family in the Prometheus text format 0.0.4, ordered by name.
    #[must_use]
    pub fn render(&self) -> String {
        let mut registry = registry::Registry::default();
        registry.register_collector(Box::new(Arc::clone(&self.shared)));
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = prometheus_text::encode(&mut text, &registry);
        text
    }

    fn record(&self, kind: MetricKind, name: &'static str, labels: &Given<'_>, value: f64) {
        self.shared.0.lock().record_given(kind, name, labels, value);
    }
}

impl Registry {
    /// Records a sample of the core. A series that was recorded lately is found without an allocation.
    fn record_given(&mut self, kind: MetricKind, name: &'static str, labels: &Given<'_>, value: f64) {
        let hash = self.hasher.hash_one((name, labels));
        let recent = self.recent.get(&hash).filter(|recent| recent.is_of(name, labels));
        if let Some(recent) = recent
            && let Some(family) = self.families.get_mut(name).filter(|family| family.kind == kind)
            && let Some(series) = family.series.get_mut(&recent.series)
            && is_good(kind, value)
        {
            return series.add(kind, value);
        }
        let mut sorted: Labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), cut(value)))
            .collect();
        sorted.sort_unstable();
        if let Some(series) = self.record(kind, name, sorted, value) {
            if self.recent.len() >= MAX_RECENT {
                self.recent.clear();
            }
            let given = labels.iter().map(|(label, value)| (*label, (*value).to_owned()));
            let given = given.collect();
            self.recent.insert(hash, Recent { name, given, series });
        }
    }

    /// The labels of the series that has the sample; `None`: it was dropped.
    fn record(&mut self, kind: MetricKind, name: &str, labels: Labels, value: f64) -> Option<Labels> {
        if !is_good(kind, value) {
            self.drop_sample();
            return None;
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
            self.drop_sample();
            return None;
        };
        let labels = if family.series.len() >= MAX_SERIES && !family.series.contains_key(&labels) {
            vec![("overflow".to_owned(), "true".to_owned())]
        } else {
            labels
        };
        let series = family.series.entry(labels.clone()).or_insert_with(|| match kind {
            MetricKind::Counter | MetricKind::Gauge => Series::Number(Number(0.0)),
            MetricKind::Histogram => Series::Histogram(Histogram::new(BUCKETS)),
        });
        series.add(kind, value);
        Some(labels)
    }

    fn drop_sample(&mut self) {
        let _ = self.record(MetricKind::Counter, DROPPED, Vec::new(), 1.0);
    }
}

impl Collector for Shared {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, family) in &self.0.lock().families {
            let help = help::text_of(name).unwrap_or("A plugin's own metric.");
            let (name, kind) = match (family.kind, name.strip_suffix(COUNTER_SUFFIX)) {
                (MetricKind::Counter, Some(stem)) => (stem, MetricType::Counter),
                // A plugin's counter keeps the name that the plugin gave it, although that is not a counter's name.
                (MetricKind::Counter, None) => (name.as_str(), MetricType::Unknown),
                (MetricKind::Gauge, _) => (name.as_str(), MetricType::Gauge),
                (MetricKind::Histogram, _) => (name.as_str(), MetricType::Histogram),
            };
            let mut family_encoder = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, series) in &family.series {
                series.encode(kind, family_encoder.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

/// Whether a sample can be recorded.
fn is_good(kind: MetricKind, value: f64) -> bool {
    value.is_finite() && (kind != MetricKind::Counter || value >= 0.0)
}

impl Series {
    /// Records one sample, which is good.
    #[expect(
        clippy::float_arithmetic,
        reason = "metrics are floating point by format; no amount passes here"
    )]
    fn add(&mut self, kind: MetricKind, value: f64) {
        match self {
            Self::Number(Number(number)) if kind == MetricKind::Gauge => *number = value,
            Self::Number(Number(number)) => *number += value,
            Self::Histogram(histogram) => histogram.observe(value),
        }
    }

    fn encode(&self, kind: MetricType, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match (self, kind) {
            (Self::Histogram(histogram), _) => histogram.encode(encoder),
            (Self::Number(number), MetricType::Counter) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(number, None)
            }
            (Self::Number(number), _) => encoder.encode_gauge(number),
        }
    }
}

impl Number {
    /// The value as an integer, where it is one.
    fn integer(self) -> Option<i64> {
        let is_integer = self.0.fract() == 0.0 && self.0.abs() <= MAX_INTEGER;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an integer within the range of i64"
        )]
        is_integer.then_some(self.0 as i64)
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self.integer() {
            Some(integer) => EncodeGaugeValue::encode(&integer, encoder),
            None => EncodeGaugeValue::encode(&self.0, encoder),
        }
    }
}

impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self.integer().and_then(|integer| u64::try_from(integer).ok()) {
            Some(integer) => EncodeCounterValue::encode(&integer, encoder),
            None => EncodeCounterValue::encode(&self.0, encoder),
        }
    }
}

/// Turns `text` into a Prometheus identifier.
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
    fn names_of_plugins_stay_and_the_text_is_not_openmetrics() {
        let metrics = Metrics::default();
        metrics.plugin("evm", MetricKind::Counter, "retries", 1.5, &BTreeMap::new());
        metrics.plugin("evm", MetricKind::Counter, "calls_total", 2.0, &BTreeMap::new());
        metrics.set("switchyard_paused", &[], 1.0);
        let help = help::text_of("switchyard_paused").unwrap();
        assert_eq!(
            metrics.render(),
            format!(
                "# HELP plugin_evm_calls_total A plugin's own metric.\n# TYPE plugin_evm_calls_total counter\n\
                 plugin_evm_calls_total 2\n# HELP plugin_evm_retries A plugin's own metric.\n\
                 # TYPE plugin_evm_retries untyped\nplugin_evm_retries 1.5\n# HELP switchyard_paused {help}\n\
                 # TYPE switchyard_paused gauge\nswitchyard_paused 1\n"
            )
        );
    }

    #[test]
    fn a_series_that_is_found_again_is_the_same_one() {
        let metrics = Metrics::default();
        let long = "é".repeat(1_000);
        for _ in 0..3 {
            metrics.add("requests_total", &[("path", "/a"), ("code", "200")], 1);
            metrics.add("requests_total", &[("path", "/b"), ("code", "200")], 1);
            // Another order, and a label that is cut.
            metrics.add("requests_total", &[("code", "200"), ("path", "/a")], 1);
            metrics.add("requests_total", &[("path", &long)], 1);
            metrics.set("requests_total", &[("path", "/a"), ("code", "200")], 9.0);
        }
        // More than are remembered, and then the first ones again.
        for n in 0..2 * MAX_RECENT {
            metrics.add("payers_total", &[("payer", &n.to_string())], 1);
        }
        metrics.add("payers_total", &[("payer", "1")], 1);
        metrics.add("payers_total", &[("payer", "2000")], 1);
        let text = metrics.render();
        for line in [
            "requests_total{code=\"200\",path=\"/a\"} 6\n".to_owned(),
            "requests_total{code=\"200\",path=\"/b\"} 3\n".to_owned(),
            format!("requests_total{{path=\"{}\"}} 3\n", "é".repeat(MAX_TEXT / 2)),
            "switchyard_metrics_dropped_total 3\n".to_owned(),
            "payers_total{payer=\"1\"} 2\n".to_owned(),
            format!(
                "payers_total{{overflow=\"true\"}} {}\n",
                2 * MAX_RECENT - MAX_SERIES + 1
            ),
        ] {
            assert!(text.contains(&line), "{line} in {text}");
        }
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
