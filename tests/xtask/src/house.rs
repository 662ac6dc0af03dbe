//! The shape of the code: which crate depends on which, the layers of the engine, circles between modules, and how long
//! files and functions are. The limits are in `tests/xtask/house.toml`.
//!
//! Modules are compared by their first level: the files of one folder belong together. Only `use` declarations count;
//! code names other modules through them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::files::{self, File, Kind};
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

/// The lines of a file before its own tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
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
            // `kind` is null for what ships.
            if dependency["kind"].is_null() && own.contains(to) && !allowed.contains(to) {
                errors.push(format!("{name} may not depend on {to}"));
            }
        }
    }
    errors
}

/// The first-level modules of a crate with their texts; the empty name is the root.
#[derive(Debug, Default)]
struct Modules(BTreeMap<String, String>);

impl Modules {
    /// From each module to those it uses.
    fn graph(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let exports = self.exports();
        let path = Regex::new(r"\b(?:crate|super)::(\{[^;]*?\}|\w+)").expect("a regular expression");
        let name = Regex::new(r"\w+").expect("a regular expression");
        let resolve = |word: &str| -> Option<&str> {
            match self.0.get_key_value(word) {
                Some((module, _)) => Some(module.as_str()),
                None => exports.get(word).copied().or(Some("")),
            }
        };
        let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, text) in &self.0 {
            let targets = graph.entry(module).or_default();
            let uses = declarations(text);
            for declaration in &uses {
                // In a folder `super` is the folder itself.
                for found in path.captures_iter(declaration) {
                    let head = &found[1];
                    let words: Vec<&str> = if head.starts_with('{') {
                        top_level(head)
                            .into_iter()
                            .filter_map(|part| name.find(part).map(|word| word.as_str()))
                            .collect()
                    } else {
                        vec![head]
                    };
                    targets.extend(
                        words
                            .into_iter()
                            .filter(|word| *word != "super" && *word != "self")
                            .filter_map(resolve),
                    );
                }
            }
            if module.is_empty() {
                // The root names its modules directly. Re-exports are not uses.
                for declaration in uses.iter().filter(|line| !line.starts_with("pub")) {
                    let first = name
                        .find(
                            declaration
                                .trim_start_matches("use ")
                                .trim_start_matches("self::"),
                        )
                        .map(|word| word.as_str());
                    targets.extend(
                        first
                            .and_then(|word| self.0.get_key_value(word))
                            .map(|(module, _)| module.as_str()),
                    );
                }
            }
            targets.remove(module.as_str());
        }
        graph
    }

    /// From the names that the root re-exports to their modules.
    fn exports(&self) -> BTreeMap<String, &str> {
        let word = Regex::new(r"\w+").expect("a regular expression");
        let mut exports = BTreeMap::new();
        for declaration in self.0.get("").map(|text| declarations(text)).unwrap_or_default() {
            let Some(path) = declaration
                .strip_prefix("pub")
                .and_then(|rest| rest.split_once("use "))
            else {
                continue;
            };
            let mut words = word.find_iter(path.1).map(|found| found.as_str().to_owned());
            let Some((module, _)) = words.next().and_then(|first| self.0.get_key_value(&first)) else {
                continue;
            };
            exports.extend(words.map(|name| (name, module.as_str())));
        }
        exports
    }
}

/// Every `use` declaration of a text, each on one line.
fn declarations(text: &str) -> Vec<String> {
    let start = Regex::new(r"(?m)^(?:pub(?:\([^)]*\))? )?use [^;]*;").expect("a regular expression");
    start
        .find_iter(text)
        .map(|found| found.as_str().split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The parts of `{a, b::{c, d}}` at the top level.
fn top_level(group: &str) -> Vec<&str> {
    let inner = group.trim_start_matches('{').trim_end_matches('}');
    let (mut depth, mut from, mut parts) = (0_usize, 0, Vec::new());
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[from..]);
    parts
}

/// The crates of the repository by folder.
fn crates(sources: &[&File]) -> BTreeMap<String, Modules> {
    let mut crates: BTreeMap<String, Modules> = BTreeMap::new();
    for file in sources {
        let Some((folder, path)) = file.name.split_once("/src/") else {
            continue;
        };
        let first = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let module = if matches!(first, "lib" | "main") {
            ""
        } else {
            first
        };
        let mut text = without_tests(&file.text).to_owned();
        if path.contains('/') && path.matches('/').count() == 1 && !path.ends_with("/mod.rs") {
            // One level down, `super` is the folder.
            text = text
                .replace("super::super::", "crate::")
                .replace("super::", "self::");
        } else if path.contains('/') && !path.ends_with("/mod.rs") || path.matches('/').count() > 1 {
            text = text.replace("super::", "self::");
        }
        crates
            .entry(folder.to_owned())
            .or_default()
            .0
            .entry(module.to_owned())
            .or_default()
            .push_str(&format!("\n{text}"));
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
    let text = without_tests(&file.text);
    let lines: Vec<&str> = text.lines().collect();
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
    for (at, line) in lines.iter().enumerate() {
        let Some(found) = head.captures(line) else {
            continue;
        };
        let end = format!("{}}}", &found[1]);
        let length = lines[at..]
            .iter()
            .position(|line| *line == end || line.trim_end().ends_with(';') && *line == lines[at])
            .map_or(0, |length| length + 1);
        if length > sizes.function {
            errors.push(format!(
                "{}:{}: fn {} has {length} lines, and {} are the most",
                file.name,
                at + 1,
                &found[2],
                sizes.function
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
        let (evm, svm) = (
            file("schemes-evm/src/a.rs", long),
            file("schemes-svm/src/b.rs", &format!("// x\n{long}")),
        );
        assert_eq!(twins(&[&evm, &svm], 2).len(), 2);
        assert_eq!(twins(&[&evm, &svm], 4), [] as [String; 0]);
    }
}
