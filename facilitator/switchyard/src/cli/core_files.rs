//! Keeps the process's memory, which has private keys, out of core files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With this variable and the value `allow`, core files are written as the system's limits say.
const VARIABLE: &str = "SWITCHYARD_CORE_FILES";
const ALLOW: &str = "allow";
/// A file of one byte is never written. 0 would still give the memory to a program in `kernel.core_pattern`; the kernel
/// refuses that for 1: core(5), and `fs/coredump.c`.
const NONE: u64 = 1;

/// Forbids core files of this process and of those that it starts.
pub(super) fn forbid() {
    if std::env::var(VARIABLE).is_ok_and(|value| value == ALLOW) {
        return;
    }
    // A lower hard limit stays: nobody may raise it. Lowering a limit never fails.
    let _ = setrlimit(Resource::Core, lowered(getrlimit(Resource::Core)));
}

fn lowered(limit: Rlimit) -> Rlimit {
    let maximum = Some(limit.maximum.map_or(NONE, |maximum| maximum.min(NONE)));
    Rlimit {
        current: maximum,
        maximum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_lowered_and_never_raised() {
        for (maximum, expected) in [(None, 1), (Some(1 << 30), 1), (Some(1), 1), (Some(0), 0)] {
            let now = Rlimit {
                current: Some(0),
                maximum,
            };
            let both = (lowered(now).current, lowered(now).maximum);
            assert_eq!(both, (Some(expected), Some(expected)), "{maximum:?}");
        }
    }
}
