//! Settlements in the order of their units, where several nodes share the journal: a node that takes a unit reads those of this
//! unit, and no others.
//!
//! A settlement that is not finished is in one of two orders, both in [`Table::Handovers`]: those that were opened for the owner of
//! the unit, which has not put them into a slot, and those that the owner continues. Nodes of an earlier version don't
//! keep the second order. So the lease says whether it is complete ([`Lease::is_indexed`]); an earlier version that takes the
//! unit removes that. Without it, all unfinished settlements are read, and the order is completed
//! ([`Shared::index`](crate::lease::Shared::index)).

use std::collections::BTreeSet;

use crate::keys::{continued_key, continued_prefix, handover_prefix, id_key};
use crate::lease::{Fence, Lease, change_own, own};
use crate::queries::{self, WithPlan, get};
use crate::row::SettlementRow;
use crate::{JournalError, RowKey, Rows, Storage, Table, Write};

/// Settlements that are read at once while the order is not complete, and that are put into it at once.
pub(crate) const PAGE: usize = 256;

/// A part of a unit's settlements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OfUnit {
    /// In the order of their ids, each with its plan.
    pub found: Vec<WithPlan>,
    /// There may be more after this id.
    pub more_after: Option<u64>,
}

/// Settlements of a unit that are not finished and that its owner continues, after this id. At most `limit` are read: fewer may
/// be found.
///
/// # Errors
/// When a row can't be read.
pub fn unfinished_of(
    rows: &mut dyn Rows,
    unit: &str,
    after: u64,
    limit: usize,
) -> Result<OfUnit, JournalError> {
    let (mut found, last, is_full) = if is_indexed(rows, unit)? {
        let (prefix, from) = (continued_prefix(unit), continued_key(unit, after));
        let keys = rows.scan(Table::Handovers, &prefix, Some(&from), limit)?;
        let ids: Vec<u64> = keys.iter().map(|(key, _)| id_of(key)).collect::<Result<_, _>>()?;
        (
            queries::with_plans(rows, &ids)?,
            ids.last().copied(),
            ids.len() >= limit,
        )
    } else {
        let found = queries::unfinished(rows, after, limit)?;
        let (last, is_full) = (found.last().map(|(row, _)| row.id), found.len() >= limit);
        (found, last, is_full)
    };
    // An earlier version that owned the unit for a while left what it finished in the order.
    found.retain(|(row, _)| !row.finished && !row.handed_over && row.unit().as_deref() == Some(unit));
    Ok(OfUnit {
        found,
        more_after: last.filter(|_| is_full),
    })
}

/// Whether the owner of a unit has anything to continue or to begin; `None`: it has nothing to begin, and the order does not
/// say whether it has anything to continue. See [`continued_among`].
///
/// # Errors
/// When a row can't be read.
pub fn has_open(rows: &mut dyn Rows, unit: &str) -> Result<Option<bool>, JournalError> {
    if !rows
        .scan(Table::Handovers, &handover_prefix(unit), None, 1)?
        .is_empty()
    {
        return Ok(Some(true));
    }
    if !is_indexed(rows, unit)? {
        return Ok(None);
    }
    let mut after = Some(0);
    while let Some(id) = after {
        let part = unfinished_of(rows, unit, id, PAGE)?;
        if !part.found.is_empty() {
            return Ok(Some(true));
        }
        after = part.more_after;
    }
    Ok(Some(false))
}

/// Those of these units whose owners have anything to continue among the unfinished settlements after this id, whether or
/// not they are in the order. At most `limit` settlements are read, without their plans. There may be more after the id
/// that is returned.
///
/// # Errors
/// When a row can't be read.
pub fn continued_among(
    rows: &mut dyn Rows,
    units: &BTreeSet<String>,
    after: u64,
    limit: usize,
) -> Result<(BTreeSet<String>, Option<u64>), JournalError> {
    let unfinished = rows.scan(Table::Unfinished, "", Some(&id_key(after)), limit)?;
    let ids: Vec<u64> = unfinished
        .iter()
        .map(|(key, _)| id_of(key))
        .collect::<Result<_, _>>()?;
    let settlements = queries::settlements(rows, &ids)?;
    let continued = settlements.iter().filter(|row| !row.handed_over);
    let found = continued
        .filter_map(SettlementRow::unit)
        .filter(|unit| units.contains(unit));
    let last = ids.last().copied();
    Ok((found.collect(), last.filter(|_| ids.len() >= limit)))
}

fn is_indexed(rows: &mut dyn Rows, unit: &str) -> Result<bool, JournalError> {
    let lease: Option<Lease> = get(rows, Table::Leases, unit)?;
    Ok(lease.is_some_and(|lease| lease.is_indexed))
}

