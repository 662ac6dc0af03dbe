//! What a payer's open settlements need of its funds.

use sdk_plugin::Amount;
use sdk_plugin::scheme::Reserve;

use crate::keys::id_key;
use crate::overlay::Overlay;
use crate::queries::{decode, get};
use crate::row::ReserveRow;
use crate::{CommitError, Rows, Table};

use crate::change::put;

pub(crate) fn reserve_prefix(network: &str, reserve: &Reserve) -> String {
    // The scheme's own texts must not run into each other.
    let part = |text: &str| text.replace('%', "%25").replace('|', "%7C");
    format!("{network}|{}|{}|", part(&reserve.asset), part(&reserve.payer))
}

pub(crate) fn drop_reserves(rows: &mut Overlay<'_>, settlement: u64) -> Result<(), CommitError> {
    for key in reserve_keys(rows, settlement)? {
        rows.delete(Table::Reserves, &key);
    }
    Ok(())
}

/// Keys of a settlement's reserves: its `Unfinished` row holds their prefixes.
pub(crate) fn reserve_keys(rows: &mut Overlay<'_>, settlement: u64) -> Result<Vec<String>, CommitError> {
    let id = id_key(settlement);
    let prefixes: Vec<String> = get(rows, Table::Unfinished, &id)?.unwrap_or_default();
    Ok(prefixes
        .into_iter()
        .map(|prefix| format!("{prefix}{id}"))
        .collect())
}

/// From this height on, a read of the payer's balance includes the settlement's transfer.
pub(crate) fn mark_reserves(
    rows: &mut Overlay<'_>,
    settlement: u64,
    settled_at_height: Option<u64>,
) -> Result<(), CommitError> {
    for key in reserve_keys(rows, settlement)? {
        if let Some(mut reserve) = get::<ReserveRow>(rows, Table::Reserves, &key)? {
            reserve.settled_at_height = settled_at_height;
            put(rows, Table::Reserves, &key, &reserve)?;
        }
    }
    Ok(())
}

pub(crate) fn reserve_fits(
    rows: &mut Overlay<'_>,
    network: &str,
    reserve: &Reserve,
) -> Result<(), CommitError> {
    let mut wanted = reserve.amount;
    for (key, text) in rows.scan(
        Table::Reserves,
        &reserve_prefix(network, reserve),
        None,
        usize::MAX,
    )? {
        let spoken: ReserveRow = decode(Table::Reserves, &key, &text)?;
        if spoken
            .settled_at_height
            .is_none_or(|height| height > reserve.as_of_height)
        {
            wanted = wanted.checked_add(spoken.amount).unwrap_or(Amount::MAX);
        }
    }
    if wanted > reserve.available {
        return Err(CommitError::ReserveShort {
            reason: reserve.refusal_reason.clone(),
        });
    }
    Ok(())
}
