//! A plugin that ends its process, blocks it or uses it up: where and how is in its configuration.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::World;
use crate::binaries;

/// A build of `tests/plugins/fatal`, in a folder that is removed with it.
#[derive(Debug)]
pub struct Fatal {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Fatal {
    /// Compiles it.
    ///
    /// # Panics
    /// Without a C compiler.
    #[must_use]
    pub fn build(flags: &[&str]) -> Fatal {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("libfatal.so");
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let compiled = Command::new("cc")
            .args(["-std=gnu11", "-O0", "-pthread", "-fPIC", "-shared"])
            .args(flags)
            .arg(format!("-I{root}/sdk-plugin/include"))
            .arg(format!("{root}/tests/plugins/fatal/fatal.c"))
            .arg("-o")
            .arg(&file)
            .output()
            .expect("cc starts");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        Fatal {
            _folder: folder,
            file,
        }
    }

    /// Its section of the configuration, in the facilitator's process.
    ///
    /// # Panics
    /// When its file is gone.
    #[must_use]
    pub fn section(&self, at: &str, how: &str) -> String {
        let sha256 = binaries::sha256(&self.file).expect("readable");
        format!(
            "[plugin.fatal]\nfile = {:?}\nsha256 = \"{sha256}\"\nisolation = \"none\"\nconfig = {{ at = {at:?}, how = {how:?} }}\n",
            self.file
        )
    }
}

/// A payment of its scheme.
///
/// # Panics
/// Never: the payment that it changes has these members.
#[must_use]
pub fn payment(world: &World, nonce: &str) -> Value {
    let mut body = world.payment(0).v2();
    for terms in ["/paymentRequirements/scheme", "/paymentPayload/accepted/scheme"] {
        *body.pointer_mut(terms).expect("a scheme") = json!("fatal");
    }
    *body.pointer_mut("/paymentPayload/payload").expect("a payload") = json!({ "nonce": nonce });
    body
}