/// Puts settlements of a unit into the order, if the fence still holds the unit. A part of
/// [`Shared::index`](crate::lease::Shared::index), in a transaction of its own: while it runs, commits and beats of the
/// node wait for the unit's lease.
///
/// # Errors
/// When a row can't be read or written.
pub fn put_into_order(
    rows: &mut dyn Storage,
    fence: &Fence,
    unit: &str,
    ids: &[u64],
) -> Result<(), JournalError> {
    if own(rows, fence, unit)?.is_none() {
        return Ok(());
    }
    let keys: Vec<RowKey> = ids.iter().map(|id| (Table::Unfinished, id_key(*id))).collect();
    // One that was finished meanwhile stays out.
    let open = ids
        .iter()
        .zip(rows.get_all(&keys)?)
        .filter(|(_, text)| text.is_some());
    let writes: Vec<(RowKey, Write)> = open
        .map(|(id, _)| {
            let key = (Table::Handovers, continued_key(unit, *id));
            (key, Write::Put("null".to_owned()))
        })
        .collect();
    rows.write_all(&writes)
}

/// Records that the order of a unit is complete, if the fence still holds the unit: the last part of
/// [`Shared::index`](crate::lease::Shared::index). The fence must be that of the other parts: another owner may have
/// opened settlements without the order.
///
/// # Errors
/// When the row can't be read or written.
pub fn set_indexed(rows: &mut dyn Storage, fence: &Fence, unit: &str) -> Result<(), JournalError> {
    change_own(rows, fence, unit, |lease| lease.is_indexed = true)
}

/// Ids of settlements that were opened for these units and have not got a slot, without those that are known, at most `limit`
/// of each.
///
/// # Errors
/// When a row can't be read.
pub fn handed_over(
    rows: &mut dyn Rows,
    units: &[String],
    known: &BTreeSet<u64>,
    limit: usize,
) -> Result<Vec<u64>, JournalError> {
    let mut ids = Vec::new();
    for unit in units {
        let (prefix, mut after, mut left) = (handover_prefix(unit), None, limit);
        while left > 0 {
            let page = rows.scan(Table::Handovers, &prefix, after.as_deref(), limit)?;
            let is_last = page.len() < limit;
            for (key, _) in &page {
                let id = id_of(key)?;
                if left > 0 && !known.contains(&id) {
                    ids.push(id);
                    left = left.saturating_sub(1);
                }
            }
            after = page.into_iter().next_back().map(|(key, _)| key);
            if is_last {
                break;
            }
        }
    }
    Ok(ids)
}

