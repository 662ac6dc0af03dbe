//! The journal's mark after a crash. It names the time at which it was written and the boot of the machine, and the journal
//! holds both against its file's own time. A file that is restored has another time, as one that was copied has: so the
//! line is made anew, as if the machine had kept the file's time and had been started again.

use sha2::{Digest as _, Sha256};

pub(super) const NAME: &str = "journal.mark";

/// No boot of any machine.
const BOOT: &str = "00000000000000aa";

#[allow(
    clippy::disallowed_methods,
    reason = "the journal holds it against the times of files, which are the machine's"
)]
fn now_ms() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis())
}

fn checksum(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.chars().take(16).collect()
}

/// The same line with today's date. A line that is damaged stays as it is.
pub(super) fn redated(line: &[u8]) -> Vec<u8> {
    let parts = || {
        let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let (text, sum) = text.rsplit_once(' ')?;
        (checksum(text) == sum).then(|| text.to_owned())
    };
    let Some(text) = parts() else {
        return line.to_vec();
    };
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    // `switchyard-mark 2`, number of the last event, inode, time, boot, state.
    if let [_, _, _, _, time, boot, ..] = words.as_mut_slice() {
        *time = format!("{:020}", now_ms());
        *boot = BOOT.to_owned();
    }
    let text = words.join(" ");
    format!("{text} {}\n", checksum(&text)).into_bytes()
}
