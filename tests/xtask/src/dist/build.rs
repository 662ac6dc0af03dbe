//! The binaries of the archive, without paths of this machine in them.

use std::path::{Path, PathBuf};

use super::{Release, output, root};
use crate::{Failure, cargo};

/// Paths of this machine that compilers would write into binaries, and what stands there instead.
#[derive(Debug)]
pub(super) struct Machine(Vec<(String, &'static str)>);

impl Machine {
    /// # Errors
    /// When the compiler can't be run.
    pub(super) fn this() -> Result<Machine, Failure> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| Some(home.clone()?.join(".cargo")));
        let sysroot = output("rustc", &["--print", "sysroot"])?;
        let mut paths = vec![(root()?.to_string_lossy().into_owned(), "/switchyard")];
        if let Some(folder) = cargo_home {
            paths.push((folder.to_string_lossy().into_owned(), "/cargo"));
        }
        paths.push((sysroot.trim().to_owned(), "/rust"));
        Ok(Machine(paths))
    }

    /// Their texts.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(path, _)| path.as_str())
    }

    /// This text with the replacements in it.
    pub(super) fn without_paths(&self, text: &str) -> String {
        let replace = |text: String, (path, instead): &(String, &str)| text.replace(path.as_str(), instead);
        self.0.iter().fold(text.to_owned(), replace)
    }

    /// For rustc, in the form of `CARGO_ENCODED_RUSTFLAGS`.
    fn rust_flags(&self) -> String {
        let flags: Vec<String> = self
            .0
            .iter()
            .map(|(path, instead)| format!("--remap-path-prefix={path}={instead}"))
            .collect();
        flags.join("\u{1f}")
    }

    /// For the C compiler, which build scripts call with `CFLAGS`.
    fn c_flags(&self) -> String {
        let flags: Vec<String> = self
            .0
            .iter()
            .map(|(path, instead)| format!("-ffile-prefix-map={path}={instead}"))
            .collect();
        flags.join(" ")
    }
}

/// Builds what is shipped into a folder of its own, because other flags compile every crate once more. Returns the folder with
/// the files.
pub(super) fn reproducible(dist: &Path, release: &Release) -> Result<PathBuf, Failure> {
    let machine = Machine::this()?;
    let target = dist.join("build");
    let (rust, c, time) = (machine.rust_flags(), machine.c_flags(), release.time.to_string());
    let target_text = target.to_string_lossy().into_owned();
    cargo::build_what_is_shipped_as(&[
        ("CARGO_TARGET_DIR", target_text.as_str()),
        ("CARGO_ENCODED_RUSTFLAGS", rust.as_str()),
        ("CARGO_INCREMENTAL", "0"),
        ("CFLAGS", c.as_str()),
        ("SOURCE_DATE_EPOCH", time.as_str()),
        // `switchyard version` prints it.
        ("SWITCHYARD_COMMIT", release.commit.as_str()),
    ])?;
    Ok(target.join("release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names_that_every_machine_shares() {
        let machine = Machine(vec![
            ("/build/here".into(), "/switchyard"),
            ("/home/me/.cargo".into(), "/cargo"),
        ]);
        let text = "path+file:///build/here/plugins/evm, /home/me/.cargo/registry";
        assert_eq!(
            machine.without_paths(text),
            "path+file:///switchyard/plugins/evm, /cargo/registry"
        );
        assert_eq!(
            machine.rust_flags(),
            "--remap-path-prefix=/build/here=/switchyard\u{1f}--remap-path-prefix=/home/me/.cargo=/cargo"
        );
    }
}
