//! The user that runs the server: PostgreSQL refuses to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// `None`: the user that runs the tests.
pub(crate) struct User(Option<(u32, u32)>);

impl User {
    pub(crate) fn for_server() -> Result<Self, String> {
        if !is_root() {
            return Ok(Self(None));
        }
        let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| entry(&users, name))
            .map(|ids| Self(Some(ids)))
            .ok_or_else(|| {
                "PostgreSQL does not run as root, and /etc/passwd has neither `postgres` nor `nobody`: run the \
                 tests as another user"
                    .to_owned()
            })
    }

    /// A command that runs as this user.
    pub(crate) fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.0 {
            command.gid(gid).uid(uid);
        }
        command
    }

    /// Gives the file or folder to this user.
    pub(crate) fn own(&self, path: &Path) -> io::Result<()> {
        match self.0 {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// User and group of a name.
fn entry(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "postgresx:x:1:2::/:\nbroken\npostgres:x:105:113:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(entry(users, "postgres"), Some((105, 113)));
        assert_eq!(entry(users, "nobody"), None);
    }
}
