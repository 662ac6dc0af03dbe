//! Checks an archive as a person does who has only that: sums, contents, and whether its programs run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::bytes::Regex;
use serde_json::Value;

use super::build::Machine;
use super::contents::{LICENCES, SBOM};
use super::{DIST, PLUGINS, archive, cannot, empty, output_of, read, root, write_file};
use crate::Failure;

/// Files without which an archive is not complete.
const REQUIRED: [&str; 13] = [
    "RELEASE",
    "README.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    LICENCES,
    SBOM,
    "bin/switchyard",
    "handbook/install.html",
    "deploy/switchyard.service",
    "deploy/switchyard.toml",
    "deploy/Dockerfile",
    "deploy/compose.yaml",
];
/// Crates that the bill of materials must name, one or two of each part.
const MAIN: [&str; 13] = [
    "switchyard",
    "plugin-evm",
    "plugin-svm",
    "axum",
    "tokio",
    "rustls",
    "rusqlite",
    "tokio-postgres",
    "secp256k1",
    "ed25519-dalek",
    "landlock",
    "alloy-primitives",
    "solana-message",
];

/// Where paths of this machine must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    /// In texts. A binary of the usual build has them in messages of panics.
    InText,
    /// In binaries neither.
    Anywhere,
}

/// Checks everything, and prints each part.
///
/// # Errors
/// With the first part that is wrong.
pub(super) fn run(packed: &Path, paths: Paths) -> Result<(), Failure> {
    crate::paint::heading("The archive");
    let scratch = root()?.join(DIST).join("check");
    let folder = archive::unpack(packed, &scratch)?;
    sum_of(packed)?;
    println!("{} files have their sums", sums(&folder)?);
    println!(
        "{} crates in the bill of materials",
        sbom(&read(&folder.join(SBOM))?)?
    );
    let machine = Machine::this()?;
    machine_paths(&folder, &machine.paths().collect::<Vec<_>>(), paths)?;
    println!("no paths of this machine ({paths:?})");
    programs(&folder)?;
    configuration(&folder, &scratch)?;
    println!("its programs run, and its example configuration is valid");
    fs::remove_dir_all(&scratch).map_err(|e| cannot("remove", &scratch, &e))
}

/// The list of sums beside an archive, where there is one, has its sum.
fn sum_of(packed: &Path) -> Result<(), Failure> {
    let folder = packed.parent().unwrap_or(Path::new("."));
    if !folder.join(archive::SUMS).exists() {
        return Ok(());
    }
    let name = packed.file_name().unwrap_or_default().to_string_lossy();
    let (listed, sum) = (archive::listed(folder)?, e2e::binaries::sha256(packed)?);
    if listed.get(&*name) == Some(&sum) {
        Ok(())
    } else {
        Err(Failure(format!(
            "{} of {} is {:?}, and the archive has {sum}",
            archive::SUMS,
            folder.display(),
            listed.get(&*name)
        )))
    }
}

/// How many files there are. Each has its sum, by the program that operators use, and none is missing.
fn sums(folder: &Path) -> Result<usize, Failure> {
    let mut sha256sum = Command::new("sha256sum");
    sha256sum
        .args(["--check", "--strict", "--quiet", archive::SUMS])
        .current_dir(folder);
    output_of(sha256sum)?;
    let (listed, found) = (archive::listed(folder)?, archive::sums(folder)?);
    let plugins = PLUGINS.map(|plugin| format!("plugins/{plugin}"));
    let mut required = REQUIRED.into_iter().chain(plugins.iter().map(String::as_str));
    if let Some(missing) = required.find(|name| !found.contains_key(*name)) {
        return Err(Failure(format!("{missing} is missing")));
    }
    if listed == found {
        Ok(found.len())
    } else {
        let without: Vec<_> = found.keys().filter(|name| !listed.contains_key(*name)).collect();
        Err(Failure(format!("{} lacks {without:?}", archive::SUMS)))
    }
}

/// How many crates a bill of materials names: the main ones, each with a version and a package URL.
fn sbom(text: &str) -> Result<usize, Failure> {
    let sbom: Value = serde_json::from_str(text).map_err(|e| Failure(format!("{SBOM} is no JSON: {e}")))?;
    let components = sbom["components"].as_array().map_or(&[][..], Vec::as_slice);
    let names: BTreeSet<&str> = components
        .iter()
        .filter(|one| {
            one["version"].is_string()
                && one["purl"]
                    .as_str()
                    .is_some_and(|url| url.starts_with("pkg:cargo/"))
        })
        .filter_map(|one| one["name"].as_str())
        .collect();
    let missing: Vec<_> = MAIN.iter().filter(|name| !names.contains(*name)).collect();
    if sbom["bomFormat"] == "CycloneDX" && missing.is_empty() {
        Ok(components.len())
    } else {
        Err(Failure(format!("{SBOM} does not name {missing:?}")))
    }
}

/// No file names a folder of the machine that built it.
fn machine_paths(folder: &Path, machine: &[&str], paths: Paths) -> Result<(), Failure> {
    let pattern: Vec<String> = machine.iter().map(|path| regex::escape(path)).collect();
    let pattern =
        Regex::new(&pattern.join("|")).map_err(|e| Failure(format!("cannot search for paths: {e}")))?;
    for file in archive::files(folder)? {
        let bytes = fs::read(&file).map_err(|e| cannot("read", &file, &e))?;
        let is_searched = paths == Paths::Anywhere || std::str::from_utf8(&bytes).is_ok();
        if let Some(found) = pattern.find(&bytes).filter(|_| is_searched) {
            return Err(Failure(format!(
                "{} has a path of this machine: {}",
                file.display(),
                String::from_utf8_lossy(found.as_bytes())
            )));
        }
    }
    Ok(())
}

