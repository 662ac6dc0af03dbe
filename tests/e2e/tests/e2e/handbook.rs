//! Commands of the runbook are accepted as they are written: at three in the morning they are copied from there.

use std::path::Path;
use std::process::Command;

use e2e::binaries;

/// Commands in code spans and in code blocks of a page.
fn commands(page: &str) -> Vec<String> {
    // A code span of a list continues on the next line.
    let joined = page.replace("\n  ", " ");
    let spans = joined.split('`').filter(|part| !part.contains('\n'));
    let mut commands: Vec<String> = spans
        .chain(page.lines())
        .filter(|text| text.starts_with("switchyard ") && !text.contains('`'))
        .map(str::to_owned)
        .collect();
    commands.sort();
    commands.dedup();
    commands
}

/// The arguments, of which some are in double quotes.
fn arguments(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let arguments = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    arguments.skip(1).collect()
}

#[test]
fn every_command_of_the_runbook_is_accepted() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/runbook.md");
    let commands = commands(&std::fs::read_to_string(page).expect("the runbook"));
    assert!(commands.len() > 20, "{commands:?}");
    let binary = binaries::switchyard().expect("built");
    // It has no configuration to read, which is an error after the arguments were accepted.
    let run = |arguments: &[String]| {
        let mut command = Command::new(&binary);
        let output = command
            .env("SWITCHYARD_CONFIG", "/nonexistent/switchyard.toml")
            .args(arguments)
            .output();
        let output = output.expect("it starts");
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for command in commands {
        let errors = run(&arguments(&command));
        assert!(errors.contains("can't be read"), "{command}: {errors}");
    }
    let wrong = run(&arguments("switchyard payments --opened"));
    assert!(
        !wrong.contains("can't be read") && wrong.contains("Usage:"),
        "{wrong}"
    );
}
