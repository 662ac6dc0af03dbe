//! What the process of an isolated plugin can't do any more, whatever code runs in it.
//!
//! In this order: limits of memory, files and dumps; another user, where the process is privileged; no files but the plugin's own
//! and those of the system's loader (Landlock); no system calls but those of a computation (seccomp). Nothing of it can be taken
//! off again.
//!
//! Assumes that this process has one thread. Later threads inherit everything.

use std::fs::File;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{self, DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use super::{Restrictions, syscalls};

/// Files and folders of the system's loader.
const LOADER: [&str; 6] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
];
/// Open files.
const FILES: u64 = 64;
/// Threads and processes of the user `nobody` up to which another thread can be made.
const PROCESSES: u64 = 1_024;
/// Addresses beyond those of its memory: stacks, libraries and what allocators reserve.
const ADDRESSES_BYTES: u64 = 1 << 30;
/// How much the scheduler prefers the core.
const NICE: i32 = 5;

/// Puts the sandbox on. What the kernel lacks of it is returned, each as a part of a sentence.
///
/// # Errors
/// A part that this kernel has can't be put on.
pub(super) fn put_on(restrictions: Restrictions, file: &File) -> Result<Vec<String>, String> {
    let mut missing = Vec::new();
    // The kernel ends this process before the core, where memory is short. Not every system has it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    limit(restrictions.memory_bytes).map_err(|error| format!("its limits can't be set: {error}"))?;
    match restrictions.user.map(become_user) {
        Some(Ok(())) => {}
        Some(Err(error)) => missing.push(format!("another user for the process ({error})")),
        None if process::geteuid().is_root() => missing.push(
            "another user for the process (the facilitator is root, and lacks CAP_SETUID, or CAP_KILL to end it)".to_owned(),
        ),
        None => {}
    }
    drop_capabilities().map_err(|error| format!("its capabilities can't be dropped: {error}"))?;
    process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("it can't be bound to the core: {error}"))?;
    let parent = process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent != Some(restrictions.parent) {
        return Err("the core ended meanwhile".to_owned());
    }
    match files(file) {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            missing.push("Landlock, which restricts files (Linux 5.13)".to_owned());
        }
        Ok(_) => {}
        Err(error) => missing.push(format!("Landlock, which restricts files ({error})")),
    }
    if let Err(error) = syscalls::restrict() {
        missing.push(format!("seccomp, which restricts system calls ({error})"));
    }
    Ok(missing)
}

fn limit(memory_bytes: u64) -> std::io::Result<()> {
    let most = |limit: u64| Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    // What the empty process has reserved does not count. Addresses need memory for their tables, too.
    let own = |member| reserved_bytes(member).saturating_add(memory_bytes);
    process::setrlimit(Resource::Data, most(own("VmData:")))?;
    process::setrlimit(Resource::As, most(own("VmSize:").saturating_add(ADDRESSES_BYTES)))?;
    process::setrlimit(Resource::Nofile, most(FILES))?;
    process::setrlimit(Resource::Core, most(0))?;
    process::setrlimit(Resource::Fsize, most(0))?;
    process::nice(NICE)?;
    Ok(())
}

/// A member of this process's status, in bytes.
fn reserved_bytes(member: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(member));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1 << 10)
}

/// None of them is needed. Those of root are gone with its user.
fn drop_capabilities() -> std::io::Result<()> {
    thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

fn become_user(user: u32) -> std::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    thread::set_thread_groups(&[])?;
    thread::set_thread_res_gid(gid, gid, gid)?;
    thread::set_thread_res_uid(uid, uid, uid)?;
    // Of all processes of this user together.
    let most = Rlimit {
        current: Some(PROCESSES),
        maximum: Some(PROCESSES),
    };
    process::setrlimit(Resource::Nproc, most)?;
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The plugin's own file and those of the loader, for reading. No network, and no signals to others.
fn files(file: &File) -> Result<RestrictionStatus, RulesetError> {
    let abi = ABI::V7;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
    for path in LOADER {
        // Not every system has each of them.
        let Ok(open) = PathFd::new(path) else { continue };
        let access = if std::path::Path::new(path).is_dir() {
            AccessFs::ReadFile | AccessFs::ReadDir
        } else {
            AccessFs::ReadFile.into()
        };
        rules = rules.add_rule(PathBeneath::new(open, access))?;
    }
    rules.restrict_self()
}