fn id_of(key: &str) -> Result<u64, JournalError> {
    let id = key.rsplit('|').next().and_then(|id| id.parse().ok());
    id.ok_or_else(|| JournalError(format!("the key {key:?} names no settlement")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;
    use crate::lease::{self, Holder};
    use crate::memory::Tables;
    use crate::testkit::{opened_with, paid, prepared};
    use crate::{Event, Stamp};
    use sdk_plugin::StepIndex;

    const UNIT: &str = "eip155:84532|0xa";

    fn apply(tables: &mut Tables, events: Vec<Event>) {
        let mut group = Group::fetch(tables, events.iter(), None).unwrap();
        group.apply(&events, Stamp::default()).unwrap();
        group.flush().unwrap();
    }

    fn open(tables: &mut Tables, id: u64, signer: &str, handed_over: bool) {
        let opened = opened_with(id, &format!("c{id}"), |row, _, _| {
            row.home = Some(signer.to_owned());
            row.handed_over = handed_over;
            row.request = String::new();
        });
        apply(tables, vec![opened]);
    }

    fn ids(tables: &mut Tables, after: u64, limit: usize) -> (Vec<u64>, Option<u64>) {
        let part = unfinished_of(tables, UNIT, after, limit).unwrap();
        (
            part.found.iter().map(|(row, _)| row.id).collect(),
            part.more_after,
        )
    }

    /// Settlements 1 and 3 of the unit, 2 of another one, 4 handed over and still waiting.
    fn rows() -> Tables {
        let mut tables = Tables::default();
        for (id, signer, handed_over) in [
            (1, "0xa", false),
            (2, "0xb", false),
            (3, "0xa", true),
            (4, "0xa", true),
        ] {
            open(&mut tables, id, signer, handed_over);
        }
        apply(&mut tables, vec![prepared(13, 3, 0)]);
        tables
    }

    fn holder(tables: &mut Tables) -> Holder {
        let holder = Holder::new("n".to_owned());
        let seen: Option<Lease> = get(tables, Table::Leases, UNIT).unwrap();
        let taken = lease::take(tables, holder.node(), UNIT, seen.as_ref())
            .unwrap()
            .unwrap();
        holder.add(&taken);
        holder
    }

    #[test]
    fn a_unit_has_its_own_settlements_in_parts_until_they_are_finished() {
        let mut tables = rows();
        let holder = holder(&mut tables);
        assert!(is_indexed(&mut tables, UNIT).unwrap(), "nobody had it before");
        assert_eq!(ids(&mut tables, 0, 9), (vec![1, 3], None));
        assert_eq!(ids(&mut tables, 0, 1), (vec![1], Some(1)));
        assert_eq!(ids(&mut tables, 1, 1), (vec![3], Some(3)));
        assert_eq!(ids(&mut tables, 3, 1), (vec![], None));
        drop(holder);
        for id in [1, 3] {
            let step = StepIndex::FIRST;
            let ended = vec![
                paid(id, &format!("log {id}")),
                Event::StepFinal { settlement: id, step },
                Event::Finished {
                    settlement: id,
                    at_ms: 1,
                },
            ];
            assert_eq!(has_open(&mut tables, UNIT), Ok(Some(true)));
            apply(&mut tables, ended);
        }
        assert_eq!(ids(&mut tables, 0, 9), (vec![], None));
        assert_eq!(
            has_open(&mut tables, UNIT),
            Ok(Some(true)),
            "one waits for the owner"
        );
        apply(&mut tables, vec![prepared(14, 4, 1)]);
        assert_eq!(has_open(&mut tables, UNIT), Ok(Some(true)), "and is continued");
        let ended = vec![
            paid(4, "log 4"),
            Event::StepFinal {
                settlement: 4,
                step: StepIndex::FIRST,
            },
            Event::Finished {
                settlement: 4,
                at_ms: 1,
            },
        ];
        apply(&mut tables, ended);
        assert_eq!(has_open(&mut tables, UNIT), Ok(Some(false)));
        assert_eq!(has_open(&mut tables, "eip155:84532|0xc"), Ok(None), "no lease");
        let left = tables
            .scan(Table::Handovers, "continued|eip155:84532|0xa|", None, 9)
            .unwrap();
        assert_eq!(left, vec![]);
    }

    #[test]
    fn t107_what_an_earlier_version_opened_is_read_and_put_into_order() {
        let mut tables = rows();
        // An earlier version has no such order, and no word about it in the lease.
        tables.retain(|(table, key), _| *table != Table::Handovers || !key.starts_with("continued|"));
        let old = r#"{"unit":"eip155:84532|0xa","node":"old","epoch":4,"beat":7}"#;
        tables.insert((Table::Leases, UNIT.to_owned()), old.to_owned());
        let holder = holder(&mut tables);
        assert!(!is_indexed(&mut tables, UNIT).unwrap());
        assert_eq!(ids(&mut tables, 0, 9), (vec![1, 3], None));
        assert_eq!(
            has_open(&mut tables, UNIT),
            Ok(Some(true)),
            "one waits for the owner"
        );
        let other = "eip155:84532|0xb".to_owned();
        assert_eq!(has_open(&mut tables, &other), Ok(None));
        // Both in one read, in parts.
        let units = BTreeSet::from([UNIT.to_owned(), other.clone(), "eip155:84532|0xc".to_owned()]);
        let mut among = |after: u64, limit: usize| {
            let (found, more_after) = continued_among(&mut tables, &units, after, limit).unwrap();
            (found.into_iter().collect::<Vec<_>>(), more_after)
        };
        assert_eq!(among(0, 9), (vec![UNIT.to_owned(), other.clone()], None));
        assert_eq!(among(0, 1), (vec![UNIT.to_owned()], Some(1)));
        assert_eq!(among(1, 1), (vec![other], Some(2)));
        assert_eq!(among(3, 9), (vec![], None), "it waits for the owner");
        // Another node can't complete the order, and what is finished stays out.
        let stranger = Holder::new("m".to_owned());
        put_into_order(&mut tables, &stranger.fence(), UNIT, &[1, 3]).unwrap();
        set_indexed(&mut tables, &stranger.fence(), UNIT).unwrap();
        assert!(!is_indexed(&mut tables, UNIT).unwrap());
        let order = |tables: &mut Tables| tables.scan(Table::Handovers, "continued|", None, 9).unwrap();
        assert_eq!(order(&mut tables), vec![]);
        // In parts, of which one is repeated. Before the last one all are read.
        let fence = holder.fence();
        for part in [&[1][..], &[1, 3, 99]] {
            put_into_order(&mut tables, &fence, UNIT, part).unwrap();
            assert!(!is_indexed(&mut tables, UNIT).unwrap());
            assert_eq!(ids(&mut tables, 0, 9), (vec![1, 3], None));
        }
        set_indexed(&mut tables, &fence, UNIT).unwrap();
        assert!(is_indexed(&mut tables, UNIT).unwrap());
        assert_eq!(ids(&mut tables, 0, 9), (vec![1, 3], None));
        assert_eq!(order(&mut tables).len(), 2);
    }

    #[test]
    fn known_settlements_leave_room_for_newer_ones() {
        let mut tables = Tables::default();
        for id in 1..=7 {
            open(&mut tables, id, "0xa", true);
        }
        let units = [UNIT.to_owned()];
        let mut found =
            |known: &[u64]| handed_over(&mut tables, &units, &known.iter().copied().collect(), 2).unwrap();
        assert_eq!(found(&[]), [1, 2]);
        assert_eq!(found(&[1, 2, 3, 5]), [4, 6]);
        assert_eq!(found(&[1, 2, 3, 4, 5, 6]), [7]);
    }
}
