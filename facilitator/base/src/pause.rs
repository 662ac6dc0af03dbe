//! What an operator has paused, as a small file in the journal's directory. The commands write it and the running process
//! reads it. There is no endpoint for it that another process could reach. Where several nodes share a database as their
//! journal, the same text is a row of it.
//!
//! The file is a checksum and a list, and is replaced as a whole: a reader sees the old or the new one. A file that can't
//! be read, or is damaged, pauses everything: damage must never resume payments.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::list_file::{ListFile, Unreadable, decode, encode};

/// The file's name in `data.directory`.
pub const FILE: &str = "paused";
const LIST: ListFile = ListFile {
    name: FILE,
    max_bytes: 1 << 20,
};

/// One pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// CAIP-2; `None`: every network.
    pub network: Option<String>,
    /// `None`: every scheme.
    pub scheme: Option<String>,
    /// The address of a signer of the network, which is drained: it gets nothing new. Its kinds are not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// For operators; callers do not see it.
    pub reason: String,
    /// Seconds since the epoch.
    pub since_s: u64,
}

impl Pause {
    /// Whether both pause the same kinds, or drain the same signer. The reason does not matter.
    #[must_use]
    pub fn covers_the_same(&self, other: &Self) -> bool {
        (&self.network, &self.scheme, &self.signer) == (&other.network, &other.scheme, &other.signer)
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            network,
            scheme,
            signer,
            reason,
            since_s,
        } = self;
        match (scheme, network, signer) {
            (_, network, Some(signer)) => {
                let network = network.as_deref().unwrap_or("every network");
                write!(f, "signer {signer} on {network}, which is drained")?;
            }
            (None, None, None) => f.write_str("everything")?,
            (Some(scheme), None, None) => write!(f, "{scheme} on every network")?,
            (None, Some(network), None) => write!(f, "every scheme on {network}")?,
            (Some(scheme), Some(network), None) => write!(f, "{scheme} on {network}")?,
        }
        write!(f, " since {since_s} (seconds since 1970): {reason:?}")
    }
}

/// Which pauses to lift: those that have every value which is given here. Nothing given: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lifted {
    /// CAIP-2.
    pub network: Option<String>,
    pub scheme: Option<String>,
    pub signer: Option<String>,
}

impl Lifted {
    /// What is lifted, and what remains.
    #[must_use]
    pub fn split(&self, pauses: Vec<Pause>) -> (Vec<Pause>, Vec<Pause>) {
        pauses.into_iter().partition(|pause| self.lifts(pause))
    }

    fn lifts(&self, pause: &Pause) -> bool {
        let matches = |wanted: &Option<String>, this: &Option<String>| wanted.is_none() || wanted == this;
        let is_signer = match (&self.signer, &pause.signer) {
            // Hex is written in either case.
            (Some(wanted), Some(this)) => {
                wanted == this || (is_hex(wanted) && wanted.eq_ignore_ascii_case(this))
            }
            // Lifting the pauses of a network leaves its drained signers as they are.
            (None, Some(_)) => self.network.is_none() && self.scheme.is_none(),
            (None, None) => true,
            (Some(_), None) => false,
        };
        matches(&self.network, &pause.network) && matches(&self.scheme, &pause.scheme) && is_signer
    }
}

fn is_hex(text: &str) -> bool {
    text.starts_with("0x") || text.starts_with("0X")
}

/// Adds a pause. One that covers the same is replaced by it.
pub fn add(pauses: &mut Vec<Pause>, new: Pause) {
    pauses.retain(|known| !known.covers_the_same(&new));
    pauses.push(new);
}

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Paused {
    #[default]
    Nothing,
    /// At least one.
    These(Vec<Pause>),
    /// Everything, because the file can't be trusted. The text says why.
    Unreadable(String),
}

impl Paused {
    /// What these pauses stop.
    #[must_use]
    pub fn of(pauses: Vec<Pause>) -> Self {
        if pauses.is_empty() {
            Self::Nothing
        } else {
            Self::These(pauses)
        }
    }

