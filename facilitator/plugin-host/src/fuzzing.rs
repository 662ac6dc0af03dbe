//! Entries for fuzz targets (tests/fuzz). Not part of the API.

use sdk_plugin::Manifest;

use crate::manifest;

/// The manifest in the bytes of a plugin file.
#[must_use]
pub fn manifest_of_file(bytes: &[u8]) -> Option<Manifest> {
    manifest::of_file(bytes).ok()
}

/// The manifest in its JSON text.
#[must_use]
pub fn manifest_of_text(text: &[u8]) -> Option<Manifest> {
    manifest::parse(text).ok()
}
