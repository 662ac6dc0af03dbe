//! Texts of the repository that the lints read.

use std::fs;
use std::path::Path;

use crate::Failure;

/// Folders that hold no sources of this repository.
const SKIPPED: [&str; 4] = ["target", "node_modules", "lib", "book"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rust,
    Markdown,
    /// C, Solidity and JavaScript.
    Curly,
    Toml,
}

/// A file with its text.
#[derive(Debug)]
pub(crate) struct File {
    /// Path from the repository's root, with `/`.
    pub name: String,
    pub kind: Kind,
    pub text: String,
}

/// Every Rust and Markdown file of the repository, by name.
pub(crate) fn all(root: &Path) -> Result<Vec<File>, Failure> {
    of_kinds(root, &[Kind::Rust, Kind::Markdown])
}

/// Every file of the repository of some kinds, by name.
pub(crate) fn of_kinds(root: &Path, kinds: &[Kind]) -> Result<Vec<File>, Failure> {
    let mut found = Vec::new();
    collect(root, root, kinds, &mut found)
        .map_err(|error| Failure(format!("cannot read the repository: {error}")))?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn collect(root: &Path, folder: &Path, kinds: &[Kind], found: &mut Vec<File>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&&*name) {
                collect(root, &path, kinds, found)?;
            }
            continue;
        }
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => Kind::Rust,
            Some("md") => Kind::Markdown,
            Some("c" | "h" | "sol" | "mjs" | "cjs") => Kind::Curly,
            Some("toml") => Kind::Toml,
            _ => continue,
        };
        if !kinds.contains(&kind) {
            continue;
        }
        let parts: Vec<_> = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .iter()
            .map(|part| part.to_string_lossy())
            .collect();
        found.push(File {
            name: parts.join("/"),
            text: fs::read_to_string(&path)?,
            kind,
        });
    }
    Ok(())
}
