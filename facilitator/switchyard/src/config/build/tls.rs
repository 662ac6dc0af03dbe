//! The section `tls` of a listener: where its PEM files are. They are read at the start, and by `switchyard check`.

use std::path::Path;

use http_api::tls::Files;

use super::values::path;
use crate::config::reader::Section;

/// The files that the section `tls` within the listener's section names; `Some(None)`: it is absent.
pub(super) fn files(listener: &Section<'_, '_>, folder: &Path) -> Option<Option<Files>> {
    let Some(section) = listener.inner("tls") else {
        return Some(None);
    };
    let certificate = section.get("certificate", |node| path(node, folder));
    let key = section.get("key", |node| path(node, folder));
    let client_ca = section.maybe("client_ca", |node| path(node, folder));
    Some(Some(Files {
        certificate: certificate?,
        key: key?,
        client_ca: client_ca?,
    }))
}
