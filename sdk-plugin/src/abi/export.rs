//! [`crate::export_plugin!`]: the one line that turns a crate into a plugin file.

/// The bytes of the manifest, for a section of its own.
///
/// Panics while compiling when `N` is not the manifest's length.
#[must_use]
pub const fn section<const N: usize>(manifest: &str) -> [u8; N] {
    let from = manifest.as_bytes();
    assert!(from.len() == N, "the section has the manifest's length");
    let mut to = [0; N];
    let mut at = 0;
    while at < N {
        to[at] = from[at];
        at += 1;
    }
    to
}

/// Exports a plugin from a `cdylib` crate, once per crate.
///
/// The first argument is the manifest as a `&'static str` constant, the second a
/// `fn(serde_json::Value) -> Result<PluginRoles, Fault>` that makes an instance from its configuration, which was
/// validated against the manifest's `configSchema`.
///
/// Built with `panic = "abort"`, the crate gets a warning: a panic would end the process instead of one call.
///
/// ```
/// use sdk_plugin::abi::PluginRoles;
/// use sdk_plugin::{Fault, Value, export_plugin};
///
/// // Usually `include_str!("../manifest.json")`.
/// const MANIFEST: &str = r#"{"id": "example", "version": "1.0.0", "abi": {"major": 1, "minor": 0},
///     "description": "Serves nothing", "licence": "MIT", "configSchema": {"type": "object"}}"#;
///
/// fn create(_config: Value) -> Result<PluginRoles, Fault> {
///     Ok(PluginRoles::default())
/// }
///
/// export_plugin!(MANIFEST, create);
/// # fn main() { assert!(!x402_plugin_entry_v1(1, 0).is_null() && x402_plugin_entry_v1(2, 0).is_null()) }
/// # unsafe extern "C" { safe fn x402_plugin_entry_v1(major: u16, minor: u16) -> *const sdk_plugin::abi::raw::Plugin; }
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($manifest:expr, $create:expr $(,)?) => {
        // A warning while compiling: the only one that a macro can give is that of a deprecated item.
        #[cfg(panic = "abort")]
        const _: () = {
            #[deprecated(
                note = "this plugin is built with panic = \"abort\": a panic in it ends the process in which it runs. Build it \
                        with panic = \"unwind\", where a panic costs one call"
            )]
            const BUILT_WITH_PANIC_ABORT: () = ();
            BUILT_WITH_PANIC_ABORT
        };

        const _: () = {
            // Items of a macro are not hygienic: these names must not be the caller's.
            const X402P_MANIFEST: &str = $manifest;

            #[cfg_attr(target_os = "linux", unsafe(link_section = ".x402p"))]
            #[used]
            static X402P_SECTION: [u8; X402P_MANIFEST.len()] = $crate::abi::export::section(X402P_MANIFEST);

            struct X402pExported;

            impl $crate::abi::Guest for X402pExported {
                const MANIFEST: &'static str = X402P_MANIFEST;

                fn create(
                    config: $crate::Value,
                ) -> ::core::result::Result<$crate::abi::PluginRoles, $crate::Fault> {
                    $create(config)
                }
            }

            static X402P_TABLE: $crate::abi::raw::Plugin =
                $crate::abi::guest::table::<X402pExported>(&X402P_SECTION);

            // SAFETY: the symbol is this ABI's own, and one crate exports it once.
            #[unsafe(no_mangle)]
            pub extern "C" fn x402_plugin_entry_v1(
                host_abi_major: u16,
                _host_abi_minor: u16,
            ) -> *const $crate::abi::raw::Plugin {
                $crate::abi::guest::entry(&X402P_TABLE, host_abi_major)
            }
        };
    };
}
