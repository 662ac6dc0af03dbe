//! Commands to the running process: a Unix socket in the data directory, which only the process's user and root may use. A command is a
//! line, and so is each sentence of the reply; the first line of a reply is [`DONE`] or [`FAILED`].

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// The command that reads the configuration again.
pub const RELOAD: &str = "reload";
pub const DONE: &str = "done";
pub const FAILED: &str = "failed";

const NAME: &str = "admin.sock";
/// Longest command, and how long it may take to arrive.
const MAX_COMMAND_BYTES: usize = 256;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command may take: each plugin may take half a minute to load and start.
const REPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// Listens for commands. The socket is removed with it.
#[derive(Debug)]
pub struct Admin {
    listener: UnixListener,
    path: PathBuf,
}

/// A command that waits for its reply.
#[derive(Debug)]
pub struct Command {
    pub text: String,
    stream: UnixStream,
}

impl Admin {
    /// The data directory is of this process alone, so that a socket that is there was left by the last one.
    ///
    /// # Errors
    /// The directory takes no socket, for instance because its path is too long for one.
    pub fn listen(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// The next command.
    pub async fn next(&self) -> Command {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Ok(Some(command)) = timeout(COMMAND_TIMEOUT, read(stream)).await {
                        return command;
                    }
                }
                // A lack of file descriptors passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // The next start removes it, otherwise.
        let _ = fs::remove_file(&self.path);
    }
}

async fn read(mut stream: UnixStream) -> Option<Command> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n") {
        let mut byte = [0];
        if bytes.len() >= MAX_COMMAND_BYTES || stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        bytes.extend_from_slice(&byte);
    }
    let text = String::from_utf8(bytes).ok()?.trim().to_owned();
    Some(Command { text, stream })
}

impl Command {
    /// Replies. A caller that has gone gets nothing.
    pub async fn reply(mut self, first: &str, lines: &[String]) {
        let mut text = format!("{first}\n");
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        let _ = timeout(COMMAND_TIMEOUT, self.stream.write_all(text.as_bytes())).await;
    }
}

/// Sends a command to the process that runs on this data directory: whether it was done, and the lines of its reply.
///
/// # Errors
/// A sentence: no process listens there, or it does not reply.
pub fn send(directory: &Path, command: &str) -> Result<(bool, Vec<String>), String> {
    let path = directory.join(NAME);
    let talk = || -> io::Result<String> {
        let mut stream = Blocking::connect(&path)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    };
    let reply = talk().map_err(|error| {
        format!(
            "no process replies at {} ({error}); start it with `switchyard serve`, and run this as the same user",
            path.display()
        )
    })?;
    let mut lines = reply.lines().map(str::to_owned);
    match lines.next().as_deref() {
        Some(DONE) => Ok((true, lines.collect())),
        Some(FAILED) => Ok((false, lines.collect())),
        Some(_) | None => Err("the process ended before it replied; see its log".to_owned()),
    }
}
