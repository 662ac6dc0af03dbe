//! A process that must not outlive this one, however this one ends: a small shell waits at a pipe whose other end only
//! this process holds, and sends SIGTERM when it closes.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::Error;

/// Holds a process until dropped; then that process is free again.
#[derive(Debug)]
pub struct Leash {
    shell: Child,
}

impl Leash {
    /// Puts a running child on the leash.
    ///
    /// # Errors
    /// When the shell can't be started.
    pub fn on(child: &Child) -> Result<Leash, Error> {
        let shell = Command::new("sh")
            .args(["-c", "read -r _; kill -TERM \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the others; the shell must be there when they are gone.
            .process_group(0)
            .spawn()
            .map_err(|e| Error(format!("cannot start sh: {e}")))?;
        Ok(Leash { shell })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Before the pipe closes: the id may be another process's by now.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
