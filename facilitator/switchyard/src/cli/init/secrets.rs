//! The keys of a new configuration: one that there is, or a new keystore, its password, and a tenant's API key.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sdk_plugin::host::Suite;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use admin_api::Role;

use super::text::{KeyLines, OperatorLines};
use super::{CliError, InitCommand, keys, pairs};
use crate::app::random_text;
use crate::known::Known;

/// A key for each family: one that there is, or a new keystore.
pub(super) fn make_keys<'f>(
    command: &InitCommand,
    known: &Known,
    families: impl Iterator<Item = &'f str>,
    folder: &Path,
    written: &mut Vec<PathBuf>,
) -> Result<Vec<KeyLines>, CliError> {
    let given = pairs("key", &command.key)?;
    let mut lines = Vec::new();
    let mut password: Option<(PathBuf, Zeroizing<Vec<u8>>)> = None;
    for family in families {
        let suite = known
            .family(family)
            .map_or(Suite::Secp256k1, |family| family.suite);
        if let Some((_, file)) = given.iter().find(|(name, _)| *name == family) {
            let file = Path::new(file)
                .canonicalize()
                .map_err(|error| CliError(format!("{file} can't be read: {error}")))?;
            let source = host::custody::KeySource::File(file.clone());
            let address = address_of(known, family, suite, &source)?;
            lines.push(KeyLines::file(family, suite, file, address));
            continue;
        }
        let (password_file, password) = match &mut password {
            Some(made) => made,
            None => {
                private_folder(&folder.join("keys"))?;
                password.insert(new_password(command, folder, written)?)
            }
        };
        let to = folder.join("keys").join(format!("{family}.json"));
        let secret = keys::new_secret(suite)?;
        keys::write_keystore(&to, &secret, password)?;
        written.push(to.clone());
        let info = keys::public_key(&to, suite, password)?;
        let address = address(known, family, &info);
        lines.push(KeyLines::keystore(
            family,
            suite,
            &to,
            password_file,
            folder,
            address,
        ));
    }
    if let Some((name, _)) = given
        .iter()
        .find(|(name, _)| lines.iter().all(|key| key.family != *name))
    {
        return Err(CliError(format!(
            "--key {name}=…: no served network is of the family {name}"
        )));
    }
    Ok(lines)
}

fn address_of(
    known: &Known,
    family: &str,
    suite: Suite,
    source: &host::custody::KeySource,
) -> Result<String, CliError> {
    let spec = host::custody::KeySpec {
        name: family.to_owned(),
        suite,
        source: source.clone(),
        max_signatures_per_minute: None,
    };
    let custody = host::custody::Custody::load(&[spec], &host::custody::ProcessEnvironment);
    let custody = custody.map_err(CliError::new)?;
    Ok(custody
        .public_key(family)
        .map(|info| address(known, family, info))
        .unwrap_or_default())
}

fn address(known: &Known, family: &str, info: &sdk_plugin::chain::KeyInfo) -> String {
    let mut addresses = known.addresses(info);
    addresses
        .find(|(name, _)| *name == family)
        .map(|(_, address)| address)
        .unwrap_or_default()
}

/// The password of the new keystores, and its file.
fn new_password(
    command: &InitCommand,
    folder: &Path,
    written: &mut Vec<PathBuf>,
) -> Result<(PathBuf, Zeroizing<Vec<u8>>), CliError> {
    let file = match &command.password_file {
        Some(file) => file
            .canonicalize()
            .map_err(|error| CliError(format!("{} can't be read: {error}", file.display())))?,
        None => {
            let file = folder.join("keys").join("password");
            let text = random_text().map_err(CliError)?;
            keys::write_private(&file, text.as_bytes())?;
            written.push(file.clone());
            file
        }
    };
    let source = host::custody::Password::File(file.clone());
    let password = host::custody::password(&source, &host::custody::ProcessEnvironment).map_err(CliError)?;
    Ok((file, password))
}

/// A new API key in a file of its own; its hash.
pub(super) fn make_api_key(
    name: &str,
    folder: &Path,
    written: &mut Vec<PathBuf>,
) -> Result<String, CliError> {
    let key = random_text().map_err(CliError)?;
    let file = folder.join("keys").join(format!("{name}.api-key"));
    private_folder(&folder.join("keys"))?;
    keys::write_private(&file, key.as_bytes())?;
    written.push(file);
    Ok(hex::encode(Sha256::digest(key.as_bytes())))
}

/// New tokens of operators.
pub(super) struct Tokens<'n> {
    /// What the configuration has of them.
    pub(super) lines: Vec<OperatorLines>,
    /// Each operator's name and token, which is kept nowhere.
    pub(super) tokens: Vec<(&'n str, Zeroizing<String>)>,
}

/// A new token for each operator.
pub(super) fn make_tokens(operators: &[(String, Role)]) -> Result<Tokens<'_>, CliError> {
    let (mut lines, mut tokens) = (Vec::new(), Vec::new());
    for (name, role) in operators {
        let token = random_text().map_err(CliError)?;
        lines.push(OperatorLines {
            name: name.clone(),
            sha256: hex::encode(Sha256::digest(token.as_bytes())),
            role: role.name(),
        });
        tokens.push((name.as_str(), token));
    }
    Ok(Tokens { lines, tokens })
}

fn private_folder(folder: &Path) -> Result<(), CliError> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(folder);
    made.map_err(|error| CliError(format!("{} can't be made: {error}", folder.display())))
}
