//! `switchyard support`: one archive with what a person needs to help an operator, without secrets. Each file of it is made by
//! itself: what fails or takes too long leaves a sentence, and the others are written.

mod archive;
mod parts;
mod patterns;
mod scrub;
mod shown;
mod sources;
mod system;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use base::clock::{Clock as _, SystemClock};
use clap::Args;
use http_api::times;

use self::parts::{Part, parts};
use self::sources::Sources;
use super::{CliError, ConfigFile};

/// How long one file may take. A database, a signer or a disk may not answer.
const PART_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct SupportCommand {
    /// The archive to write. It must not exist yet. Without it: `switchyard-support-TIME.tar.gz` in this folder.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A file with the process's log: its last lines are added.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How many lines of the log.
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000)]
    lines: usize,
    /// Add what is recorded of this payment: its id, one of its transactions, or its claim.
    #[arg(long, value_name = "PAYMENT")]
    payment: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn support(command: &SupportCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let now_s = SystemClock.now_s();
    let time = times::iso(now_s.saturating_mul(1_000));
    let compact: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
    let folder = format!("switchyard-support-{compact}");
    let path = match &command.output {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{folder}.tar.gz")),
    };
    let shown = path.display();
    let file = archive::create(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            CliError(format!("{shown} exists; name another file with --output, or remove it"))
        }
        _ => CliError(format!(
            "{shown} can't be created ({error}); name a file in a folder that you may write into with --output"
        )),
    })?;
    writeln!(
        out,
        "reading; a part that does not answer is left out after {} s",
        PART_TIMEOUT.as_secs()
    )?;
    let files = gather(command, &time);
    let (mut archived, mut lines) = (Vec::new(), Vec::new());
    for (part, text) in &files {
        archived.push((format!("{folder}/{}", part.file), text.clone()));
        lines.push(format!(
            "  {:<14} {:>9} bytes  {}",
            part.file,
            text.len(),
            part.what
        ));
    }
    let contents = format!("switchyard support, {time}\n\n{}\n", lines.join("\n"));
    archived.insert(0, (format!("{folder}/contents.txt"), contents));
    if let Err(error) = archive::write(&file, &archived, now_s) {
        // A part of an archive is of no use.
        let _ = std::fs::remove_file(&path);
        return Err(CliError(format!(
            "{shown} can't be written ({error}); name a file on a disk with free space with --output"
        )));
    }
    writeln!(out, "\n{shown} has:")?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    writeln!(
        out,
        "\nNothing was sent. Known secrets and what may be one were removed; names, addresses and hosts were not.\n\
         Read it before you send it: tar -xzOf {shown} | less"
    )?;
    Ok(())
}

/// The files, without secrets.
fn gather(command: &SupportCommand, time: &str) -> Vec<(Part, String)> {
    let config = command.file.config.clone();
    // Private keys are loaded, which a remote signer may delay.
    let sources = within(PART_TIMEOUT, move || Ok(Sources::read(&config)));
    let sources = Arc::new(match sources {
        Ok(sources) => sources,
        Err(why) => Sources::without_keys(&command.file.config, &why),
    });
    let mut files = Vec::new();
    for part in parts(command, time) {
        let (make, own) = (part.make.clone(), Arc::clone(&sources));
        let text = match within(PART_TIMEOUT, move || make(&own)) {
            Ok(text) => text,
            Err(why) => sources.scrubber.text(&format!("not read: {why}")),
        };
        files.push((part, text));
    }
    files
}

/// The result of work that may never end. A thread that does not end in time ends with the process.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, String> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().spawn(move || {
        // The receiver is gone when the time was over.
        let _ = sender.send(work());
    });
    thread.map_err(|error| format!("no thread can be started ({error})"))?;
    match receiver.recv_timeout(limit) {
        Ok(result) => result.map_err(|CliError(why)| why),
        Err(RecvTimeoutError::Timeout) => Err(format!("it did not answer within {} s", limit.as_secs())),
        Err(RecvTimeoutError::Disconnected) => {
            Err("the command failed here, which is a bug: standard error has the reason".to_owned())
        }
    }
}
