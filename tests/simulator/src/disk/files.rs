//! What a disk could hold: what was synced is there; of what was not, anything may be.
//!
//! A file's content is durable when the file was synced, its name when the folder was. Of the other writes, a power cut
//! keeps none, all, the first ones, or any sectors of any of them. Names change in order, as journalling file systems do it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::mark;
use super::record::Change;
use crate::rng::Rng;

/// What a disk writes as a whole.
const SECTOR: u64 = 512;
/// Never there after a crash: the index of the write-ahead log, which is made anew.
const INDEX: &str = "journal.sqlite-shm";
const LOCK: &str = "journal.sqlite.lock";

#[derive(Debug, Clone)]
enum Edit {
    Write { at: u64, bytes: Vec<u8> },
    Size(u64),
}

impl Edit {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                let end = at.saturating_add(bytes.len());
                if content.len() < end {
                    content.resize(end, 0);
                }
                if let Some(place) = content.get_mut(at..end) {
                    place.copy_from_slice(bytes);
                }
            }
            Self::Size(size) => content.resize(usize::try_from(*size).unwrap_or(usize::MAX), 0),
        }
    }

    /// The parts that reach the disk or not, each by itself.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write { at, bytes } = self else {
            return vec![self.clone()];
        };
        let mut parts = Vec::new();
        let (mut at, mut rest) = (*at, bytes.as_slice());
        while !rest.is_empty() {
            let room = usize::try_from(SECTOR - at % SECTOR).unwrap_or(rest.len());
            let (part, after) = rest.split_at(room.min(rest.len()));
            parts.push(Self::Write {
                at,
                bytes: part.to_vec(),
            });
            at += u64::try_from(part.len()).unwrap_or(0);
            rest = after;
        }
        parts
    }
}

#[derive(Debug, Default)]
struct OneFile {
    synced: Vec<u8>,
    unsynced: Vec<Edit>,
}

impl OneFile {
    fn sync(&mut self) {
        for edit in self.unsynced.drain(..) {
            edit.apply(&mut self.synced);
        }
    }

    fn after_crash(&self, loses: bool, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.synced.clone();
        let style = if loses { rng.between(0, 4) } else { 1 };
        let first = rng.index(self.unsynced.len() + 1);
        for (at, edit) in self.unsynced.iter().enumerate() {
            match style {
                0 => {}
                1 => edit.apply(&mut content),
                2 if at < first => edit.apply(&mut content),
                2 => {}
                _ => {
                    let kept = edit.sectors().into_iter().filter(|_| rng.chance(500));
                    kept.for_each(|part| part.apply(&mut content));
                }
            }
        }
        content
    }
}

#[derive(Debug)]
enum Rename {
    Link(String, u64),
    Unlink(String),
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, file) => names.insert(name.clone(), *file),
            Self::Unlink(name) => names.remove(name),
        };
    }
}

/// The files of a folder.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By a number of our own: the system gives the number of a deleted file to another one.
    files: BTreeMap<u64, OneFile>,
    by_inode: BTreeMap<u64, u64>,
    names: BTreeMap<String, u64>,
    synced_names: BTreeMap<String, u64>,
    unsynced_names: Vec<Rename>,
}

impl Files {
    pub(super) fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Link { name, inode } => self.link(name, inode),
                Change::Write { inode, at, bytes } => self.edit(inode, Edit::Write { at, bytes }),
                Change::Size { inode, size } => self.edit(inode, Edit::Size(size)),
                Change::Sync { inode } => {
                    if let Some(file) = self.by_inode.get(&inode).and_then(|at| self.files.get_mut(at)) {
                        file.sync();
                    }
                }
                Change::Unlink { name } => {
                    self.names.remove(&name);
                    self.unsynced_names.push(Rename::Unlink(name));
                }
                Change::SyncFolder => {
                    for rename in self.unsynced_names.drain(..) {
                        rename.apply(&mut self.synced_names);
                    }
                }
            }
        }
    }

    /// As if the write-ahead log had never been synced: its second half is gone.
    pub(super) fn forget_the_log(&mut self) {
        let log = self.names.get("journal.sqlite-wal");
        if let Some(file) = log.and_then(|at| self.files.get_mut(at)) {
            file.sync();
            let half = file.synced.len() / 2;
            file.synced.truncate(half);
        }
    }

    fn link(&mut self, name: String, inode: u64) {
        let known = self.by_inode.get(&inode);
        if known.is_some() && self.names.get(&name) == known {
            return;
        }
        let file = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
        self.files.insert(file, OneFile::default());
        self.by_inode.insert(inode, file);
        self.names.insert(name.clone(), file);
        self.unsynced_names.push(Rename::Link(name, file));
    }

    fn edit(&mut self, inode: u64, edit: Edit) {
        if let Some(file) = self.by_inode.get(&inode).and_then(|at| self.files.get_mut(at)) {
            file.unsynced.push(edit);
        }
    }

    /// What is there after a crash. `loses`: the power was cut, and not only the process killed.
    pub(super) fn after_crash(&self, loses: bool, rng: &mut Rng) -> Image {
        let mut names = self.synced_names.clone();
        let kept = if loses {
            rng.index(self.unsynced_names.len() + 1)
        } else {
            self.unsynced_names.len()
        };
        for rename in self.unsynced_names.iter().take(kept) {
            rename.apply(&mut names);
        }
        let mut image = BTreeMap::new();
        for (name, file) in names {
            if let Some(file) = self.files.get(&file) {
                image.insert(name, file.after_crash(loses, rng));
            }
        }
        Image { files: image, loses }
    }
}

