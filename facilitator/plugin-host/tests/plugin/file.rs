//! Files that are not plugins, or not the pinned ones: each is refused with an error that says what to do.

use std::io::Write;
use std::path::{Path, PathBuf};

use plugin_host::{ErrorKind, Limits, LoadRequest, Pin, PluginError, Sha256Digest, inspect, load};
use proptest::prelude::*;
use sdk_plugin::scheme::Supported;
use serde_json::json;
use tempfile::TempPath;

use crate::support::{call_supported, compile, folder, host, hostile, hostile_with, request};

/// A file that is deleted with the returned path.
fn written(name: &str, bytes: &[u8]) -> TempPath {
    let suffix = format!("-{name}");
    let mut file = tempfile::Builder::new()
        .suffix(&suffix)
        .tempfile()
        .expect("make a file");
    file.write_all(bytes).expect("write a file");
    file.into_temp_path()
}

fn refused(path: &Path, kind: ErrorKind, message: &str) {
    let error = inspect(path).expect_err(message);
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(message), "{error}");
    assert!(error.to_string().contains(": "), "no remedy: {error}");
}

async fn not_loaded(path: PathBuf) -> PluginError {
    let (host, _) = host();
    load(request(path, json!({ "fault": "none" }), host, Limits::default()))
        .await
        .expect_err("refused")
}

#[test]
fn t103_inspect_reads_the_manifest_and_the_digest_without_running_the_file() {
    let inspected = inspect(&hostile()).expect("a plugin");
    assert_eq!(inspected.manifest.id, "hostile");
    let bytes = std::fs::read(hostile()).expect("read the file");
    assert_eq!(inspected.sha256, Sha256Digest::of(&bytes));
}

#[test]
fn t103_files_that_are_not_plugins_are_refused() {
    refused(
        &folder("written").join("absent.so"),
        ErrorKind::File,
        "check the path",
    );
    refused(&folder("written"), ErrorKind::File, "not a regular file");
    refused(
        &written("empty.so", b""),
        ErrorKind::NotAPlugin,
        "not an ELF file",
    );
    refused(
        &written("text.so", b"#!/bin/sh\nexit 0\n"),
        ErrorKind::NotAPlugin,
        "not an ELF file",
    );
    refused(
        &hostile_with("unmarked", &["-DNO_MANIFEST"]),
        ErrorKind::NotAPlugin,
        "no .x402p section",
    );
    let source = written("object.c", b"int x;\n");
    refused(
        &compile(&source, "object.o", &["-c"]),
        ErrorKind::NotAPlugin,
        "not a shared library",
    );
}

#[test]
fn t103_a_truncated_file_is_refused_wherever_it_ends() {
    let bytes = std::fs::read(hostile()).expect("read the file");
    for end in (0..bytes.len()).step_by(701) {
        let path = written("truncated.so", bytes.get(..end).unwrap_or_default());
        let error = inspect(&path).expect_err("truncated");
        assert_eq!(error.kind, ErrorKind::NotAPlugin, "{end} bytes: {error}");
    }
}

/// A library that has only this C expression in its manifest's section.
fn with_section(name: &str, initialiser: &str) -> PathBuf {
    let source =
        format!("__attribute__((section(\".x402p\"), used)) static const char m[] = {initialiser};\n");
    compile(
        &written(&format!("{name}.c"), source.as_bytes()),
        &format!("{name}.so"),
        &["-shared"],
    )
}

