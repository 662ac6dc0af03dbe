//! The manifest of a plugin file, read without running any of it.
//!
//! Assumes that the file is hostile until its pin is checked.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use object::{Object, ObjectKind, ObjectSection};
use sdk_plugin::Manifest;
use sdk_plugin::abi::raw::{ABI_MAJOR, ABI_MINOR, MANIFEST_SECTION};
use sdk_plugin::manifest::{DriverRole, Grant, SECRET_HEADERS, SchemeRole, config_path};
use sdk_plugin::ops::service;
use serde_json::Value;

use super::config::{check_form, check_schema};
use super::error::{ErrorKind, PluginError};
use super::pin::Sha256Digest;

/// Largest plugin file in bytes. Debug builds with everything in them stay below a third of it.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// Largest manifest in bytes.
const MAX_MANIFEST_BYTES: usize = 256 << 10;
/// The range of message sizes, in bytes, that a manifest may request.
const MESSAGE_BYTES: std::ops::RangeInclusive<u32> = (64 << 10)..=(64 << 20);

/// The manifest and the digest of a plugin file.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    pub manifest: Manifest,
    pub sha256: Sha256Digest,
    /// Libraries that it needs beside those of the operating system. Its digest does not cover them.
    pub libraries: Vec<String>,
}

/// The file's bytes.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, PluginError> {
    let fail = |message: String| PluginError::new(path, ErrorKind::File, message);
    let cannot = |error: std::io::Error| {
        fail(format!(
            "the file can't be read ({error}): check the path and its rights"
        ))
    };
    // Checked ahead of opening it: opening a pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err(fail("not a regular file: name the plugin's .so file".to_owned()));
    }
    // One allocation of the right size: a buffer that grows needs twice as much memory.
    let expected = usize::try_from(metadata.len().min(MAX_FILE_BYTES)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(expected.saturating_add(1));
    File::open(path)
        .map_err(cannot)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(fail(format!(
            "the file is over {} MiB: name the plugin's .so file",
            MAX_FILE_BYTES >> 20
        )));
    }
    Ok(bytes)
}

/// The manifest in a plugin file's bytes.
pub(super) fn of_file(bytes: &[u8]) -> Result<Manifest, (ErrorKind, String)> {
    parse(section(bytes)?)
}

/// The bytes of the manifest's section.
fn section(bytes: &[u8]) -> Result<&[u8], (ErrorKind, String)> {
    let not_a_plugin = |what: &str| {
        (
            ErrorKind::NotAPlugin,
            format!("{what}: name a plugin's .so file, built for this machine and complete"),
        )
    };
    let file =
        object::File::parse(bytes).map_err(|error| not_a_plugin(&format!("not an ELF file ({error})")))?;
    if file.kind() != ObjectKind::Dynamic {
        return Err(not_a_plugin("not a shared library"));
    }
    let missing = || {
        let message = format!(
            "no {MANIFEST_SECTION} section: this shared library is not a plugin, or its manifest was stripped; build it with \
             export_plugin! or X402P_MANIFEST and keep that section"
        );
        (ErrorKind::NotAPlugin, message)
    };
    let section = file.section_by_name(MANIFEST_SECTION).ok_or_else(missing)?;
    if section.size() > MAX_MANIFEST_BYTES as u64 {
        let message = format!(
            "its manifest has {} bytes, {MAX_MANIFEST_BYTES} are allowed: shorten it",
            section.size()
        );
        return Err((ErrorKind::Manifest, message));
    }
    section
        .data()
        .map_err(|error| not_a_plugin(&format!("its manifest lies outside of the file ({error})")))
}

