//! `switchyard key hash`: prints the hash of a tenant's API key. The configuration holds only the hash.

use std::io::{BufRead, IsTerminal as _, Write};

use sha2::{Digest as _, Sha256};

use super::CliError;

/// Fewest characters of a key: 128 bits in hex. The hash is fast, so a key must not be guessable.
const MIN_CHARACTERS: usize = 32;
/// Most bytes of a key: headers have a limit, too.
const MAX_BYTES: u64 = 1_024;

pub(super) fn hash(input: impl BufRead, out: &mut dyn Write) -> Result<(), CliError> {
    if std::io::stdin().is_terminal() {
        eprintln!("Type or paste the API key and press Enter (it is shown):");
    }
    let mut line = String::new();
    input
        .take(MAX_BYTES + 1)
        .read_line(&mut line)
        .map_err(|error| CliError(format!("the key can't be read: {error}")))?;
    let key = line.trim();
    if key.len() < MIN_CHARACTERS
        || line.len() as u64 > MAX_BYTES
        || !key.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(CliError(format!(
            "an API key has {MIN_CHARACTERS} to {MAX_BYTES} visible ASCII characters; make one with: openssl rand -hex 32"
        )));
    }
    writeln!(out, "key_sha256 = \"{}\"", hex::encode(Sha256::digest(key)))?;
    Ok(())
}