/// Names and contents after a crash.
pub(super) struct Image {
    files: BTreeMap<String, Vec<u8>>,
    loses: bool,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.files.iter().map(|(name, content)| (name, content.len()));
        f.write_str(if self.loses {
            "lost power: "
        } else {
            "lost nothing: "
        })?;
        f.debug_map().entries(sizes).finish()
    }
}

impl Image {
    /// Makes the folder hold it. Files keep their inodes, by which the journal's mark knows them.
    pub(super) fn put(&self, folder: &Path) -> std::io::Result<Files> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == INDEX || (name != LOCK && !self.files.contains_key(&name)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        let mut files = Files::default();
        for (name, content) in &self.files {
            let content = if name == mark::NAME {
                mark::redated(content)
            } else {
                content.clone()
            };
            let path = folder.join(name);
            let mut file = std::fs::File::options()
                .create(true)
                .truncate(true)
                .write(true)
                .open(&path)?;
            file.write_all(&content)?;
            let number = u64::try_from(files.files.len()).unwrap_or(u64::MAX);
            files.by_inode.insert(file.metadata()?.ino(), number);
            files.names.insert(name.clone(), number);
            files.synced_names.insert(name.clone(), number);
            let file = OneFile {
                synced: content,
                unsynced: Vec::new(),
            };
            files.files.insert(number, file);
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(inode: u64, at: u64, byte: u8, length: usize) -> Change {
        Change::Write {
            inode,
            at,
            bytes: vec![byte; length],
        }
    }

    fn link(inode: u64, name: &str) -> Change {
        Change::Link {
            name: name.into(),
            inode,
        }
    }

    fn synced() -> Files {
        let mut files = Files::default();
        files.apply(vec![
            link(7, "a"),
            write(7, 0, 1, 2_048),
            Change::Sync { inode: 7 },
            Change::SyncFolder,
        ]);
        files
    }

    #[test]
    fn what_was_synced_is_there_and_of_the_rest_any_sectors_are() {
        let mut files = synced();
        files.apply(vec![write(7, 256, 2, 1_024), write(7, 4_096, 3, 512)]);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..400 {
            let image = files.after_crash(true, &mut Rng::new(seed));
            let content = &image.files["a"];
            assert!(content[..256].iter().all(|byte| *byte == 1));
            assert!(content[1_280..2_048].iter().all(|byte| *byte == 1));
            assert_eq!(content[256], content[511], "a sector is written as a whole");
            seen.insert((content[256], content[512], content[1_024], content.len()));
        }
        // Each of the three sectors of the first write and the second write, independently.
        assert_eq!(seen.len(), 16, "{seen:?}");
        let kept = files.after_crash(false, &mut Rng::new(1));
        assert_eq!((kept.files["a"][256], kept.files["a"].len()), (2, 4_608));
    }

    #[test]
    fn a_name_is_durable_when_the_folder_was_synced() {
        let mut files = synced();
        files.apply(vec![
            link(8, "b"),
            write(8, 0, 1, 1),
            Change::Sync { inode: 8 },
            Change::Unlink { name: "a".into() },
        ]);
        let names = |files: &Files| -> std::collections::BTreeSet<Vec<String>> {
            let image = |seed| files.after_crash(true, &mut Rng::new(seed));
            (0..60)
                .map(|seed| image(seed).files.into_keys().collect())
                .collect()
        };
        let expected: [&[&str]; 3] = [&["a"], &["a", "b"], &["b"]];
        let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(names(&files), expected.into());
        files.apply(vec![Change::SyncFolder]);
        assert_eq!(names(&files), [vec!["b".to_owned()]].into());
    }
}
