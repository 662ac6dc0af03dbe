//! Metrics for OTLP, from the text that `/metrics` serves: both always show the same.
//!
//! Assumes the text that [`crate::Metrics::render`] writes. A line of another form is left out.

use std::collections::BTreeMap;

use super::wire::{Data, Gauge, HistogramData, HistogramPoint, KeyValue, Metric, Point, Sum};

const CUMULATIVE: i32 = 2;

/// When the counters began, and now, in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub started_ns: u64,
    pub now_ns: u64,
}

/// One sample: the name with its suffix, the labels, the value.
type Sample<'a> = (&'a str, Vec<(String, String)>, f64);

/// The families of a text.
pub(super) fn from_text(text: &str, times: Times) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let (mut help, mut family): (&str, Option<(&str, &str)>) = ("", None);
    let mut samples: Vec<Sample<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            metrics.extend(family.take().and_then(|of| metric(of, help, &samples, times)));
            samples.clear();
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split_once(' ');
        } else {
            samples.extend(sample(line));
        }
    }
    metrics.extend(family.and_then(|of| metric(of, help, &samples, times)));
    metrics
}

fn metric((name, kind): (&str, &str), help: &str, samples: &[Sample<'_>], times: Times) -> Option<Metric> {
    let points = || samples.iter().map(|sample| point(sample, times)).collect();
    let data = match kind {
        "counter" => Data::Sum(Sum {
            data_points: points(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        "gauge" | "untyped" => Data::Gauge(Gauge {
            data_points: points(),
        }),
        "histogram" => Data::Histogram(HistogramData {
            data_points: histogram(name, samples, times),
            aggregation_temporality: CUMULATIVE,
        }),
        _ => return None,
    };
    Some(Metric {
        name: name.to_owned(),
        description: help.to_owned(),
        data: Some(data),
    })
}

fn point((_, labels, value): &Sample<'_>, times: Times) -> Point {
    Point {
        start_time_unix_nano: times.started_ns,
        time_unix_nano: times.now_ns,
        as_double: Some(*value),
        attributes: attributes(labels),
    }
}

fn attributes(labels: &[(String, String)]) -> Vec<KeyValue> {
    labels
        .iter()
        .map(|(key, value)| KeyValue::text(key, value.as_str()))
        .collect()
}

/// One point for each label set. In the text a bucket counts what the lower ones count, too.
fn histogram(name: &str, samples: &[Sample<'_>], times: Times) -> Vec<HistogramPoint> {
    let mut points: BTreeMap<Vec<(String, String)>, HistogramPoint> = BTreeMap::new();
    for (of, labels, value) in samples {
        let mut labels = labels.clone();
        let bound = labels.iter().position(|(key, _)| key == "le");
        let bound = bound.map(|index| labels.remove(index).1);
        let point = points.entry(labels.clone()).or_insert_with(|| HistogramPoint {
            start_time_unix_nano: times.started_ns,
            time_unix_nano: times.now_ns,
            attributes: attributes(&labels),
            ..HistogramPoint::default()
        });
        match (of.strip_prefix(name), bound) {
            (Some("_sum"), _) => point.sum = Some(*value),
            (Some("_count"), _) => point.count = whole(*value),
            (Some("_bucket"), Some(bound)) => {
                let lower: u64 = point.bucket_counts.iter().sum();
                point.bucket_counts.push(whole(*value).saturating_sub(lower));
                // The last bucket has no bound.
                point
                    .explicit_bounds
                    .extend(bound.parse::<f64>().ok().filter(|bound| bound.is_finite()));
            }
            _ => {}
        }
    }
    points.into_values().collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count: floats saturate when they are cast"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// `name{label="value",…} 1`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (rest, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = rest.split_once('{') else {
        return Some((rest, Vec::new(), value));
    };
    Some((name, labels_of(labels.strip_suffix('}')?)?, value))
}

fn labels_of(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (end, '"') => break end,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, character) => value.push(character),
            }
        };
        labels.push((key.to_owned(), value));
        let rest = rest.get(end..)?.strip_prefix('"')?;
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn counters_gauges_and_histograms_keep_names_labels_and_values() {
        let metrics = Metrics::default();
        metrics.add("a_total", &[("path", "/a"), ("odd", "q\"b\\c\nd, e=\"f")], 3);
        metrics.set("b", &[], -1.5);
        metrics.observe("c_seconds", &[("kind", "x")], 0.3);
        metrics.observe("c_seconds", &[("kind", "x")], 0.3);
        metrics.observe("c_seconds", &[("kind", "x")], 1_000.0);
        let times = Times {
            started_ns: 5,
            now_ns: 9,
        };
        let sent = from_text(&metrics.render(), times);
        let names: Vec<&str> = sent.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["a_total", "b", "c_seconds"]);
        let [
            Some(Data::Sum(sum)),
            Some(Data::Gauge(gauge)),
            Some(Data::Histogram(histogram)),
        ] = [0, 1, 2].map(|index: usize| sent[index].data.clone())
        else {
            panic!("{sent:?}")
        };
        assert!(sum.is_monotonic);
        let point = &sum.data_points[0];
        assert_eq!((point.as_double, point.start_time_unix_nano), (Some(3.0), 5));
        let odd = KeyValue::text("odd", "q\"b\\c\nd, e=\"f");
        assert!(point.attributes.contains(&odd), "{point:?}");
        assert_eq!(gauge.data_points[0].as_double, Some(-1.5));
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (3, Some(1_000.6)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        let of_half = point
            .explicit_bounds
            .iter()
            .position(|bound| *bound == 0.5)
            .unwrap();
        assert_eq!(point.bucket_counts[of_half], 2);
        assert_eq!(point.bucket_counts.last(), Some(&1));
        assert_eq!(point.attributes, [KeyValue::text("kind", "x")]);
    }

    #[test]
    fn lines_of_another_form_are_left_out() {
        for line in ["", "a", "a{b=\"c} 1", "a{b} 1", "a x", "{ 1"] {
            assert!(sample(line).is_none(), "{line}");
        }
    }
}
