//! Values of some payments, as files from which a dictionary is made.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use journal::sqlite::{SqliteJournal, read};
use journal::{Event, Table};
use sha2::{Digest as _, Sha256};

use crate::payment::{Numbers, Payment, SAMPLES_FROM, Scheme};
use crate::{Failure, together};

/// Payments of each scheme.
const PAYMENTS: u64 = 150;
/// Longer ones are rare, and would be the whole dictionary.
const LONGEST: usize = 16 << 10;

/// Writes each value of the payments, after each of their commits, and the events of each commit.
pub(crate) async fn write(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let mut samples = BTreeSet::new();
    for scheme in Scheme::ALL {
        let data = tempfile::tempdir()?;
        let mut stages: [Vec<Vec<Event>>; 4] = Default::default();
        for sequence in 0..PAYMENTS {
            let settlement = SAMPLES_FROM + 2 * sequence;
            let numbers = Numbers {
                settlement,
                attempt: settlement + 1,
                sequence,
            };
            let reference = hex::encode(Sha256::digest(settlement.to_be_bytes()));
            let payment = Payment::of(scheme, numbers, reference.chars().take(32).collect())?;
            let commits = [payment.opened, vec![payment.sent], payment.paid, payment.finished];
            for (stage, events) in stages.iter_mut().zip(commits) {
                stage.push(events);
            }
        }
        for commits in stages {
            for events in &commits {
                let bodies: Result<Vec<String>, _> = events.iter().map(serde_json::to_string).collect();
                samples.insert(bodies?.join("\n"));
            }
            let journal = Arc::new(SqliteJournal::open(data.path())?);
            together(&journal, commits).await?;
            drop(journal);
            for table in Table::ALL {
                let rows = read(data.path(), |rows| rows.scan(table, "", None, usize::MAX))?;
                samples.extend(rows.into_iter().flatten().map(|(_, value)| value));
            }
        }
    }
    for sample in samples.into_iter().filter(|sample| sample.len() <= LONGEST) {
        let name = hex::encode(Sha256::digest(&sample));
        std::fs::write(folder.join(name), sample)?;
    }
    Ok(())
}
