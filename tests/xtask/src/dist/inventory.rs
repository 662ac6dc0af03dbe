//! What is linked into the binary and its plugins: its licences (cargo-about) and a bill of materials (cargo-cyclonedx).
//!
//! Both tools describe one crate. So a crate is written that depends on all that is shipped, with the versions of Cargo.lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::build::Machine;
use super::{Release, cannot, empty, output, read, root, write_file};
use crate::{Failure, cargo, tools};

/// Crates that are shipped, by their folders.
const SHIPPED: [(&str, &str); 4] = [
    ("switchyard", "facilitator/switchyard"),
    ("plugin-evm", "plugins/evm"),
    ("plugin-evm-auth-capture", "plugins/evm-auth-capture"),
    ("plugin-svm", "plugins/svm"),
];
const TEMPLATE: &str = "tests/xtask/src/dist/licences.hbs";

/// The crate that depends on all that is shipped.
#[derive(Debug)]
pub(super) struct Inventory {
    folder: PathBuf,
    /// `NAME VERSION` of every crate that is linked or expands a macro.
    linked: BTreeSet<String>,
    /// Those of them that are of this repository.
    own: BTreeSet<String>,
}

impl Inventory {
    /// # Errors
    /// When its dependencies are not those of Cargo.lock.
    pub(super) fn of(release: &Release, dist: &Path) -> Result<Inventory, Failure> {
        let root = root()?;
        let folder = dist.join("inventory");
        empty(&folder)?;
        fs::create_dir(folder.join("src")).map_err(|e| cannot("write", &folder, &e))?;
        let dependencies: String = SHIPPED
            .iter()
            .map(|(name, path)| format!("{name} = {{ path = {:?} }}\n", root.join(path)))
            .collect();
        write_file(&folder.join("src/lib.rs"), "")?;
        write_file(
            &folder.join("Cargo.toml"),
            &format!(
                "[package]\nname = \"switchyard-release\"\nversion = \"{}\"\nedition = \"2024\"\nlicense = \"MIT OR Apache-2.0\"\n\
                 publish = false\n\n[workspace]\n\n[dependencies]\n{dependencies}",
                release.version
            ),
        )?;
        let (own, theirs) = (folder.join("Cargo.lock"), root.join("Cargo.lock"));
        fs::copy(&theirs, &own).map_err(|e| cannot("write", &own, &e))?;
        let manifest = folder.join("Cargo.toml").to_string_lossy().into_owned();
        let tree = [
            "tree",
            "--manifest-path",
            &manifest,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ];
        let linked = linked(&output("cargo", &tree)?, "switchyard-release");
        // Cargo drops from the copy what nothing needs here, and must not have chosen anything by itself.
        let locked = locked(&read(&theirs)?)?;
        let strange: Vec<_> = linked.iter().filter(|one| !locked.contains_key(*one)).collect();
        let own = linked.iter().filter(|one| locked.get(*one) == Some(&true));
        if strange.is_empty() {
            let own = own.cloned().collect();
            Ok(Inventory { folder, linked, own })
        } else {
            Err(Failure(format!(
                "these crates are not those of Cargo.lock: {strange:?}"
            )))
        }
    }

    fn manifest(&self) -> String {
        self.folder.join("Cargo.toml").to_string_lossy().into_owned()
    }

    /// Writes the texts of all licences.
    ///
    /// # Errors
    /// When a licence is not in the list of deny.toml, or a crate has none.
    pub(super) fn write_licences(&self, release: &Release, file: &Path) -> Result<(), Failure> {
        let path = tools::ensure(&tools::CARGO_ABOUT)?;
        let settings = self.folder.join("about.toml");
        write_file(
            &settings,
            &about(&read(&root()?.join("deny.toml"))?, &release.target)?,
        )?;
        let (settings, written) = (settings.to_string_lossy(), file.to_string_lossy());
        let manifest = self.manifest();
        let about = [
            "about",
            "generate",
            "--frozen",
            "--fail",
            "--config",
            &settings,
            "--manifest-path",
            &manifest,
            "--output-file",
            &written,
            TEMPLATE,
        ];
        cargo::run("Licences of all that is linked", &about, &[("PATH", &path)])?;
        let text = read(file)?;
        let missing: Vec<_> = self
            .linked
            .iter()
            .filter(|one| !self.own.contains(*one) && !names(&text, one))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Failure(format!("cargo-about left out {missing:?}")))
        }
    }

    /// Writes a bill of materials, without paths of this machine.
    ///
    /// # Errors
    /// When the tool fails, or leaves out a crate that is linked.
    pub(super) fn write_sbom(&self, release: &Release, file: &Path) -> Result<(), Failure> {
        let path = tools::ensure(&tools::CARGO_CYCLONEDX)?;
        let manifest = self.manifest();
        let sbom = [
            "cyclonedx",
            "--manifest-path",
            &manifest,
            "--format",
            "json",
            "--spec-version",
            "1.5",
            "--no-build-deps",
            "--target",
            &release.target,
            "--override-filename",
            "sbom",
        ];
        let time = release.time.to_string();
        let environment = [("PATH", path.as_str()), ("SOURCE_DATE_EPOCH", &time)];
        cargo::run("The bill of materials", &sbom, &environment)?;
        let written = self.folder.join("sbom.json");
        let text = Machine::this()?.without_paths(&read(&written)?);
        let mut sbom: Value = serde_json::from_str(&text)
            .map_err(|e| Failure(format!("cargo-cyclonedx wrote no JSON: {e}")))?;
        keep(&mut sbom, &self.linked)?;
        write_file(file, &format!("{sbom:#}\n"))
    }
}

