//! Makes a process record what it does to its files: compiles `recorder.c`, and starts the same program again with it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Names the folder in which every folder is recorded.
const ROOT: &str = "SIMULATED_DISK";
const SOURCE: &str = include_str!("recorder.c");

/// The folder in which every folder is recorded; `None`: this process is not recorded.
#[must_use]
pub fn root() -> Option<PathBuf> {
    std::env::var_os(ROOT).map(PathBuf::from)
}

/// Runs a program with these arguments, recorded.
///
/// # Errors
/// A text for the developer.
pub fn run(program: &Path, args: &[String]) -> Result<ExitStatus, String> {
    let root = std::env::temp_dir().join(format!("simulated-disk-{}", std::process::id()));
    let failed = |what: &str, error: std::io::Error| format!("{} can't be {what}: {error}", root.display());
    std::fs::create_dir_all(&root).map_err(|error| failed("made", error))?;
    let library = compile(&root);
    let ended = library.and_then(|library| {
        let mut command = Command::new(program);
        command.args(args).env("LD_PRELOAD", library).env(ROOT, &root);
        command
            .status()
            .map_err(|error| format!("{}: {error}", program.display()))
    });
    // Left over, they cost space in a temporary folder.
    for extension in ["c", "so"] {
        let _ = std::fs::remove_file(root.with_extension(extension));
    }
    std::fs::remove_dir_all(&root).map_err(|error| failed("removed", error))?;
    ended
}

fn compile(folder: &Path) -> Result<PathBuf, String> {
    let (source, library) = (folder.with_extension("c"), folder.with_extension("so"));
    std::fs::write(&source, SOURCE).map_err(|error| format!("{}: {error}", source.display()))?;
    let compiler = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-fPIC", "-shared", "-pthread", "-o"])
        .args([&library, &source])
        .output()
        .map_err(|error| {
            format!("cc, which compiles the recorder of the simulated disk, does not start: {error}")
        })?;
    if compiler.status.success() {
        return Ok(library);
    }
    Err(String::from_utf8_lossy(&compiler.stderr).into_owned())
}