#[test]
fn t103_invalid_manifests_are_refused() {
    refused(
        &with_section("prose", "\"hello\""),
        ErrorKind::Manifest,
        "is not JSON",
    );
    refused(
        &with_section("hollow", "\"{}\""),
        ErrorKind::Manifest,
        "is incomplete",
    );
    refused(
        &with_section("nothing", "\"\""),
        ErrorKind::Manifest,
        "is not JSON",
    );
    refused(
        &with_section("giant", "{[300000] = 1}"),
        ErrorKind::Manifest,
        "shorten it",
    );
    let tomorrow = r#""{\"abi\":{\"major\":2,\"minor\":0},\"anything\":\"else\"}""#;
    refused(
        &with_section("tomorrow", tomorrow),
        ErrorKind::Abi,
        "built for plugin ABI 2.0, this facilitator has 1.0",
    );
    let newer = r#""{\"abi\":{\"major\":1,\"minor\":7}}""#;
    refused(
        &with_section("newer", newer),
        ErrorKind::Abi,
        "built for plugin ABI 1.7",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t103_files_that_break_the_abi_are_refused() {
    for (name, flag, kind, message) in [
        ("major", "-DMAJOR=2", ErrorKind::Abi, "its table is of ABI 2.0"),
        (
            "short",
            "-DTABLE_SIZE=32",
            ErrorKind::Abi,
            "its table has 32 bytes, ABI 1.0 has 64",
        ),
        ("refuses", "-DREFUSES", ErrorKind::Abi, "refused by plugin"),
        (
            "closed",
            "-DNO_ENTRY",
            ErrorKind::Load,
            "no entry function x402_plugin_entry_v1",
        ),
        (
            "holes",
            "-DNULL_SUBMIT",
            ErrorKind::Load,
            "a function of its table is null",
        ),
        (
            "faces",
            "-DMANIFEST_ID=\"other\"",
            ErrorKind::Manifest,
            "different manifests",
        ),
        (
            "needy",
            "-DX402_MISSING",
            ErrorKind::Load,
            "the system's loader refuses it",
        ),
    ] {
        let path = match name {
            "needy" => {
                let whole = std::fs::read_to_string(
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/plugins/hostile/hostile.c"),
                );
                let source = whole.expect("read the source")
                    + "\nextern void nowhere_to_be_found(void);\n\
                    void use_it(void) { nowhere_to_be_found(); }\n";
                compile(&written("needy.c", source.as_bytes()), "needy.so", &["-shared"])
            }
            _ => hostile_with(name, &[flag]),
        };
        let error = not_loaded(path).await;
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert!(error.message.contains(message), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t103_a_file_that_is_not_the_pinned_one_is_not_loaded() {
    let sha256 = inspect(&hostile()).expect("a plugin").sha256;
    let (host, _) = host();
    let pinned = |pin| LoadRequest {
        pin,
        ..request(
            hostile(),
            json!({ "fault": "none" }),
            host.clone(),
            Limits::default(),
        )
    };
    let error = load(pinned(Pin::Unpinned)).await.expect_err("not pinned");
    assert_eq!(error.kind, ErrorKind::Pin);
    assert!(
        error.message.contains(&format!("sha256 = \"{sha256}\"")),
        "{error}"
    );
    let error = load(pinned(Pin::Sha256(Sha256Digest::of(b"another"))))
        .await
        .expect_err("another");
    assert_eq!(error.kind, ErrorKind::Pin);
    let loaded = load(pinned(Pin::Sha256(sha256))).await.expect("the pinned one");
    assert_eq!(loaded.sha256, Some(sha256));
}

#[tokio::test(flavor = "multi_thread")]
async fn t103_a_file_replaced_on_disk_changes_nothing_that_is_loaded() {
    let path = written("replaced.so", &std::fs::read(hostile()).expect("read the file"));
    let (host, _) = host();
    let config = json!({ "fault": "none" });
    let loaded = load(request(
        path.to_path_buf(),
        config,
        host.clone(),
        Limits::default(),
    ))
    .await
    .expect("it loads");
    std::fs::write(&path, b"replaced").expect("replace the file");
    assert_eq!(call_supported(&loaded, &host).await, Ok(Supported::default()));
    assert_eq!(not_loaded(path.to_path_buf()).await.kind, ErrorKind::NotAPlugin);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_reaches_no_plugin() {
    for (config, message) in [
        (json!({}), "fault"),
        (json!({ "fault": 7 }), "fault: must be a string"),
        (json!({ "fault": "none", "secret": "hunter2" }), "secret"),
        (json!("none"), "must be a table"),
    ] {
        let (host, _) = host();
        let error = load(request(hostile(), config, host, Limits::default()))
            .await
            .expect_err(message);
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(
            error.message.contains(message) && !error.message.contains("hunter2"),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Inspecting any bytes gives a manifest or an error.
    #[test]
    fn t103_any_damage_to_a_file_is_survived(
        at in any::<prop::sample::Index>(),
        damage in prop::collection::vec(any::<u8>(), 1..64),
        headers in any::<bool>(),
    ) {
        let mut bytes = std::fs::read(hostile()).expect("read the file");
        // Half of the damage is where a parser is most fragile: the ELF header, and the section headers at the end.
        let start = if headers { at.index(64) } else { at.index(bytes.len()) };
        let length = bytes.len();
        for (offset, byte) in damage.iter().enumerate() {
            if let Some(place) = bytes.get_mut((start + offset) % length) {
                *place ^= byte;
            }
        }
        let _ = inspect(&written("damaged.so", &bytes));
    }

    #[test]
    fn t103_random_bytes_are_no_plugin(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let error = inspect(&written("random.so", &bytes)).expect_err("random bytes");
        prop_assert_eq!(error.kind, ErrorKind::NotAPlugin);
    }
}

/// A library, and a plugin that needs it.
fn with_a_library(name: &str) -> PathBuf {
    let source = written("other.c", b"int other_function(void) { return 7; }\n");
    let other = compile(
        &source,
        &format!("lib{name}.so.1"),
        &["-shared", &format!("-Wl,-soname,lib{name}.so.1")],
    );
    let other = other.to_str().expect("a path in UTF-8");
    hostile_with(name, &["-Wl,--no-as-needed", other])
}

#[test]
fn t103_a_file_with_folders_of_its_own_for_libraries_is_refused() {
    for (name, flags, what) in [
        (
            "runpath",
            &["-Wl,--enable-new-dtags,-rpath,/opt/lib"][..],
            "DT_RUNPATH",
        ),
        ("rpath", &["-Wl,--disable-new-dtags,-rpath,$ORIGIN"], "DT_RPATH"),
        ("audit", &["-Wl,--audit,/opt/audit.so"], "DT_AUDIT"),
        ("auxiliary", &["-Wl,-f,/opt/libc.so.6"], "DT_AUXILIARY"),
        ("filter", &["-Wl,-F,/opt/libc.so.6"], "DT_FILTER"),
    ] {
        let file = hostile_with(name, flags);
        refused(&file, ErrorKind::Load, what);
        refused(&file, ErrorKind::Load, "a library from there would run unpinned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t103_a_library_that_the_operator_has_not_named_is_refused() {
    let file = with_a_library("needed");
    let inspected = inspect(&file).expect("a plugin");
    assert_eq!(inspected.libraries, ["libneeded.so.1"]);
    let error = not_loaded(file.clone()).await;
    assert_eq!(error.kind, ErrorKind::Libraries);
    assert!(
        error.message.contains("write libraries = [\"libneeded.so.1\"]"),
        "{error}"
    );
    // Named, it is for the system's loader, which does not find it.
    let (host, _) = host();
    let named = LoadRequest {
        libraries: inspected.libraries,
        ..request(file, json!({ "fault": "none" }), host, Limits::default())
    };
    let error = load(named).await.expect_err("the library is nowhere");
    assert_eq!(error.kind, ErrorKind::Load);
    assert!(
        error
            .message
            .contains("libneeded.so.1: cannot open shared object file"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t103_a_missing_symbol_is_named_by_the_systems_loader() {
    let error = not_loaded(hostile_with("symbol", &["-DUNDEFINED_SYMBOL"])).await;
    assert_eq!(error.kind, ErrorKind::Load);
    assert!(
        error.message.contains("undefined symbol: no_such_function"),
        "{error}"
    );
}

#[test]
fn t103_a_file_for_another_machine_is_refused() {
    let bytes = std::fs::read(hostile()).expect("read the file");
    let changed = |name: &str, at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        written(name, &bytes)
    };
    // e_machine: SPARC.
    refused(
        &changed("sparc.so", 18, &[43, 0]),
        ErrorKind::NotAPlugin,
        "this machine is",
    );
    // e_ident: 32 bits.
    refused(&changed("bits.so", 4, &[1]), ErrorKind::NotAPlugin, "not a");
}
