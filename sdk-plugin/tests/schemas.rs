//! The checked-in schemas are those of the types.
#![cfg(feature = "schema")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sdk_plugin::schemas::all;

#[test]
fn the_checked_in_schemas_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let mut expected = BTreeSet::new();
    for schema in all() {
        let file = format!("{}.json", schema.name);
        let text = serde_json::to_string_pretty(&schema.schema).expect("JSON") + "\n";
        if update {
            fs::write(folder.join(&file), &text).expect("write the schema");
        }
        let checked_in = fs::read_to_string(folder.join(&file)).unwrap_or_default();
        assert!(
            checked_in == text,
            "schemas/{file} is stale: run with UPDATE_SCHEMAS=1 and review the difference"
        );
        expected.insert(file);
    }
    let found: BTreeSet<String> = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(found, expected, "each file belongs to a message");
}
