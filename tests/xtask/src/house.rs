//! The shape of the code: which crate depends on which, the layers of the engine, circles between modules, and how long
//! files and functions are. The limits are in `tests/xtask/house.toml`.
//!
//! A crate's modules are compared by their first level: the files of one folder count as one module, and circles between
//! them are not checked. Every path from `crate`, `super` or `self` counts, in a `use` or in code, outside comments, strings
//! and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::files::{self, File, Kind};
use crate::rust::{self, Names};
use crate::{Failure, cargo};

const LIMITS: &str = include_str!("../house.toml");

#[derive(Debug, Deserialize)]
struct Limits {
    crates: BTreeMap<String, BTreeSet<String>>,
    engine: Engine,
    sizes: Sizes,
}

#[derive(Debug, Deserialize)]
struct Engine {
    layers: Vec<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Sizes {
    file: usize,
    function: usize,
    twins: usize,
}

pub(crate) fn check() -> Result<(), Failure> {
    let limits: Limits = toml::from_str(LIMITS).map_err(|error| Failure(format!("house.toml: {error}")))?;
    let files = files::all(cargo::root())?;
    let mut errors = arrows(&limits.crates, &metadata()?);
    let sources: Vec<&File> = files
        .iter()
        .filter(|file| file.kind == Kind::Rust && is_source(&file.name))
        .collect();
    for (name, modules) in crates(&sources) {
        let graph = modules.graph();
        if name == "facilitator/engine" {
            errors.extend(upward(&limits.engine.layers, &graph));
        }
        errors.extend(
            circle(&graph).map(|circle| format!("{name}: modules in a circle: {}", circle.join(" → "))),
        );
    }
    errors.extend(sources.iter().flat_map(|file| sizes(file, &limits.sizes)));
    errors.extend(twins(&sources, limits.sizes.twins));
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure(errors.join("\n")))
    }
}

/// Sources that are shipped: no tests, no test kits.
fn is_source(name: &str) -> bool {
    let is_test = |part: &str| {
        let part = part.trim_end_matches(".rs");
        part == "tests"
            || part == "testkit"
            || part == "conformance"
            || part == "benches"
            || part.ends_with("_tests")
            || part == "fake_node"
    };
    name.contains("/src/") && !name.split('/').any(is_test)
}

fn metadata() -> Result<Value, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(cargo::root())
        .output()
        .map_err(|error| Failure(format!("cargo metadata does not run: {error}")))?;
    serde_json::from_slice(&output.stdout).map_err(|error| Failure(format!("cargo metadata: {error}")))
}

/// Dependencies between crates of the repository that are not in the list. Crates below `tests` are free.
fn arrows(allowed: &BTreeMap<String, BTreeSet<String>>, metadata: &Value) -> Vec<String> {
    let packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();
    let own: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let is_test = |package: &Value| {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        Path::new(manifest)
            .strip_prefix(cargo::root().canonicalize().unwrap_or_default())
            .is_ok_and(|path| path.starts_with("tests"))
    };
    let mut errors = Vec::new();
    for package in packages.iter().filter(|package| !is_test(package)) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = allowed.get(name) else {
            errors.push(format!("{name}: not in [crates] of tests/xtask/house.toml"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            // Dev-dependencies are free: tests use what they need.
            if dependency["kind"] != "dev" && own.contains(to) && !allowed.contains(to) {
                errors.push(format!("{name} may not depend on {to}"));
            }
        }
    }
    errors
}

/// What the first-level modules of a crate name; the empty name is the root.
#[derive(Debug, Default)]
struct Modules(BTreeMap<String, Vec<Names>>);

impl Modules {
    /// From each module to those it uses.
    fn graph(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let exports = self.exports();
        let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, files) in &self.0 {
            let targets = graph.entry(module).or_default();
            for named in files.iter().flat_map(|file| &file.paths) {
                // Re-exports of the root are not uses: a path through one counts as a use of the module that holds the name.
                if module.is_empty() && named.re_export {
                    continue;
                }
                match named.path.first() {
                    Some(first) => targets.insert(self.module(first, &exports)),
                    None => {
                        targets.extend(exports.values());
                        targets.insert("")
                    }
                };
            }
            targets.remove(module.as_str());
        }
        graph
    }

    /// The module that holds this name of the root.
    fn module<'m>(&'m self, name: &str, exports: &BTreeMap<&str, &'m str>) -> &'m str {
        match self.0.get_key_value(name) {
            Some((module, _)) => module,
            None => exports.get(name).copied().unwrap_or_default(),
        }
    }

    /// From the names that the root imports or re-exports, and from macros, to their modules.
    fn exports(&self) -> BTreeMap<&str, &str> {
        let root = self.0.get("").into_iter().flatten();
        let imports = root
            .flat_map(|file| &file.paths)
            .filter(|named| !named.nested)
            .filter_map(|named| {
                let (module, _) = self.0.get_key_value(named.path.first()?)?;
                Some((named.import.as_deref()?, module.as_str()))
            });
        let macros = self.0.iter().flat_map(|(module, files)| {
            let names = files.iter().flat_map(|file| &file.macros);
            names.map(|name| (name.as_str(), module.as_str()))
        });
        macros.chain(imports).collect()
    }
}