    /// The pauses.
    ///
    /// # Errors
    /// Why they can't be read. Overwriting them would lift what is not known any more.
    pub fn into_list(self) -> Result<Vec<Pause>, String> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::These(pauses) => Ok(pauses),
            Self::Unreadable(why) => Err(why),
        }
    }

    /// Whether this kind is paused.
    #[must_use]
    pub fn stops(&self, network: &str, scheme: &str) -> bool {
        let is = |wanted: &Option<String>, this: &str| wanted.as_deref().is_none_or(|wanted| wanted == this);
        match self {
            Self::Nothing => false,
            Self::Unreadable(_) => true,
            Self::These(pauses) => pauses.iter().any(|pause| {
                pause.signer.is_none() && is(&pause.network, network) && is(&pause.scheme, scheme)
            }),
        }
    }

    /// The drained signers of a network, as they were written.
    pub fn drained<'p>(&'p self, network: &'p str) -> impl Iterator<Item = &'p str> {
        let pauses = match self {
            Self::These(pauses) => pauses.as_slice(),
            Self::Nothing | Self::Unreadable(_) => &[],
        };
        let here = pauses
            .iter()
            .filter(move |pause| pause.network.as_deref().is_none_or(|paused| paused == network));
        here.filter_map(|pause| pause.signer.as_deref())
    }
}

/// Reads the file in this directory. Blocks on the disk.
#[must_use]
pub fn read(directory: &Path) -> Paused {
    let path = directory.join(FILE);
    let path = path.display();
    match LIST.read(directory) {
        Ok(pauses) => Paused::of(pauses),
        Err(Unreadable::TooLarge) => {
            Paused::Unreadable(format!("{path} can't be read (it is far too large)"))
        }
        Err(Unreadable::Damaged) => Paused::Unreadable(format!("{path} is damaged")),
        Err(Unreadable::Io(error)) => Paused::Unreadable(format!("{path} can't be read ({error})")),
    }
}

/// Reads the text of a row; `None`: nothing was ever paused. `name` is what the text is called in messages.
#[must_use]
pub fn from_text(text: Option<&str>, name: &str) -> Paused {
    let Some(text) = text else {
        return Paused::Nothing;
    };
    match decode(text) {
        Some(pauses) => Paused::of(pauses),
        None => Paused::Unreadable(format!("{name} is damaged")),
    }
}

/// The text of a row with these pauses.
pub fn to_text(pauses: &[Pause]) -> io::Result<String> {
    encode(pauses)
}

/// Replaces the file in this directory; durable when it returns.
pub fn write(directory: &Path, pauses: &[Pause]) -> io::Result<()> {
    LIST.write(directory, pauses)
}