/// The binary prints its version, and the digest of each plugin with its manifest.
fn programs(folder: &Path) -> Result<(), Failure> {
    let mut version = Command::new(folder.join("bin/switchyard"));
    version.arg("--version");
    let printed = output_of(version)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let wanted = name.split('-').take(2).collect::<Vec<_>>().join(" ");
    if !printed.starts_with(&wanted) {
        return Err(Failure(format!("--version prints {printed:?}, not {wanted:?}")));
    }
    for plugin in PLUGINS {
        let file = folder.join("plugins").join(plugin);
        let mut inspect = Command::new(folder.join("bin/switchyard"));
        inspect.args(["plugin", "inspect"]).arg(&file);
        let printed = output_of(inspect)?;
        let line = format!("sha256 = \"{}\"", e2e::binaries::sha256(&file)?);
        if !printed.contains(&line) {
            return Err(Failure(format!(
                "`plugin inspect` of {plugin} does not print {line}:\n{printed}"
            )));
        }
    }
    Ok(())
}

/// The example configuration is valid, once its folders and its key are there.
fn configuration(folder: &Path, scratch: &Path) -> Result<(), Failure> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let data = scratch.join("data");
    empty(&data)?;
    let key = scratch.join("key");
    // A number that is a private key, of an account that nobody uses.
    write_file(&key, &format!("0x{:064x}\n", 0x5317_c4a1_2d00_u64))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&key, private).map_err(|e| cannot("change", &key, &e))?;
    let text = read(&folder.join("deploy/switchyard.toml"))?;
    let text = text
        .replace(&format!("/opt/switchyard/{name}"), &folder.to_string_lossy())
        .replace("/var/lib/switchyard", &data.to_string_lossy())
        .replace("/etc/switchyard/keys/hot", &key.to_string_lossy())
        .replace("127.0.0.1:4020", "127.0.0.1:0")
        // Where this machine lacks a part of the sandbox, the archive is not worse.
        .replace("[plugin.evm]\n", "[plugin.evm]\nsandbox = \"partial\"\n");
    let file: PathBuf = scratch.join("switchyard.toml");
    write_file(&file, &text)?;
    let mut check = Command::new(folder.join("bin/switchyard"));
    check.args(["check", "--config"]).arg(&file);
    output_of(check).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-check-{name}-{}", std::process::id()));
        empty(&folder).unwrap();
        folder
    }

    /// Files that are complete, with their sums.
    fn complete(folder: &Path) {
        let plugins = PLUGINS.map(|plugin| format!("plugins/{plugin}"));
        for name in REQUIRED.into_iter().chain(plugins.iter().map(String::as_str)) {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            write_file(&file, name).unwrap();
        }
        archive::write(folder, 0).unwrap();
    }

    fn message(result: Result<usize, Failure>) -> String {
        let Failure(message) = result.unwrap_err();
        message
    }

    #[test]
    fn a_changed_a_missing_and_an_unlisted_file_are_noticed() {
        let scratch = scratch("sums");
        let folder = scratch.join("a");
        complete(&folder);
        assert_eq!(sums(&folder).unwrap(), REQUIRED.len() + PLUGINS.len());
        write_file(&folder.join("more"), "x").unwrap();
        assert!(message(sums(&folder)).contains("lacks [\"more\"]"));
        fs::remove_file(folder.join("more")).unwrap();
        write_file(&folder.join("README.md"), "another").unwrap();
        assert!(message(sums(&folder)).contains("README.md: FAILED"));
        fs::remove_file(folder.join("README.md")).unwrap();
        archive::write(&folder, 0).unwrap();
        assert_eq!(message(sums(&folder)), "README.md is missing");
        fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn the_archive_must_have_the_sum_beside_it() {
        let scratch = scratch("sum");
        complete(&scratch.join("a"));
        let packed = scratch.join("a.tar.gz");
        sum_of(&packed).unwrap();
        write_file(&packed, "another").unwrap();
        assert!(sum_of(&packed).is_err());
        fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn a_bill_of_materials_names_the_main_crates() {
        let component =
            |name: &&str| json!({ "name": name, "version": "1", "purl": format!("pkg:cargo/{name}@1") });
        let all: Vec<Value> = MAIN.iter().map(component).collect();
        let bill =
            |components: &[Value]| json!({ "bomFormat": "CycloneDX", "components": components }).to_string();
        assert_eq!(sbom(&bill(&all)).unwrap(), MAIN.len());
        assert_eq!(
            message(sbom(&bill(&all[1..]))),
            format!("{SBOM} does not name [\"switchyard\"]")
        );
    }

    #[test]
    fn a_path_of_the_machine_is_found_in_texts_and_where_wanted_in_binaries() {
        let folder = scratch("paths");
        write_file(&folder.join("text"), "built in /home/me/x").unwrap();
        let check = |paths| machine_paths(&folder, &["/srv/build", "/home/me"], paths);
        let Failure(error) = check(Paths::InText).unwrap_err();
        assert!(
            error.ends_with("/text has a path of this machine: /home/me"),
            "{error}"
        );
        fs::write(folder.join("text"), b"\xff\xfe/srv/build\0").unwrap();
        check(Paths::InText).unwrap();
        assert!(check(Paths::Anywhere).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
