//! The system calls that the process of an isolated plugin may make: those of a computation with threads, and those with which
//! the system's loader maps libraries. Everything else fails with `EPERM`: sockets, programs, processes, other processes'
//! memory, signals to others, and what a later kernel adds.

use std::collections::BTreeMap;

use libc::{SYS_clone3, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Allowed with any arguments.
const ALLOWED: &[c_long] = &[
    // The socket, and files that Landlock allows.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_dup,
    libc::SYS_ppoll,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // Its own signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // What it is and when.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    // The filter below answers it.
    SYS_clone3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Commands of `fcntl` that only this process notices: `F_SETOWN` would have the kernel send signals.
const FCNTL: [i32; 6] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
];
/// Names of threads and of memory.
const PRCTL: [i32; 3] = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];
/// The part of `mmap`'s flags that says whether memory is shared.
const MAP_TYPE: u64 = 0x0f;
/// A thread of this process that shares everything with the others, in no namespace of its own.
const THREAD: i32 =
    libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_FILES | libc::CLONE_FS;
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Restricts this thread and those that it starts.
pub(super) fn restrict() -> Result<(), seccompiler::Error> {
    // The C library falls back to `clone`, whose flags a filter can read.
    let clone3 = BTreeMap::from([(SYS_clone3, Vec::new())]);
    let no_clone3 = filter(
        clone3,
        SeccompAction::Allow,
        SeccompAction::Errno(number(libc::ENOSYS)),
    )?;
    let allowed = filter(
        rules()?,
        SeccompAction::Errno(number(libc::EPERM)),
        SeccompAction::Allow,
    )?;
    seccompiler::apply_filter(&no_clone3)?;
    seccompiler::apply_filter(&allowed)
}

fn filter(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise, matched, machine)?.try_into()
}

fn rules() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_fcntl, one_of(1, &FCNTL)?);
    rules.insert(libc::SYS_prctl, one_of(0, &PRCTL)?);
    let flags = u64::from(number(THREAD | NAMESPACES));
    let is_thread = condition(0, SeccompCmpOp::MaskedEq(flags), u64::from(number(THREAD)))?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![is_thread])?]);
    // Shared memory would be nobody's.
    let is_private = condition(
        3,
        SeccompCmpOp::MaskedEq(MAP_TYPE),
        u64::from(number(libc::MAP_PRIVATE)),
    )?;
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![is_private])?]);
    let to_itself = condition(0, SeccompCmpOp::Eq, own)?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_itself])?]);
    // Reads its own limits: the new limit is a null pointer.
    let of_itself = condition(0, SeccompCmpOp::Eq, 0)?;
    let no_new = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![of_itself, no_new])?],
    );
    Ok(rules)
}

/// One argument has one of these values.
fn one_of(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    values
        .iter()
        .map(|value| {
            SeccompRule::new(vec![condition(
                argument,
                SeccompCmpOp::Eq,
                u64::from(number(*value)),
            )?])
        })
        .collect()
}

fn condition(argument: u8, operation: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
}

fn number(number: i32) -> u32 {
    number.cast_unsigned()
}