/// Parses and validates a manifest. Trailing NUL bytes, which end a C string, are ignored.
pub(super) fn parse(text: &[u8]) -> Result<Manifest, (ErrorKind, String)> {
    let invalid = |message: String| (ErrorKind::Manifest, format!("its manifest {message}"));
    let end = text
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let text = text.get(..end).unwrap_or_default();
    let value: Value = serde_json::from_slice(text).map_err(|error| {
        invalid(format!(
            "is not JSON ({error}): the plugin's author has to correct it"
        ))
    })?;
    // Checked first, so that a manifest of a later major version is not reported as malformed.
    let version = |name: &str| {
        value
            .get("abi")
            .and_then(|abi| abi.get(name))
            .and_then(Value::as_u64)
    };
    match (version("major"), version("minor")) {
        (Some(major), Some(minor)) if major != u64::from(ABI_MAJOR) || minor > u64::from(ABI_MINOR) => {
            let message = format!(
                "built for plugin ABI {major}.{minor}, this facilitator has {ABI_MAJOR}.{ABI_MINOR}: use a build of the plugin \
                 for ABI {ABI_MAJOR}.{ABI_MINOR} or older, or another release of the facilitator"
            );
            return Err((ErrorKind::Abi, message));
        }
        _ => {}
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(|error| {
        invalid(format!(
            "is incomplete ({error}): the plugin's author has to correct it"
        ))
    })?;
    check(&manifest).map_err(invalid)?;
    Ok(manifest)
}

fn check(manifest: &Manifest) -> Result<(), String> {
    let Manifest {
        id,
        version,
        drivers,
        schemes,
        services,
        config_schema,
        max_message_bytes,
        ..
    } = manifest;
    if !is_name(id, 64, b"._-") {
        return Err(format!(
            "has the id {id:?}: write 1 to 64 of a-z, 0-9, '.', '_' and '-'"
        ));
    }
    if version.is_empty() || version.len() > 64 || version.chars().any(char::is_control) {
        return Err("has a bad version: write 1 to 64 printable characters".to_owned());
    }
    if drivers.is_empty() && schemes.is_empty() {
        return Err("names no drivers and no schemes: it needs at least one role".to_owned());
    }
    check_drivers(drivers)?;
    check_schemes(schemes)?;
    if let Some(unknown) = services
        .iter()
        .find(|name| !service::ALL.contains(&name.as_str()))
    {
        let known = service::ALL.join(", ");
        return Err(format!(
            "lists the host service {unknown:?}, which is unknown: there are {known}"
        ));
    }
    if let Some(bytes) = max_message_bytes
        && !MESSAGE_BYTES.contains(bytes)
    {
        let (from, to) = (MESSAGE_BYTES.start(), MESSAGE_BYTES.end());
        return Err(format!(
            "requests messages of {bytes} bytes: write {from} to {to}"
        ));
    }
    check_schema(config_schema).map_err(|error| format!("has a configSchema that is no JSON schema: {error}"))
}

fn check_drivers(drivers: &[DriverRole]) -> Result<(), String> {
    let mut families = BTreeSet::new();
    for driver in drivers {
        check_family(&driver.family)?;
        if !families.insert(driver.family.as_str()) {
            return Err(format!("names the driver {:?} twice: keep one", driver.family));
        }
        if let Some(schema) = &driver.options_schema {
            check_schema(schema)
                .map_err(|error| format!("has an optionsSchema that is no JSON schema: {error}"))?;
        }
        for (name, form) in [
            ("referenceForm", &driver.reference_form),
            ("assetForm", &driver.asset_form),
        ] {
            if let Some(form) = form {
                check_form(form).map_err(|error| format!("has a bad {name}: {error}"))?;
            }
        }
    }
    Ok(())
}

fn check_schemes(schemes: &[SchemeRole]) -> Result<(), String> {
    let mut roles = BTreeSet::new();
    for role in schemes {
        check_family(&role.family)?;
        if !is_name(&role.scheme, 64, b"._-") {
            return Err(format!(
                "has the scheme {:?}: write 1 to 64 of a-z, 0-9, '.', '_' and '-'",
                role.scheme
            ));
        }
        if role.versions.is_empty() || role.versions.iter().any(|version| !matches!(version, 1 | 2)) {
            return Err(format!(
                "has bad versions for scheme {:?}: write [1], [2] or [1, 2]",
                role.scheme
            ));
        }
        for grant in &role.calls {
            check_grant(grant).map_err(|what| format!("grants to scheme {:?} {what}", role.scheme))?;
        }
        check_routes(role).map_err(|what| format!("says of scheme {:?} {what}", role.scheme))?;
        if !roles.insert((role.scheme.as_str(), role.family.as_str())) {
            return Err(format!(
                "names the scheme {:?} on {:?} twice: keep one",
                role.scheme, role.family
            ));
        }
    }
    Ok(())
}

/// The most headers that a scheme's routes get, and the most paths without a network.
const MOST_ROUTE_ENTRIES: usize = 16;

fn check_routes(role: &SchemeRole) -> Result<(), String> {
    let (headers, paths) = (&role.route_headers, &role.routes_without_network);
    let has_terms = !headers.is_empty() || !paths.is_empty();
    if has_terms && !role.routes {
        return Err("what its routes get, and that it has none: write \"routes\": true".into());
    }
    if headers.len() > MOST_ROUTE_ENTRIES || paths.len() > MOST_ROUTE_ENTRIES {
        return Err(format!(
            "more than {MOST_ROUTE_ENTRIES} headers or paths: list fewer"
        ));
    }
    for header in headers {
        if SECRET_HEADERS.contains(&header.as_str()) {
            return Err(format!(
                "that its routes get the header {header:?}, which carries credentials: remove it"
            ));
        }
        if !is_name(header, 64, b"-_") {
            return Err(format!(
                "that its routes get the header {header:?}: write its name in lower case"
            ));
        }
    }
    for path in paths {
        let fixed = path.strip_suffix('*').unwrap_or(path);
        let is_path = fixed.starts_with('/') && !fixed.contains(['*', '?', '#', '%', ' ', '\\']);
        if !is_path || (fixed.len() < path.len() && !fixed.ends_with('/')) {
            return Err(format!(
                "that the route {path:?} has no network: write a path such as \"/accounts\" or \"/accounts/*\""
            ));
        }
    }
    Ok(())
}

/// Refuses a grant that can never allow anything: without this, the mistake would show only at the first payment.
fn check_grant(grant: &Grant) -> Result<(), String> {
    let Grant {
        target,
        operations,
        client_signed: _,
        max_native_value,
    } = grant;
    if let Some(limit) = max_native_value {
        match config_path(limit) {
            Some(path) => check_path(limit, path)?,
            None => {
                return Err(format!(
                    "the limit {limit:?}: write config: and the path under which the operator writes it, e.g. \
                     \"config:limits.{{network}}.max_wei\""
                ));
            }
        }
    }
    if operations.is_empty() || operations.iter().any(String::is_empty) {
        return Err(format!("no operations on {target:?}: name at least one"));
    }
    match config_path(target) {
        Some(path) => check_path(target, path),
        None if target.is_empty() => {
            Err("the target \"\": write an address, asset, payer, or config: and a path".to_owned())
        }
        None => Ok(()),
    }
}

fn check_path(written: &str, path: &str) -> Result<(), String> {
    let is_valid = |name: &str| {
        matches!(name, "*" | "{network}")
            || (!name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'))
    };
    if path.split('.').all(is_valid) {
        return Ok(());
    }
    Err(format!(
        "{written:?}: write config: and names of letters, digits, _ and - with dots between them, * for every \
         element or value, {{network}} for the network's id, e.g. \"config:deployments.*.escrow\""
    ))
}

/// CAIP-2: a namespace has 3 to 8 characters of `-a-z0-9`.
fn check_family(family: &str) -> Result<(), String> {
    if family.len() >= 3 && is_name(family, 8, b"-") {
        return Ok(());
    }
    Err(format!(
        "has the family {family:?}: write a CAIP-2 namespace like \"eip155\""
    ))
}

fn is_name(text: &str, max_len: usize, extra: &[u8]) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || extra.contains(&byte);
    !text.is_empty() && text.len() <= max_len && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(member: &str, value: Value) -> SchemeRole {
        let mut role = serde_json::json!({
            "scheme": "s", "family": "test", "versions": [2], "routes": true, "calls": []
        });
        role[member] = value;
        serde_json::from_value(role).unwrap()
    }

    #[test]
    fn routes_get_no_header_with_credentials() {
        for header in SECRET_HEADERS.into_iter().chain(["X-Shop", "x shop", ""]) {
            let refused = check_routes(&role("routeHeaders", serde_json::json!([header])));
            assert!(refused.is_err(), "{header}");
        }
        let many: Vec<String> = (0..17).map(|at| format!("x-{at}")).collect();
        assert!(check_routes(&role("routeHeaders", serde_json::json!(many))).is_err());
        assert_eq!(
            check_routes(&role("routeHeaders", serde_json::json!(["x-shop"]))),
            Ok(())
        );
    }

    #[test]
    fn a_route_without_a_network_is_a_path() {
        for path in ["accounts", "", "*", "/a*", "/a/*/b", "/a?b", "/%61"] {
            let refused = check_routes(&role("routesWithoutNetwork", serde_json::json!([path])));
            assert!(refused.is_err(), "{path}");
        }
        for path in ["/accounts", "/accounts/*", "/*"] {
            assert_eq!(
                check_routes(&role("routesWithoutNetwork", serde_json::json!([path]))),
                Ok(())
            );
        }
        let without_routes = SchemeRole {
            routes: false,
            ..role("routesWithoutNetwork", serde_json::json!(["/a"]))
        };
        assert!(check_routes(&without_routes).is_err());
    }

    fn checked(target: &str, operations: &[&str]) -> Result<(), String> {
        check_grant(&Grant {
            target: target.into(),
            operations: operations.iter().map(|name| (*name).to_owned()).collect(),
            ..Grant::default()
        })
    }

    #[test]
    fn a_grant_without_effect_is_refused() {
        for good in [
            "asset",
            "0xab",
            "config:a",
            "config:*",
            "config:deployments.*.escrow",
            "config:a-b.c_d.*",
        ] {
            assert_eq!(checked(good, &["pay"]), Ok(()), "{good}");
        }
        for bad in [
            "",
            "config:",
            "config:.",
            "config:a..b",
            "config:a.",
            "config:a.**",
            "config:a b",
            "config:$.a",
        ] {
            let error = checked(bad, &["pay"]).expect_err(bad);
            assert!(error.contains("write"), "{bad}: {error}");
        }
        for none in [&[] as &[&str], &[""]] {
            assert!(
                checked("asset", none)
                    .expect_err("no operation")
                    .contains("name at least one")
            );
        }
    }
}
