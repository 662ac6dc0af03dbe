//! Plugins in C, compiled for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries;

/// A plugin's file, in a folder that is removed with it.
#[derive(Debug)]
pub struct Compiled {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Compiled {
    /// Compiles sources, whose paths are relative to the repository's root.
    ///
    /// # Panics
    /// Without a C compiler, or when the sources don't compile.
    #[must_use]
    pub fn build(sources: &[&str], flags: &[&str]) -> Compiled {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("libplugin.so");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let compiled = Command::new("cc")
            .args(["-std=gnu11", "-pthread", "-fPIC", "-shared"])
            .args(flags)
            .arg("-I")
            .arg(root.join("sdk-plugin/include"))
            .args(sources.iter().map(|source| root.join(source)))
            .arg("-o")
            .arg(&file)
            .output()
            .expect("cc starts");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        Compiled {
            _folder: folder,
            file,
        }
    }

    /// The lines of its section that name the file and its pin.
    ///
    /// # Panics
    /// When the file is gone.
    #[must_use]
    pub fn pinned(&self) -> String {
        let sha256 = binaries::sha256(&self.file).expect("readable");
        format!("file = {:?}\nsha256 = \"{sha256}\"\n", self.file)
    }
}
