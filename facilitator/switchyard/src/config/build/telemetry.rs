//! `[telemetry]`: where spans and metrics are sent.

use std::path::Path;

use telemetry::otlp;

use super::values::{count, path, seconds};
use crate::config::reader::Section;
use crate::config::{OtlpHeaders, Telemetry};

/// The longest name of a service, in characters.
const MAX_NAME: usize = 100;

pub(super) fn telemetry(section: &Section<'_, '_>, folder: &Path) -> Option<Telemetry> {
    let endpoint = section.maybe("otlp_endpoint", |node| {
        node.parsed_unseen(
            otlp::endpoint,
            "the URL of a collector; write e.g. \"https://collector.example:4318\", without a password or a query: secrets belong \
             into otlp_headers",
        )
    });
    let headers = section.maybe("otlp_headers", |node| {
        node.parsed_unseen(
            otlp::headers,
            "a list of headers; write e.g. \"api-key=${OTLP_KEY}\", several with a comma between them",
        )
    });
    let file = section.maybe("otlp_headers_file", |node| path(node, folder));
    let service_name = section.maybe("service_name", |node| {
        let is_name = |text: &str| !text.is_empty() && text.chars().count() <= MAX_NAME;
        node.parsed(
            |text| is_name(text).then(|| text.to_owned()),
            "a name of 1 to 100 characters",
        )
    });
    let sampled_per_million = section.get("traces_per_million", |node| count(node, 0, otlp::EVERY_TRACE));
    let metrics_interval = section.get("metrics_interval_seconds", |node| seconds(node, 1, 3_600));
    let traceparent_to_nodes = section.get("traceparent_to_nodes", |node| node.boolean());
    let headers = match (headers?, file?) {
        (Some(_), Some(_)) => {
            section.fail(
                "otlp_headers_file",
                "stands beside otlp_headers; write only one of them",
            );
            return None;
        }
        (Some(headers), None) => Some(OtlpHeaders::Written(headers)),
        (None, Some(file)) => Some(OtlpHeaders::File(file)),
        (None, None) => None,
    };
    Some(Telemetry {
        endpoint: endpoint?,
        headers,
        service_name: service_name?,
        sampled_per_million: sampled_per_million?,
        metrics_interval: metrics_interval?,
        traceparent_to_nodes: traceparent_to_nodes?,
    })
}
