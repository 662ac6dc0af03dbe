//! `switchyard plugin inspect`: what a plugin file says of itself, without running any of it.

use std::path::Path;

use crate::plugin;

pub(super) fn inspect(file: &Path) -> Result<(), String> {
    let inspected = plugin::inspect(file).map_err(|error| error.to_string())?;
    let manifest = &inspected.manifest;
    println!("{} {} (ABI {}.{})", manifest.id, manifest.version, manifest.abi.major, manifest.abi.minor);
    println!("{}", manifest.description);
    println!("Licence: {}", manifest.licence);
    for role in &manifest.drivers {
        println!("Driver:  {}:* ({} known assets)", role.family, role.known_assets.len());
    }
    for role in &manifest.schemes {
        let versions: Vec<String> = role.versions.iter().map(u8::to_string).collect();
        println!("Scheme:  {} on {}:* in protocol version {}", role.scheme, role.family, versions.join(" and "));
        for call in &role.calls {
            println!("         calls {} on {}", call.operations.join(", "), call.target);
        }
    }
    println!("Uses:    {}", manifest.services.join(", "));
    println!("SHA-256: {}", inspected.sha256);
    let schema = serde_json::to_string_pretty(&manifest.config_schema).unwrap_or_default();
    println!("Configuration schema:\n{schema}");
    let name = manifest.id.rsplit('.').next().unwrap_or(&manifest.id);
    let file_name = file.file_name().unwrap_or_default().to_string_lossy();
    println!("\nTo load it, put the file into the plugin directory and write:\n");
    println!("[plugin.{name}]\nfile = \"{file_name}\"\nsha256 = \"{}\"", inspected.sha256);
    Ok(())
}
