//! Checks of a plugin's manifest against its code.

use std::collections::BTreeSet;

use crate::Manifest;
use crate::abi::raw::{ABI_MAJOR, ABI_MINOR};
use crate::host::Suite;

/// What a driver's code declares.
#[derive(Debug, Clone, Copy)]
pub struct DriverFacts<'a> {
    /// CAIP-2 namespace.
    pub family: &'a str,
    /// Suite of its signers' keys.
    pub suite: Suite,
    /// Methods that it and its schemes read with.
    pub rpc_reads: &'a [&'a str],
    /// Methods that it sends with.
    pub rpc_sends: &'a [&'a str],
}

/// What a scheme's code declares.
#[derive(Debug, Clone, Copy)]
pub struct SchemeFacts<'a> {
    /// Name of the scheme.
    pub scheme: &'a str,
    /// CAIP-2 namespace.
    pub family: &'a str,
    /// Protocol versions.
    pub versions: &'a [u8],
    /// Host services that the plugin calls.
    pub services: &'a [&'a str],
}

/// Parses a manifest and compares its version (`env!("CARGO_PKG_VERSION")`) and ABI with the build's.
///
/// # Panics
/// The manifest is not one, or is of another version or ABI.
#[must_use]
pub fn manifest(text: &str, version: &str) -> Manifest {
    let manifest: Manifest = serde_json::from_str(text).expect("the manifest parses");
    assert_eq!(manifest.version, version);
    assert_eq!((manifest.abi.major, manifest.abi.minor), (ABI_MAJOR, ABI_MINOR));
    manifest
}

/// Compares the manifest's drivers with the code's only one.
///
/// # Panics
/// They differ.
pub fn assert_driver(manifest: &Manifest, facts: DriverFacts<'_>) {
    let [driver] = manifest.drivers.as_slice() else {
        panic!("one driver");
    };
    assert_eq!(
        (driver.family.as_str(), driver.suite),
        (facts.family, facts.suite)
    );
    assert_eq!(driver.rpc_reads, facts.rpc_reads);
    assert_eq!(driver.rpc_sends, facts.rpc_sends);
}

/// Compares a scheme of the manifest, and the manifest's services, with the code's. A manifest may have several schemes.
///
/// # Panics
/// They differ, or the manifest has the scheme not once.
pub fn assert_scheme(manifest: &Manifest, facts: SchemeFacts<'_>) {
    let mut named = manifest.schemes.iter().filter(|one| one.scheme == facts.scheme);
    let (Some(scheme), None) = (named.next(), named.next()) else {
        panic!("the scheme {} once", facts.scheme);
    };
    assert_eq!(
        (scheme.scheme.as_str(), scheme.family.as_str()),
        (facts.scheme, facts.family)
    );
    let versions: BTreeSet<u8> = scheme.versions.iter().copied().collect();
    assert_eq!(versions, facts.versions.iter().copied().collect());
    assert_eq!(manifest.services, facts.services);
}
