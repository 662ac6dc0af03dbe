//! Where spans and metrics are sent: from the configuration, and from the usual `OTEL_` variables where it says nothing.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use telemetry::otlp::{self, Settings};

use crate::config::{Config, ConfigErrors, OtlpHeaders};

/// Longest file with headers, in bytes.
const MAX_FILE: u64 = 64 * 1_024;
const DEFAULT_NAME: &str = "switchyard";

/// The settings; `None`: nothing is sent. `variable` reads the environment.
///
/// # Errors
/// A variable or the file with headers can't be used.
pub fn settings(
    config: &Config,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Settings>, ConfigErrors> {
    let telemetry = &config.telemetry;
    let variable = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
    let error = |key: &str, why: String| ConfigErrors(vec![config.source.error(key, why)]);
    if variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let endpoint = match (&telemetry.endpoint, variable("OTEL_EXPORTER_OTLP_ENDPOINT")) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(text)) => otlp::endpoint(&text).ok_or_else(|| {
            error(
                "telemetry.otlp_endpoint",
                "the variable OTEL_EXPORTER_OTLP_ENDPOINT is not the URL of a collector; write e.g. https://collector.example:4318"
                    .to_owned(),
            )
        })?,
        (None, None) => return Ok(None),
    };
    let headers = match (&telemetry.headers, variable("OTEL_EXPORTER_OTLP_HEADERS")) {
        (Some(OtlpHeaders::Written(headers)), _) => headers.clone(),
        (Some(OtlpHeaders::File(path)), _) => {
            let text = private_text(path).map_err(|why| error("telemetry.otlp_headers_file", why))?;
            otlp::headers(&text).ok_or_else(|| {
                let why = "its content is not a list of headers; write NAME=VALUE, several with a comma between them";
                error("telemetry.otlp_headers_file", why.to_owned())
            })?
        }
        (None, Some(text)) => otlp::headers(&text).ok_or_else(|| {
            let why = "the variable OTEL_EXPORTER_OTLP_HEADERS is not a list of headers; write NAME=VALUE";
            error("telemetry.otlp_headers", why.to_owned())
        })?,
        (None, None) => Vec::new(),
    };
    let service_name = telemetry.service_name.clone();
    Ok(Some(Settings {
        endpoint,
        headers,
        service_name: service_name
            .or_else(|| variable("OTEL_SERVICE_NAME"))
            .unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        resource: variable("OTEL_RESOURCE_ATTRIBUTES").map_or_else(Vec::new, |text| otlp::resource(&text)),
        sampled_per_million: telemetry.sampled_per_million,
        metrics_interval: telemetry.metrics_interval,
    }))
}

/// A short file that only its owner may read.
fn private_text(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("{} can't be read ({error})", path.display());
    let file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.permissions().mode();
    if mode & 0o077 != 0 {
        let shown = path.display();
        return Err(format!(
            "{shown} can be read or changed by others; run: chmod 600 {shown}"
        ));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[keys.hot]\nenv = \"K\"\n[networks.\"eip155:1\"]\nrpc = [\"https://n.example\"]\nsigners = [\"hot\"]\n\
                        max_cost = \"1000\"\n[plugins]\ndev = true\n[plugin.evm]\nfile = \"a.so\"\n";

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let folder = Path::new("/etc/switchyard");
        let text = format!("{BASE}{text}");
        let config = Config::parse("c.toml", folder, &text, &|_| None).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        settings(&config, &variable).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_configuration_comes_before_the_variables_and_off_is_the_default() {
        assert!(read("", &[]).unwrap().is_none());
        assert!(
            read("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")])
                .unwrap()
                .is_none()
        );
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://variable:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
            ("OTEL_SERVICE_NAME", "named"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ];
        let by_variables = read("", &variables).unwrap().unwrap();
        assert_eq!(by_variables.endpoint.host(), Some("variable"));
        assert_eq!(by_variables.service_name, "named");
        assert_eq!((by_variables.headers.len(), by_variables.resource.len()), (1, 1));
        let written = "[telemetry]\notlp_endpoint = \"https://file:4318\"\nservice_name = \"mine\"\n";
        let by_file = read(written, &variables).unwrap().unwrap();
        assert_eq!(by_file.endpoint.host(), Some("file"));
        assert_eq!(by_file.service_name, "mine");
        let off = [("OTEL_SDK_DISABLED", "true")];
        assert!(read(written, &off).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_used_is_one_error_without_the_secret() {
        for (text, variables, key) in [
            (
                "",
                [("OTEL_EXPORTER_OTLP_ENDPOINT", "u:hidden@c")],
                "telemetry.otlp_endpoint",
            ),
            (
                "[telemetry]\notlp_endpoint = \"http://c\"\n",
                [("OTEL_EXPORTER_OTLP_HEADERS", "hidden")],
                "telemetry.otlp_headers",
            ),
            (
                "[telemetry]\notlp_endpoint = \"http://c\"\notlp_headers_file = \"none\"\n",
                [("A", "")],
                "telemetry.otlp_headers_file",
            ),
        ] {
            let error = read(text, &variables).unwrap_err();
            assert!(error.contains(key) && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_file_with_headers_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        std::fs::write(&path, "api-key=s3cret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let text = format!(
            "[telemetry]\notlp_endpoint = \"http://c\"\notlp_headers_file = \"{}\"\n",
            path.display()
        );
        assert!(read(&text, &[]).unwrap_err().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&text, &[]).unwrap().unwrap().headers.len(), 1);
    }
}