/// An exclusive lock, to be held from reading the list until it is written. Blocks until it is free.
pub fn lock(directory: &Path) -> io::Result<File> {
    LIST.lock(directory)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn pause(network: Option<&str>, scheme: Option<&str>) -> Pause {
        Pause {
            network: network.map(str::to_owned),
            scheme: scheme.map(str::to_owned),
            signer: None,
            reason: "a \"key\"\nleaked".into(),
            since_s: 7,
        }
    }

    #[test]
    fn t107_a_list_is_read_back_and_stops_exactly_its_kinds() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Paused::Nothing);
        let one = pause(Some("eip155:1"), Some("exact"));
        write(folder.path(), std::slice::from_ref(&one)).unwrap();
        let paused = read(folder.path());
        assert_eq!(paused, Paused::These(vec![one.clone()]));
        assert!(paused.stops("eip155:1", "exact"));
        assert!(!paused.stops("eip155:10", "exact"));
        assert!(!paused.stops("eip155:1", "upto"));
        let network = Paused::These(vec![pause(Some("eip155:1"), None)]);
        assert!(network.stops("eip155:1", "upto") && !network.stops("eip155:2", "upto"));
        let scheme = Paused::These(vec![pause(None, Some("exact"))]);
        assert!(scheme.stops("eip155:2", "exact") && !scheme.stops("eip155:2", "upto"));
        assert!(Paused::These(vec![pause(None, None)]).stops("eip155:2", "upto"));
        write(folder.path(), &[]).unwrap();
        assert_eq!(read(folder.path()), Paused::Nothing);
    }

    #[test]
    fn a_drained_signer_pauses_no_kind_and_an_earlier_version_reads_a_list_without_one() {
        let drained = Pause {
            signer: Some("0xA".into()),
            ..pause(Some("eip155:1"), None)
        };
        assert!(!drained.covers_the_same(&pause(Some("eip155:1"), None)));
        assert!(
            drained
                .to_string()
                .contains("signer 0xA on eip155:1, which is drained")
        );
        let paused = Paused::These(vec![drained]);
        assert!(!paused.stops("eip155:1", "exact"));
        assert_eq!(paused.drained("eip155:1").collect::<Vec<_>>(), ["0xA"]);
        assert_eq!(paused.drained("eip155:2").count(), 0);
        assert!(!to_text(&[pause(None, None)]).unwrap().contains("signer"));
    }

    #[test]
    fn pauses_are_lifted_by_their_values_and_drained_signers_by_their_address() {
        let drained = Pause {
            signer: Some("0xAb".into()),
            ..pause(Some("eip155:1"), None)
        };
        let all = vec![
            pause(Some("eip155:1"), None),
            pause(None, Some("exact")),
            drained.clone(),
        ];
        let lifted = |network: Option<&str>, scheme: Option<&str>, signer: Option<&str>| {
            let lifted = Lifted {
                network: network.map(str::to_owned),
                scheme: scheme.map(str::to_owned),
                signer: signer.map(str::to_owned),
            };
            lifted.split(all.clone()).0
        };
        assert_eq!(lifted(None, None, None), all);
        assert_eq!(lifted(Some("eip155:1"), None, None), all[..1]);
        assert_eq!(lifted(None, Some("exact"), None), all[1..2]);
        assert_eq!(lifted(Some("eip155:1"), None, Some("0xaB")), [drained]);
        assert_eq!(lifted(Some("eip155:2"), None, Some("0xaB")), []);
        let mut pauses = all.clone();
        let again = Pause {
            reason: "again".into(),
            ..pause(Some("eip155:1"), None)
        };
        add(&mut pauses, again.clone());
        assert_eq!(pauses, [all[1].clone(), all[2].clone(), again]);
    }

    #[test]
    fn t107_a_damaged_file_pauses_everything() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let good = encode(&[pause(Some("eip155:1"), None)]).unwrap();
        for at in 0..good.len() {
            fs::write(&file, &good[..at]).unwrap();
            assert!(
                read(folder.path()).stops("eip155:9", "other"),
                "cut at {at}: {:?}",
                &good[..at]
            );
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(matches!(read(folder.path()), Paused::Unreadable(_)));
    }

    #[test]
    fn t107_a_row_is_read_back_and_a_damaged_one_pauses_everything() {
        let one = pause(Some("eip155:1"), None);
        let text = to_text(std::slice::from_ref(&one)).unwrap();
        assert_eq!(from_text(None, "the row"), Paused::Nothing);
        assert_eq!(
            from_text(Some(&to_text(&[]).unwrap()), "the row"),
            Paused::Nothing
        );
        assert_eq!(from_text(Some(&text), "the row"), Paused::These(vec![one]));
        for at in 0..text.len() {
            let damaged = from_text(Some(&text[..at]), "the row");
            assert_eq!(damaged, Paused::Unreadable("the row is damaged".into()));
            assert!(damaged.stops("eip155:9", "other"));
        }
    }

    proptest! {
        #[test]
        fn t107_other_bytes_are_never_a_list(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), &bytes).unwrap();
            prop_assert!(matches!(read(folder.path()), Paused::Unreadable(_)));
        }

        #[test]
        fn t107_a_changed_byte_is_detected(at in 0usize..200, bit in 0u32..8) {
            let good = encode(&[pause(Some("eip155:1"), None)]).unwrap();
            let mut bytes = good.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).ok().and_then(|text| decode::<Pause>(&text));
            prop_assert_eq!(changed, None);
        }
    }
}
