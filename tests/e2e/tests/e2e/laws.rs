//! Laws (docs/src/laws.md) that a build can break.

use std::process::Command;

#[test]
fn law1_the_core_depends_on_no_chain_library() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--package",
            "switchyard",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--locked",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("cargo tree runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8_lossy(&output.stdout);
    let crates: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(
        crates.contains(&"sdk-plugin") && crates.contains(&"tokio"),
        "this is the core's tree:\n{tree}"
    );
    let chains = [
        "alloy", "solana", "spl", "agave", "revm", "reth", "ethers", "web3",
    ];
    let broken: Vec<&&str> = crates
        .iter()
        .filter(|name| {
            chains
                .iter()
                .any(|chain| **name == *chain || name.starts_with(&format!("{chain}-")))
        })
        .collect();
    assert!(broken.is_empty(), "the core knows chains: {broken:?}");
    assert!(
        !crates
            .iter()
            .any(|name| name.starts_with("schemes-") || name.starts_with("plugin-") && *name != "plugin-host")
    );
}