/// Crates in the output of `cargo tree`, without the root.
fn linked(tree: &str, root: &str) -> BTreeSet<String> {
    tree.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            (name != root).then(|| format!("{name} {version}"))
        })
        .collect()
}

/// Crates of a Cargo.lock, and whether they are of this repository: those have no source.
fn locked(text: &str) -> Result<BTreeMap<String, bool>, Failure> {
    let lock: toml::Table =
        toml::from_str(text).map_err(|e| Failure(format!("cannot read Cargo.lock: {e}")))?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let package = |package: &toml::Value| {
        let (name, version) = (package.get("name")?.as_str()?, package.get("version")?.as_str()?);
        Some((format!("{name} {version}"), package.get("source").is_none()))
    };
    Ok(packages.into_iter().flatten().filter_map(package).collect())
}

/// The settings of cargo-about: the licences that cargo-deny allows.
fn about(deny: &str, target: &str) -> Result<String, Failure> {
    let deny: toml::Table =
        toml::from_str(deny).map_err(|e| Failure(format!("cannot read deny.toml: {e}")))?;
    let allowed = deny.get("licenses").and_then(|licenses| licenses.get("allow"));
    let allowed = allowed.ok_or_else(|| Failure("deny.toml has no licenses.allow".to_owned()))?;
    Ok(format!(
        "accepted = {allowed}\ntargets = [{target:?}]\nignore-build-dependencies = true\nignore-dev-dependencies = true\n\
         private = {{ ignore = true }}\n"
    ))
}

/// Whether the list of licences names this crate.
fn names(licences: &str, one: &str) -> bool {
    licences
        .lines()
        .filter_map(|line| line.strip_prefix("- "))
        .any(|line| line == one || line.strip_prefix(one).is_some_and(|rest| rest.starts_with(' ')))
}

/// Removes what is not linked: the tool lists every crate that a feature could bring, also where nothing enables it.
fn keep(sbom: &mut Value, linked: &BTreeSet<String>) -> Result<(), Failure> {
    let name = |component: &Value| {
        let (name, version) = (component["name"].as_str()?, component["version"].as_str()?);
        Some(format!("{name} {version}"))
    };
    let wrong = || Failure("cargo-cyclonedx wrote no components".to_owned());
    let components = sbom["components"].as_array_mut().ok_or_else(wrong)?;
    let (kept, dropped): (Vec<Value>, Vec<Value>) = std::mem::take(components)
        .into_iter()
        .partition(|one| name(one).is_some_and(|name| linked.contains(&name)));
    let found: BTreeSet<String> = kept.iter().filter_map(name).collect();
    let missing: Vec<_> = linked.difference(&found).collect();
    if !missing.is_empty() {
        return Err(Failure(format!("cargo-cyclonedx left out {missing:?}")));
    }
    *components = kept;
    let dropped: BTreeSet<String> = dropped
        .iter()
        .filter_map(|one| one["bom-ref"].as_str().map(str::to_owned))
        .collect();
    let is_kept = |reference: &Value| reference.as_str().is_some_and(|one| !dropped.contains(one));
    let edges = sbom["dependencies"].as_array_mut().ok_or_else(wrong)?;
    edges.retain(|edge| is_kept(&edge["ref"]));
    for edge in edges {
        if let Some(on) = edge.get_mut("dependsOn").and_then(Value::as_array_mut) {
            on.retain(is_kept);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_is_read_without_its_root() {
        let tree = "switchyard-release v0.1.0 (/x)\nserde v1.0.1\nserde v1.0.1 (*)\nserde_derive v1.0.1 (proc-macro)\n\n";
        let found = linked(tree, "switchyard-release");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["serde 1.0.1", "serde_derive 1.0.1"]
        );
    }

    #[test]
    fn the_bill_has_what_is_linked_and_nothing_else() {
        let bill = || {
            json!({
                "components": [
                    { "name": "a", "version": "1", "bom-ref": "ra" },
                    { "name": "b", "version": "2", "bom-ref": "rb" },
                ],
                "dependencies": [
                    { "ref": "root", "dependsOn": ["ra", "rb"] },
                    { "ref": "ra", "dependsOn": ["rb"] },
                    { "ref": "rb" },
                ],
            })
        };
        let mut sbom = bill();
        keep(&mut sbom, &BTreeSet::from(["a 1".to_owned()])).unwrap();
        assert_eq!(
            sbom,
            json!({
                "components": [{ "name": "a", "version": "1", "bom-ref": "ra" }],
                "dependencies": [{ "ref": "root", "dependsOn": ["ra"] }, { "ref": "ra", "dependsOn": [] }],
            })
        );
        // Another version of it is another crate.
        let Failure(error) = keep(&mut bill(), &BTreeSet::from(["b 3".to_owned()])).unwrap_err();
        assert!(error.contains("b 3"), "{error}");
    }

    #[test]
    fn licences_name_a_crate_by_its_whole_version() {
        let text = "MIT, of:\n- serde 1.0.1  https://example.com\n- hex 0.4.3\n";
        assert!(names(text, "serde 1.0.1"));
        assert!(names(text, "hex 0.4.3"));
        assert!(!names(text, "serde 1.0"));
        assert!(!names(text, "ex 0.4.3"));
    }

    #[test]
    fn licences_are_those_that_may_be_depended_on() {
        let deny = "[licenses]\nallow = [\"MIT\", \"ISC\"]\n";
        let about = about(deny, "x86_64-unknown-linux-gnu").unwrap();
        assert!(about.starts_with("accepted = [\"MIT\", \"ISC\"]\n"), "{about}");
        assert!(super::about("[licenses]\n", "x").is_err());
    }
}
