//! Programs of other projects that commands need: a pinned release of each, installed by cargo into target/tools.

use std::process::{Command, Stdio};

use crate::{Failure, cargo};

/// Where they are installed, from the repository's root.
const TOOLS: &str = "target/tools";

/// A program that `cargo install` can build.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The crate and its program.
    name: &'static str,
    version: &'static str,
    features: &'static [&'static str],
    /// Arguments with which it prints its version.
    prints_version: &'static [&'static str],
    /// Whether another release on the PATH will do.
    any_version: bool,
}

pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    features: &[],
    prints_version: &["--version"],
    any_version: true,
};

pub(crate) const CARGO_ABOUT: Tool = Tool {
    name: "cargo-about",
    version: "0.9.3",
    // Its command line.
    features: &["--features", "cli"],
    prints_version: &["--version"],
    any_version: false,
};

pub(crate) const CARGO_CYCLONEDX: Tool = Tool {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    features: &[],
    prints_version: &["cyclonedx", "--version"],
    any_version: false,
};

/// Without its file watcher and server, which compile for minutes.
pub(crate) const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    features: &["--no-default-features", "--features", "search"],
    prints_version: &["--version"],
    any_version: false,
};

/// Installs the tool if it is missing, and returns a PATH with it.
pub(crate) fn ensure(tool: &Tool) -> Result<String, Failure> {
    let folder = cargo::root().join(TOOLS).join("bin");
    let folders = std::iter::once(folder)
        .chain(std::env::var_os("PATH").iter().flat_map(std::env::split_paths))
        .collect::<Vec<_>>();
    let path = std::env::join_paths(folders).map_err(|e| Failure(format!("PATH can't be extended: {e}")))?;
    let path = path.to_string_lossy().into_owned();
    if !tool.is_installed(&path) {
        let install = [
            "install",
            tool.name,
            "--locked",
            "--version",
            tool.version,
            "--root",
            TOOLS,
        ];
        cargo::run(
            &format!("Installing {} {}", tool.name, tool.version),
            &[&install[..], tool.features].concat(),
            &[("PATH", path.as_str())],
        )?;
    }
    Ok(path)
}

impl Tool {
    /// A command that finds the tool on this PATH.
    pub(crate) fn command(&self, path: &str) -> Command {
        // The PATH of the child is not searched for the program itself everywhere.
        let program = std::env::split_paths(path)
            .map(|folder| folder.join(self.name))
            .find(|program| program.is_file());
        let mut command = Command::new(program.unwrap_or_else(|| self.name.into()));
        command.env("PATH", path);
        command
    }

    fn is_installed(&self, path: &str) -> bool {
        let printed = self
            .command(path)
            .args(self.prints_version)
            .stderr(Stdio::null())
            .output()
            .ok()
            .filter(|output| output.status.success());
        printed.is_some_and(|output| {
            self.any_version || is_version(&String::from_utf8_lossy(&output.stdout), self.version)
        })
    }
}

/// Whether a program that printed this is of that version.
fn is_version(printed: &str, version: &str) -> bool {
    printed
        .split_whitespace()
        .any(|part| part.trim_start_matches('v') == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_release_counts() {
        assert!(is_version("mdbook v0.5.4\n", "0.5.4"));
        assert!(is_version("cargo-cyclonedx-cyclonedx 0.5.9\n", "0.5.9"));
        assert!(is_version("tool 1.2.3 (abc 2026)", "1.2.3"));
        assert!(!is_version("mdbook v0.5.40", "0.5.4"));
        assert!(!is_version("", "0.5.4"));
    }
}
