//! Raises the limit of open files and connections. Shells and service managers set it to 1,024 for programs that use
//! `select`; this one does not, so it uses the hard limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files other than callers' connections: connections to nodes, the journal, plugins, the log.
const OTHER_FILES: u64 = 512;

/// Raises the soft limit to the hard limit. `Err`: the hard limit is too low, as a warning that says what to do.
pub(super) fn raise(max_connections: usize) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let may_open = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let needed = u64::try_from(max_connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_FILES);
    match may_open {
        Some(files) if files < needed => Err(format!(
            "this process may open {files} files, and server.max_connections = {max_connections} needs {needed}; raise \
             its limit of open files (`ulimit -n`, or LimitNOFILE of a systemd unit) or lower max_connections"
        )),
        // `None` is no limit.
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_one_that_is_too_low_is_reported() {
        let before = getrlimit(Resource::Nofile);
        let maximum = before.maximum.expect("a limit");
        let lowered = Rlimit {
            current: Some(maximum - 1),
            ..before
        };
        setrlimit(Resource::Nofile, lowered).expect("lowers");
        raise(1).expect("enough for one connection");
        assert_eq!(getrlimit(Resource::Nofile).current, Some(maximum));
        let warning = raise(usize::try_from(maximum).expect("fits")).expect_err("too few");
        assert!(
            warning.contains("LimitNOFILE") && warning.contains("max_connections"),
            "{warning}"
        );
    }
}
