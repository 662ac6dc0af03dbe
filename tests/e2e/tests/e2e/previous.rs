//! An upgrade of a binary that is in use, and the way back: the real binary of the last version with an earlier schema of
//! the journal. `cargo xtask full --only previous` builds that binary first.

use std::path::PathBuf;

use devnet::Mining;
use e2e::payment::PRICE;
use e2e::{World, binaries};

use crate::reason;

/// The folder with the earlier version's binary and plugins.
const PREVIOUS: &str = "PREVIOUS_RELEASE";

fn previous() -> PathBuf {
    let folder = std::env::var_os(PREVIOUS).unwrap_or_else(|| panic!("{PREVIOUS} names no folder"));
    PathBuf::from(folder)
}

/// The copy that the upgrade made, and the schema that it has.
fn copy_before_upgrade(world: &World) -> (PathBuf, String) {
    let folder = world.facilitator.data_folder();
    let copies: Vec<(PathBuf, String)> = std::fs::read_dir(folder)
        .expect("the data folder")
        .filter_map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name()?.to_str()?;
            let schema = name.strip_prefix("journal.sqlite.schema-")?.to_owned();
            Some((path, schema))
        })
        .collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    copies.into_iter().next().expect("one copy")
}

#[test]
#[ignore = "needs the binary of an earlier version: cargo xtask full --only previous"]
fn an_upgrade_continues_open_payments_and_the_earlier_version_refuses_the_journal_or_serves_its_copy() {
    let (previous, current) = (previous(), binaries::release_dir().expect("a build"));
    let mut world = World::builder().server("settle_wait_seconds = 1").start();
    world.facilitator.kill();
    std::fs::remove_dir_all(world.facilitator.data_folder()).expect("removed");

    // The earlier version has one payment that was answered, and one on its way.
    world.facilitator.use_release(&previous);
    world.facilitator.restart();
    let (answered, waiting) = (world.payment(2).v2(), world.payment(3).v2());
    let first = world.settle(&answered).paid();
    world.chain.set_mining(Mining::Manual).expect("manual");
    let second = world.settle(&waiting).pending();
    world.facilitator.kill();

    // This version continues with both, and keeps a copy.
    world.facilitator.use_release(&current);
    world.facilitator.restart();
    let (copy, schema) = copy_before_upgrade(&world);
    assert_eq!(world.settle(&answered).failed(reason::DUPLICATE), first);
    world.chain.set_mining(Mining::Auto).expect("auto");
    world.chain.mine(1).expect("mines");
    assert_eq!(world.settle(&waiting).paid(), second);
    let (is_intact, text) = world.facilitator.command(&["explain", &second]);
    assert!(is_intact && text.contains("paid"), "{text}");
    world.facilitator.terminate();
    assert!(world.facilitator.wait_exit().success());

    // The earlier version refuses what it does not know.
    world.facilitator.use_release(&previous);
    let (status, text) = world.facilitator.restart_refused();
    assert!(!status.success(), "{text}");
    let refusal =
        format!("and this version of switchyard knows {schema} at most; run the version that wrote it");
    assert!(text.contains(&refusal), "{text}");

    // The way back, as the log line of the upgrade says it: nothing is paid or answered twice.
    let journal = world.facilitator.data_folder().join("journal.sqlite");
    std::fs::copy(&copy, &journal).expect("copied");
    for suffix in ["-wal", "-shm"] {
        let file = world
            .facilitator
            .data_folder()
            .join(format!("journal.sqlite{suffix}"));
        if file.exists() {
            std::fs::remove_file(file).expect("removed");
        }
    }
    world.facilitator.restart();
    assert_eq!(world.settle(&answered).failed(reason::DUPLICATE), first);
    assert_eq!(world.settle(&waiting).failed(reason::DUPLICATE), second);
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (2, 2, 2 * PRICE)
    );
    let third = world.settle(&world.payment(4).v2()).paid();
    assert!(third != first && third != second, "{third}");
    assert_eq!((world.transfers(), world.earned()), (3, 3 * PRICE));
}
