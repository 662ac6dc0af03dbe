//! `switchyard plugin inspect`: prints a plugin file's manifest, and the configuration lines that load it.

use std::io::Write;
use std::path::Path;

use sdk_plugin::Manifest;

use super::CliError;
use plugin_host::{self, Inspected};

pub(super) fn inspect(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let inspected = plugin_host::inspect(file).map_err(CliError::new)?;
    print(file, &inspected, out)
}

fn print(
    file: &Path,
    Inspected {
        manifest,
        sha256,
        libraries,
    }: &Inspected,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    writeln!(
        out,
        "{} {}: {}",
        plain(&manifest.id),
        plain(&manifest.version),
        plain(&manifest.description)
    )?;
    writeln!(out, "licence   {}", plain(&manifest.licence))?;
    writeln!(out, "abi       {}.{}", manifest.abi.major, manifest.abi.minor)?;
    writeln!(out, "services  {}", plain(&manifest.services.join(", ")))?;
    if !libraries.is_empty() {
        writeln!(
            out,
            "libraries {} (not of the operating system, and not covered by the file's SHA-256)",
            plain(&libraries.join(", "))
        )?;
    }
    for role in &manifest.drivers {
        writeln!(out, "\ndriver of {}:* networks", plain(&role.family))?;
        writeln!(out, "  reads   {}", plain(&role.rpc_reads.join(", ")))?;
        writeln!(out, "  sends   {}", plain(&role.rpc_sends.join(", ")))?;
        for known in &role.known_assets {
            writeln!(
                out,
                "  asset   {} {} {}",
                plain(&known.network),
                plain(&known.asset),
                plain(&known.symbol)
            )?;
        }
    }
    for role in &manifest.schemes {
        let versions: Vec<String> = role
            .versions
            .iter()
            .map(|version| format!("v{version}"))
            .collect();
        let routes = if role.routes {
            ", with routes of its own"
        } else {
            ""
        };
        let (scheme, family) = (plain(&role.scheme), plain(&role.family));
        writeln!(
            out,
            "\nscheme {scheme} {} on {family}:* networks{routes}",
            versions.join(", ")
        )?;
        if !role.route_headers.is_empty() {
            writeln!(out, "  headers {}", plain(&role.route_headers.join(", ")))?;
        }
        for grant in &role.calls {
            writeln!(
                out,
                "  calls   {}: {}",
                plain(&grant.target),
                plain(&grant.operations.join(", "))
            )?;
        }
    }
    writeln!(
        out,
        "\nconfiguration, as a JSON schema:\n{:#}",
        manifest.config_schema
    )?;
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    writeln!(
        out,
        "\nTo load it, put the file into the folder that [plugins] directory names, and write:\n"
    )?;
    writeln!(out, "[plugin.{}]", instance_name(manifest))?;
    writeln!(out, "file = {:?}\nsha256 = \"{sha256}\"", plain(&name))?;
    if !libraries.is_empty() {
        let names: Vec<String> = libraries.iter().map(|name| plain(name)).collect();
        writeln!(out, "libraries = {names:?}")?;
    }
    writeln!(
        out,
        "# It runs in a process of its own. If you trust its source, it may run in the facilitator's, which costs less:\n\
         # isolation = \"none\""
    )?;
    Ok(())
}

/// A name for the instance: the last part of the id, whose characters are valid in a TOML key.
fn instance_name(manifest: &Manifest) -> &str {
    manifest
        .id
        .rsplit('.')
        .next()
        .filter(|part| !part.is_empty())
        .unwrap_or("plugin")
}

/// Replaces control characters: the plugin's author writes the manifest, and it must not control the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