/// The crates of the repository by folder.
fn crates(sources: &[&File]) -> BTreeMap<String, Modules> {
    let mut crates: BTreeMap<String, Modules> = BTreeMap::new();
    for file in sources {
        let Some((folder, path)) = file.name.split_once("/src/") else {
            continue;
        };
        let mut module: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        if matches!(module[..], ["lib" | "main"] | [.., "mod"]) {
            module.pop();
        }
        let first = module.first().copied().unwrap_or_default();
        crates
            .entry(folder.to_owned())
            .or_default()
            .0
            .entry(first.to_owned())
            .or_default()
            .push(rust::names(&file.text, &module));
    }
    crates
}

/// Uses that point to the same layer or a higher one, and modules without a layer.
fn upward(layers: &[Vec<String>], graph: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let layer = |module: &str| {
        layers
            .iter()
            .position(|layer| layer.iter().any(|name| name == module))
    };
    let mut errors = Vec::new();
    for (module, targets) in graph.iter().filter(|(module, _)| !module.is_empty()) {
        let Some(own) = layer(module) else {
            errors.push(format!(
                "facilitator/engine: {module} has no layer in tests/xtask/house.toml"
            ));
            continue;
        };
        for target in targets {
            if layer(target).is_none_or(|of_target| of_target >= own) {
                let target = if target.is_empty() {
                    "the crate's root"
                } else {
                    target
                };
                errors.push(format!(
                    "facilitator/engine: {module} uses {target}, which is not below it"
                ));
            }
        }
    }
    errors
}

/// Modules that use each other in a circle, if there are any.
fn circle<'g>(graph: &BTreeMap<&'g str, BTreeSet<&'g str>>) -> Option<Vec<String>> {
    fn visit<'g>(
        at: &'g str,
        graph: &BTreeMap<&'g str, BTreeSet<&'g str>>,
        path: &mut Vec<&'g str>,
        done: &mut BTreeSet<&'g str>,
    ) -> Option<Vec<String>> {
        if let Some(from) = path.iter().position(|seen| *seen == at) {
            let mut names: Vec<String> = path[from..].iter().map(|name| shown(name)).collect();
            names.push(shown(at));
            return Some(names);
        }
        if done.contains(at) {
            return None;
        }
        path.push(at);
        for next in graph.get(at).into_iter().flatten() {
            if let Some(found) = visit(next, graph, path, done) {
                return Some(found);
            }
        }
        path.pop();
        done.insert(at);
        None
    }
    let mut done = BTreeSet::new();
    graph
        .keys()
        .find_map(|module| visit(module, graph, &mut Vec::new(), &mut done))
}

fn shown(module: &str) -> String {
    if module.is_empty() {
        "root".to_owned()
    } else {
        module.to_owned()
    }
}

/// Files and functions above the limits.
fn sizes(file: &File, sizes: &Sizes) -> Vec<String> {
    let mut errors = Vec::new();
    let lines = rust::lines_outside_tests(&file.text);
    if lines.len() > sizes.file {
        errors.push(format!(
            "{}: {} lines, and {} are the most",
            file.name,
            lines.len(),
            sizes.file
        ));
    }
    let head = Regex::new(
        r"^(\s*)(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?(?:unsafe )?(?:extern \S+ )?fn (\w+)",
    )
    .expect("a regular expression");
    for (at, (number, line)) in lines.iter().enumerate() {
        let Some(found) = head.captures(line) else {
            continue;
        };
        let end = format!("{}}}", &found[1]);
        let length = lines[at..]
            .iter()
            .position(|(_, text)| *text == end || text == line && text.trim_end().ends_with(';'))
            .map_or(0, |length| length + 1);
        if length > sizes.function {
            errors.push(format!(
                "{}:{}: fn {} has {length} lines, and {} are the most",
                file.name, number, &found[2], sizes.function
            ));
        }
    }
    errors
}

