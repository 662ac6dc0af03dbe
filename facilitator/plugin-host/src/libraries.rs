//! What the system's loader would do for a plugin file: for which machine it is, where else it would search for libraries, and
//! which ones it would load.
//!
//! A pin covers the file alone. A library that it names is found by name on the day of the load, so only those of the
//! operating system are allowed, and those that the operator names. What is read is what the loader reads: the program headers.
//! The code of a file may load anything later; that is for the isolation to prevent.

use object::elf::{self, FileHeader64};
use object::read::StringTable;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::{NativeEndian, Object};

use super::error::ErrorKind;

/// Libraries that every process of the system has, or that a compiler adds: glibc's and musl's, and the two of GCC.
const OF_THE_SYSTEM: [&str; 14] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "ld-linux-riscv64-lp64d.so.1",
    "libc.so",
    "libc.musl-x86_64.so.1",
    "libc.musl-aarch64.so.1",
    "libc.musl-riscv64.so.1",
];

/// The machine for which this program was built.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(elf::EM_X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(elf::EM_AARCH64)
} else if cfg!(target_arch = "riscv64") {
    Some(elf::EM_RISCV)
} else {
    None
};

/// Members of the dynamic table that have the loader search in other folders, or load something else in addition.
const OTHER_FOLDERS: [(i64, &str); 6] = [
    (elf::DT_RPATH, "a run path (DT_RPATH)"),
    (elf::DT_RUNPATH, "a run path (DT_RUNPATH)"),
    (elf::DT_AUDIT, "an audit library (DT_AUDIT)"),
    (elf::DT_DEPAUDIT, "an audit library (DT_DEPAUDIT)"),
    (elf::DT_FILTER, "a filter (DT_FILTER)"),
    (elf::DT_AUXILIARY, "an auxiliary library (DT_AUXILIARY)"),
];

/// The libraries that a file needs beside those of the system. Refuses a file for another machine, and one that has folders of
/// its own for libraries.
pub(super) fn needed(bytes: &[u8]) -> Result<Vec<String>, (ErrorKind, String)> {
    let broken = |what: &str| {
        let message = format!("{what}: name a plugin's .so file, built for this machine and complete");
        (ErrorKind::NotAPlugin, message)
    };
    let file = ElfFile64::<NativeEndian>::parse(bytes).map_err(|error| {
        broken(&format!(
            "not a 64-bit ELF file of this machine's byte order ({error})"
        ))
    })?;
    if MACHINE.is_some_and(|machine| file.elf_header().e_machine(file.endian()) != machine) {
        let built_for = file.architecture();
        return Err(broken(&format!(
            "built for {built_for:?}, and this machine is {}",
            std::env::consts::ARCH
        )));
    }
    let dynamic = Dynamic::of(&file, bytes).map_err(|what| broken(&what))?;
    let mut needed = Vec::new();
    for (tag, value) in &dynamic.entries {
        let text = || {
            let text = dynamic.text(*value);
            text.ok_or_else(|| broken("a text of its dynamic table lies outside of the file"))
        };
        if let Some((_, what)) = OTHER_FOLDERS.iter().find(|(other, _)| other == tag) {
            let message = format!(
                "it has {what}, {:?}, and a library from there would run unpinned: build it without (no -rpath), or link what \
                 it needs statically",
                text()?
            );
            return Err((ErrorKind::Load, message));
        }
        if *tag == elf::DT_NEEDED {
            needed.push(text()?);
        }
    }
    needed.retain(|name| !OF_THE_SYSTEM.contains(&name.as_str()));
    Ok(needed)
}

/// Refuses a file that needs a library which the operator has not named.
pub(super) fn check(needed: &[String], allowed: &[String]) -> Result<(), (ErrorKind, String)> {
    let Some(name) = needed.iter().find(|name| !allowed.contains(name)) else {
        return Ok(());
    };
    let message = format!(
        "it needs the library {name:?}, which its pin does not cover: link it statically, or if you trust every version of it that \
         this machine will have, write libraries = {needed:?} in its entry"
    );
    Err((ErrorKind::Libraries, message))
}

