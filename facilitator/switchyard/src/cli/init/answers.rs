//! What a new configuration has beside its networks: from flags, or typed.

use std::io::{self, BufRead as _};

use admin_api::Role;

use super::{CliError, InitCommand};

/// Gets a question and returns the typed answer.
type TypeIn<'a> = dyn FnMut(&str) -> Result<String, CliError> + 'a;

/// What was wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) tenant: Option<String>,
    pub(super) escrow: bool,
    /// Names and roles.
    pub(super) operators: Vec<(String, Role)>,
}

/// Reads the flags. Where there is `type_in`, what no flag gives is typed.
///
/// # Errors
/// A flag has a role that there is not, escrow is wanted and no network can have it, or the answer can't be read.
pub(super) fn wanted(
    command: &InitCommand,
    type_in: Option<&mut TypeIn<'_>>,
    can_hold: bool,
) -> Result<Wanted, CliError> {
    if command.escrow && !can_hold {
        return Err(CliError(
            "--escrow: no named network can have escrow; leave it out, or add an EVM network".to_owned(),
        ));
    }
    let named: Result<Vec<_>, CliError> = command.operators.iter().map(|text| operator(text)).collect();
    let mut wanted = Wanted {
        tenant: command.tenant.clone(),
        escrow: command.escrow,
        operators: named?,
    };
    let Some(type_in) = type_in else {
        return Ok(wanted);
    };
    if wanted.tenant.is_none() {
        let name = type_in(
            "Name of a tenant, who gets an API key? [none: every caller that reaches the port may settle] ",
        )?;
        wanted.tenant = (!name.is_empty()).then_some(name);
    }
    if can_hold && !wanted.escrow {
        wanted.escrow = is_yes(&type_in(
            "Hold payments in escrow, to capture them later (auth-capture)? [n] ",
        )?);
    }
    if wanted.operators.is_empty() {
        let names = type_in(&format!(
            "Names of operators, who may use the dashboard at {}? [none] ",
            command.admin
        ))?;
        let named: Result<Vec<_>, CliError> = names.split_whitespace().map(operator).collect();
        wanted.operators = named?;
    }
    Ok(wanted)
}

/// `NAME` or `NAME=ROLE`.
fn operator(text: &str) -> Result<(String, Role), CliError> {
    let (name, role) = text.split_once('=').unwrap_or((text, Role::Operate.name()));
    match Role::from_name(role) {
        Some(role) if !name.is_empty() => Ok((name.to_owned(), role)),
        _ => Err(CliError(format!(
            "operator {text}: write NAME or NAME=ROLE, with the role view, operate or money"
        ))),
    }
}

fn is_yes(text: &str) -> bool {
    text.eq_ignore_ascii_case("y") || text.eq_ignore_ascii_case("yes")
}

/// Prints the question and reads a line.
///
/// # Errors
/// Standard input can't be read.
pub(super) fn typed(prompt: &str) -> Result<String, CliError> {
    eprint!("{prompt}");
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError(format!("the answer can't be read: {error}")))?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn init(words: &[&str]) -> InitCommand {
        let cli = Cli::try_parse_from(["switchyard", "init"].iter().chain(words)).unwrap();
        match cli.command {
            Command::Init(command) => command,
            other => panic!("{other:?}"),
        }
    }

    /// What is wanted when these answers are typed, and the questions.
    fn with_answers(words: &[&str], answers: &[&str], can_hold: bool) -> (Wanted, Vec<String>) {
        let (mut answers, mut questions) = (answers.iter(), Vec::new());
        let mut type_in = |question: &str| {
            questions.push(question.to_owned());
            Ok((*answers.next().expect("no further question")).to_owned())
        };
        let wanted = wanted(&init(words), Some(&mut type_in), can_hold).unwrap();
        assert!(answers.next().is_none(), "{questions:?}");
        (wanted, questions)
    }

    #[test]
    fn what_no_flag_gives_is_typed() {
        let (typed_in, questions) = with_answers(&[], &["shop", "y", "ann bob=view"], true);
        let by_flags = wanted(
            &init(&[
                "--tenant",
                "shop",
                "--escrow",
                "--operator",
                "ann",
                "--operator",
                "bob=view",
            ]),
            None,
            true,
        );
        assert_eq!(typed_in, by_flags.unwrap());
        let operators = [("ann".to_owned(), Role::Operate), ("bob".to_owned(), Role::View)];
        assert_eq!(typed_in.operators, operators);
        assert!(questions[2].contains("127.0.0.1:4021"), "{questions:?}");
        // Only EVM networks have escrow; the answer with nothing is the default.
        let (nothing, _) = with_answers(&[], &["", ""], false);
        assert_eq!(
            nothing,
            Wanted {
                tenant: None,
                escrow: false,
                operators: Vec::new()
            }
        );
        let (_, questions) = with_answers(&["--tenant", "shop", "--escrow", "--operator", "ann"], &[], true);
        assert!(questions.is_empty(), "{questions:?}");
    }

    #[test]
    fn wrong_flags_are_refused_with_what_to_write() {
        for (words, can_hold, why) in [
            (
                &["--operator", "ann=admin"][..],
                true,
                "operator ann=admin: write NAME or NAME=ROLE",
            ),
            (
                &["--operator", "=view"],
                true,
                "operator =view: write NAME or NAME=ROLE",
            ),
            (
                &["--escrow"],
                false,
                "--escrow: no named network can have escrow; leave it out",
            ),
        ] {
            let CliError(error) = wanted(&init(words), None, can_hold).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