/// Runs of equal lines in both scheme crates.
fn twins(sources: &[&File], most: usize) -> Vec<String> {
    let window = most + 1;
    let of = |folder: &str| -> BTreeMap<String, String> {
        let mut runs = BTreeMap::new();
        for file in sources.iter().filter(|file| file.name.starts_with(folder)) {
            let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
            for (at, run) in lines.windows(window).enumerate() {
                runs.entry(run.join("\n"))
                    .or_insert_with(|| format!("{}:{}", file.name, at + 1));
            }
        }
        runs
    };
    let (evm, svm) = (of("schemes-evm/"), of("schemes-svm/"));
    let mut errors: Vec<String> = evm
        .iter()
        .filter_map(|(run, one)| {
            svm.get(run).map(|other| {
                format!("{one} and {other}: more than {most} equal lines; move them to sdk-plugin")
            })
        })
        .collect();
    errors.truncate(3);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File {
            name: name.into(),
            kind: Kind::Rust,
            text: text.into(),
        }
    }

    fn graph_errors(files: &[File], layers: &[&[&str]]) -> (Vec<String>, Option<Vec<String>>) {
        let sources: Vec<&File> = files.iter().collect();
        let crates = crates(&sources);
        let graph = crates["c"].graph();
        let layers: Vec<Vec<String>> = layers
            .iter()
            .map(|layer| layer.iter().map(|name| (*name).to_owned()).collect())
            .collect();
        (upward(&layers, &graph), circle(&graph))
    }

    #[test]
    fn the_crates_depend_on_each_other_as_the_list_says() {
        let limits: Limits = toml::from_str(LIMITS).unwrap();
        assert_eq!(arrows(&limits.crates, &metadata().unwrap()), [] as [String; 0]);
        let mut fewer = limits.crates.clone();
        fewer.get_mut("engine").unwrap().remove("journal");
        fewer.remove("host");
        let errors = arrows(&fewer, &metadata().unwrap());
        assert!(
            errors
                .iter()
                .any(|error| error == "engine may not depend on journal"),
            "{errors:?}"
        );
        assert!(
            errors.iter().any(|error| error.starts_with("host: not in")),
            "{errors:?}"
        );
    }

    #[test]
    fn uses_that_point_upward_are_found_through_groups_and_re_exports() {
        let files = [
            file("c/src/lib.rs", "mod low;\nmod high;\npub use high::Thing;\n"),
            file("c/src/high.rs", "use crate::low::Base;\n"),
            file("c/src/low.rs", "use std::sync::Arc;\n"),
        ];
        assert_eq!(graph_errors(&files, &[&["low"], &["high"]]), (Vec::new(), None));
        for upward in [
            "use crate::high::X;\n",
            "use crate::{\n    high::X,\n};\n",
            "use super::Thing;\n",
            "use crate::{Thing};\n",
        ] {
            let files = [
                file(&files[0].name, &files[0].text),
                file(&files[1].name, &files[1].text),
                file("c/src/low.rs", upward),
            ];
            let (errors, circle) = graph_errors(&files, &[&["low"], &["high"]]);
            assert_eq!(
                errors,
                ["facilitator/engine: low uses high, which is not below it"],
                "{upward}"
            );
            assert_eq!(
                circle,
                Some(vec!["high".into(), "low".into(), "high".into()]),
                "{upward}"
            );
        }
    }

    #[test]
    fn paths_that_point_upward_are_found_at_any_place() {
        for (name, upward) in [
            ("c/src/low.rs", "fn f(owner: &crate::high::X) {}\n"),
            ("c/src/low.rs", "fn f() {\n    super::high::x();\n}\n"),
            ("c/src/low.rs", "fn f() {\n    use crate::high::X;\n}\n"),
            ("c/src/low.rs", "mod inner {\n    use crate::high::X;\n}\n"),
            ("c/src/low.rs", "mod inner {\n    use super::super::Thing;\n}\n"),
            ("c/src/low/mod.rs", "use super::high::X;\n"),
            ("c/src/low/deep.rs", "use super::super::high::X;\n"),
            ("c/src/low/deep/mod.rs", "use super::super::high::X;\n"),
            (
                "c/src/low/deep/er.rs",
                "fn f(x: super::super::super::high::X) {}\n",
            ),
            (
                "c/src/low.rs",
                "#[cfg(test)]\nmod tests {\n}\n\nuse crate::high::X;\n",
            ),
            (
                "c/src/low.rs",
                "#[cfg(test)]\nuse crate::low::X;\nuse crate::Thing;\n",
            ),
        ] {
            let files = [
                file("c/src/lib.rs", "mod low;\nmod high;\npub use high::Thing;\n"),
                file("c/src/high.rs", "fn f() { crate::low::base(); }\n"),
                file(name, upward),
            ];
            let (errors, circle) = graph_errors(&files, &[&["low"], &["high"]]);
            assert_eq!(
                errors,
                ["facilitator/engine: low uses high, which is not below it"],
                "{name}: {upward}"
            );
            assert!(circle.is_some(), "{name}: {upward}");
        }
    }

    #[test]
    fn a_call_of_the_root_and_a_call_back_are_a_circle() {
        for root in ["use part::run;\n", "fn f() {\n    part::run();\n}\n"] {
            let files = [
                file("c/src/lib.rs", &format!("mod part;\n{root}fn helper() {{}}\n")),
                file("c/src/part.rs", "fn run() {\n    super::helper();\n}\n"),
            ];
            let (_, circle) = graph_errors(&files, &[&["part"]]);
            assert_eq!(
                circle,
                Some(vec!["root".into(), "part".into(), "root".into()]),
                "{root}"
            );
        }
    }

    #[test]
    fn only_dev_dependencies_are_free() {
        let package = |kind: Value| {
            serde_json::json!({"packages": [
                {"name": "low", "manifest_path": "/low/Cargo.toml", "dependencies": [{"name": "high", "kind": kind}]},
                {"name": "high", "manifest_path": "/high/Cargo.toml", "dependencies": []},
            ]})
        };
        let allowed = BTreeMap::from([("low".into(), BTreeSet::new()), ("high".into(), BTreeSet::new())]);
        for kind in [Value::Null, "build".into()] {
            assert_eq!(arrows(&allowed, &package(kind)), ["low may not depend on high"]);
        }
        assert_eq!(arrows(&allowed, &package("dev".into())), [] as [String; 0]);
    }

    #[test]
    fn a_folder_is_one_module_and_the_root_can_be_part_of_a_circle() {
        let files = [
            file("c/src/lib.rs", "mod part;\nuse part::run;\npub struct App;\n"),
            file("c/src/part/mod.rs", "mod inner;\n"),
            file("c/src/part/inner.rs", "use super::Private;\n"),
        ];
        assert_eq!(graph_errors(&files, &[&["part"]]), (Vec::new(), None));
        let files = [
            file(&files[0].name, &files[0].text),
            file("c/src/part/mod.rs", "use super::App;\n"),
        ];
        let (errors, circle) = graph_errors(&files, &[&["part"]]);
        assert_eq!(
            errors,
            ["facilitator/engine: part uses the crate's root, which is not below it"]
        );
        assert_eq!(circle, Some(vec!["root".into(), "part".into(), "root".into()]));
    }

    #[test]
    fn long_files_long_functions_and_twins_are_found() {
        let limits = Sizes {
            file: 6,
            function: 3,
            twins: 2,
        };
        let short = "fn a() {\n    1\n}\n";
        assert_eq!(sizes(&file("c/src/a.rs", short), &limits), [] as [String; 0]);
        let long = "fn a() {\n    1;\n    2\n}\n";
        assert_eq!(
            sizes(&file("c/src/a.rs", long), &limits),
            ["c/src/a.rs:1: fn a has 4 lines, and 3 are the most"]
        );
        let file_long = format!("{short}{short}{short}\n#[cfg(test)]\nmod tests {{\n}}\n");
        assert_eq!(
            sizes(&file("c/src/a.rs", &file_long), &limits),
            ["c/src/a.rs: 9 lines, and 6 are the most"]
        );
        let after_tests = format!("#[cfg(test)]\nmod tests {{\n}}\n{long}");
        assert_eq!(
            sizes(&file("c/src/a.rs", &after_tests), &limits),
            ["c/src/a.rs:4: fn a has 4 lines, and 3 are the most"]
        );
        let (evm, svm) = (
            file("schemes-evm/src/a.rs", long),
            file("schemes-svm/src/b.rs", &format!("// x\n{long}")),
        );
        assert_eq!(twins(&[&evm, &svm], 2).len(), 2);
        assert_eq!(twins(&[&evm, &svm], 4), [] as [String; 0]);
    }
}
