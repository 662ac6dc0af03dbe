//! `${NAME}` and `${NAME:-default}` inside the strings of a configuration file.
//!
//! Variables are substituted after the TOML is parsed, so the value of a variable can't become syntax.

/// Looks up a variable: in the process's environment, or in the table of a test.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Whether the text holds a substitution.
pub(super) fn has_variables(text: &str) -> bool {
    text.contains("${")
}

/// Replaces every variable. `$${` stands for a literal `${`. `Err`: what is wrong and what to write instead.
pub(crate) fn substitute(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((inside, remaining)) = after.split_once('}') else {
            return Err("\"${\" without a closing \"}\"; write ${NAME}, or $${ for a literal ${".to_owned());
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(format!(
                "{name:?} is not the name of a variable; write ${{NAME}} or ${{NAME:-default}} with letters, digits and \
                 underscores"
            ));
        }
        match (environment(name), default) {
            // As in a shell, `:-` also covers a variable that is set to nothing.
            (Some(value), Some(default)) if value.is_empty() => out.push_str(default),
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(format!(
                    "the environment variable {name} is not set; export {name}=… before starting, or write \
                     ${{{name}:-default}}"
                ));
            }
        }
        rest = remaining;
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("node.example".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("\"\nlisten = \"${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_and_defaults_are_replaced_and_literals_stay() {
        for (text, want) in [
            ("plain $5 {x}", "plain $5 {x}"),
            ("https://${HOST}/v1", "https://node.example/v1"),
            ("${EMPTY}|${EMPTY:-d}|${NONE:-}|${NONE:-a:-b}", "|d||a:-b"),
            ("$${HOST}", "${HOST}"),
            ("${TRICK}", "\"\nlisten = \"${HOST}"),
        ] {
            assert_eq!(substitute(text, &environment).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, want) in [
            (
                "${NONE}",
                "export NONE=… before starting, or write ${NONE:-default}",
            ),
            ("${HOST", "closing"),
            ("${a-b}", "\"a-b\" is not the name of a variable"),
            ("${}", "\"\" is not the name of a variable"),
        ] {
            let error = substitute(text, &environment).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
