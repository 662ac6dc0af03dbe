//! The header is canonical: a C compiler's view of it must be the Rust mirror's, number by number.

use std::collections::BTreeMap;
use std::mem::{align_of, offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use sdk_plugin::abi::raw::{self, Buf, Bytes, Call, Host, Plugin};

/// Expands to the C side's lines and the mirror's numbers for one struct.
macro_rules! layout {
    ($out:ident, $c:literal, $rust:ty, [$($field:ident),* $(,)?]) => {
        $out.push((format!("sizeof({})", $c), size_of::<$rust>() as u64));
        $out.push((format!("_Alignof({})", $c), align_of::<$rust>() as u64));
        $($out.push((format!("offsetof({}, {})", $c, stringify!($field)), offset_of!($rust, $field) as u64));)*
    };
}

fn mirror() -> Vec<(String, u64)> {
    let mut out = Vec::new();
    layout!(out, "x402p_bytes", Bytes, [ptr, len]);
    layout!(out, "x402p_buf", Buf, [ptr, len, owner, release]);
    layout!(
        out,
        "x402p_call",
        Call,
        [
            struct_size,
            reserved,
            call_id,
            parent_id,
            timeout_ns,
            op,
            request,
            trace,
            ctx,
            complete
        ]
    );
    layout!(
        out,
        "x402p_host",
        Host,
        [
            struct_size,
            abi_major,
            abi_minor,
            ctx,
            log,
            log_level,
            now_unix_ns,
            metric,
            call,
            cancel,
            spawn
        ]
    );
    layout!(
        out,
        "x402p_plugin",
        Plugin,
        [
            struct_size,
            abi_major,
            abi_minor,
            flags,
            manifest,
            create,
            submit,
            cancel,
            destroy
        ]
    );
    let statuses = [
        ("X402P_OK", raw::OK),
        ("X402P_E_INVALID", raw::E_INVALID),
        ("X402P_E_UNSUPPORTED", raw::E_UNSUPPORTED),
        ("X402P_E_CANCELLED", raw::E_CANCELLED),
        ("X402P_E_DEADLINE", raw::E_DEADLINE),
        ("X402P_E_OVERLOADED", raw::E_OVERLOADED),
        ("X402P_E_SHUTDOWN", raw::E_SHUTDOWN),
        ("X402P_E_PANIC", raw::E_PANIC),
        ("X402P_E_INTERNAL", raw::E_INTERNAL),
        ("X402P_E_DENIED", raw::E_DENIED),
        ("X402P_E_INDETERMINATE", raw::E_INDETERMINATE),
        ("X402P_E_UNAVAILABLE", raw::E_UNAVAILABLE),
    ];
    // Compared as the C program prints them: unsigned, in two's complement.
    out.extend(statuses.map(|(name, status)| (name.to_owned(), i64::from(status).cast_unsigned())));
    out.extend([
        ("X402P_ABI_MAJOR".to_owned(), u64::from(raw::ABI_MAJOR)),
        ("X402P_ABI_MINOR".to_owned(), u64::from(raw::ABI_MINOR)),
        ("X402P_F_UNWIND".to_owned(), raw::F_UNWIND),
        ("X402P_F_INLINE".to_owned(), raw::F_INLINE),
    ]);
    out
}

fn compile(compiler: &[&str], source: &Path, program: &Path) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let (name, arguments) = compiler.split_first().expect("a compiler");
    let output = Command::new(name)
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(include)
        .arg(source)
        .arg("-o")
        .arg(program)
        .output()
        .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_mirror_has_the_headers_layout_and_constants() {
    let mirror = mirror();
    let lines: String = mirror
        .iter()
        .map(|(name, _)| {
            format!("  printf(\"%s=%llu\\n\", \"{name}\", (unsigned long long)(int64_t)({name}));\n")
        })
        .collect();
    let source = format!(
        "#include <stdio.h>\n#include \"x402_plugin.h\"\nint main(void) {{\n{lines}  return 0;\n}}\n"
    );
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (file, program) = (folder.join("layout.c"), folder.join("layout"));
    std::fs::write(&file, source).expect("write the program");
    compile(&["cc", "-std=c11"], &file, &program);
    let output = Command::new(&program).output().expect("run the program");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let header: BTreeMap<&str, u64> = text
        .lines()
        .map(|line| line.split_once('=').expect("name=value"))
        .map(|(name, value)| (name, value.parse().expect("a number")))
        .collect();
    assert_eq!(header.len(), mirror.len());
    for (name, value) in &mirror {
        assert_eq!(header.get(name.as_str()), Some(value), "{name}");
    }
}

#[test]
fn the_header_names_the_entry_and_the_section() {
    let header = include_str!("../include/x402_plugin.h");
    let symbol = std::str::from_utf8(raw::ENTRY_SYMBOL)
        .expect("UTF-8")
        .trim_end_matches('\0');
    assert!(header.contains(&format!("#define X402P_ENTRY {symbol}\n")));
    assert!(header.contains(&format!("section(\"{}\")", raw::MANIFEST_SECTION)));
}