/// The dynamic table and its texts, as the loader finds them.
struct Dynamic<'data> {
    entries: Vec<(i64, u64)>,
    texts: StringTable<'data>,
}

impl<'data> Dynamic<'data> {
    fn of(file: &ElfFile64<'data, NativeEndian>, bytes: &'data [u8]) -> Result<Self, String> {
        let endian = file.endian();
        let headers = file.elf_program_headers();
        let mut entries = Vec::new();
        for header in headers {
            let table = header
                .dynamic(endian, bytes)
                .map_err(|error| format!("its dynamic table lies outside of the file ({error})"))?;
            let table = table.unwrap_or_default().iter();
            let all = table.map(|entry| (entry.tag(endian), entry.val(endian)));
            entries.extend(all.take_while(|(tag, _)| *tag != elf::DT_NULL));
        }
        let of = |wanted: i64| {
            entries
                .iter()
                .rev()
                .find(|(tag, _)| *tag == wanted)
                .map(|(_, value)| *value)
        };
        let texts = match (of(elf::DT_STRTAB), of(elf::DT_STRSZ)) {
            (Some(address), Some(size)) => texts_at(headers, bytes, address, size)
                .ok_or("the texts of its dynamic table lie outside of the file")?,
            _ => StringTable::default(),
        };
        Ok(Self { entries, texts })
    }

    fn text(&self, at: u64) -> Option<String> {
        let text = self.texts.get(u32::try_from(at).ok()?).ok()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// The texts at an address of the loaded file.
fn texts_at<'data>(
    headers: &[<FileHeader64<NativeEndian> as FileHeader>::ProgramHeader],
    bytes: &'data [u8],
    address: u64,
    size: u64,
) -> Option<StringTable<'data>> {
    let loaded = headers
        .iter()
        .filter(|header| header.p_type(NativeEndian) == elf::PT_LOAD);
    let texts = loaded
        .filter_map(|header| {
            header
                .data_range(NativeEndian, bytes, address, size)
                .ok()
                .flatten()
        })
        .next()?;
    let end = u64::try_from(texts.len()).ok()?;
    Some(StringTable::new(texts, 0, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn this_program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().expect("a path")).expect("readable")
    }

    #[test]
    fn this_program_needs_libraries_of_the_system_only() {
        assert_eq!(needed(&this_program()), Ok(Vec::new()));
    }

    #[test]
    fn only_named_libraries_are_allowed() {
        let needed = ["libfoo.so.1".to_owned(), "libbar.so.2".to_owned()];
        assert_eq!(check(&needed, &needed), Ok(()));
        let (kind, message) = check(&needed, &needed[..1]).expect_err("not named");
        assert_eq!(kind, ErrorKind::Libraries);
        assert!(message.contains("\"libbar.so.2\""), "{message}");
        assert!(
            message.contains("libraries = [\"libfoo.so.1\", \"libbar.so.2\"]"),
            "{message}"
        );
    }

    #[test]
    fn a_file_for_another_machine_is_named() {
        let mut bytes = this_program();
        // e_machine: SPARC.
        bytes[18..20].copy_from_slice(&elf::EM_SPARCV9.to_ne_bytes());
        let (kind, message) = needed(&bytes).expect_err("another machine");
        assert_eq!(kind, ErrorKind::NotAPlugin);
        assert!(message.contains("this machine is"), "{message}");
        // EI_CLASS: 32 bits.
        let mut bytes = this_program();
        bytes[4] = 1;
        let (_, message) = needed(&bytes).expect_err("32 bits");
        assert!(message.contains("not a 64-bit ELF file"), "{message}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(at in 0_usize..4096, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut file = this_program();
            file.truncate(1 << 20);
            for (old, new) in file.iter_mut().skip(at).zip(&bytes) {
                *old = *new;
            }
            let _ = needed(&file);
            let _ = needed(&bytes);
        }
    }
}
