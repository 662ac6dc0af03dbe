//! What transactions cost. Each settlement that a transaction carries has its part of the fee.

use std::collections::BTreeSet;

use sdk_plugin::Amount;

use crate::change::put;
use crate::costs::spare_key;
use crate::history::{self, Happened};
use crate::keys::id_key;
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::{AttemptRow, CostRow, SettlementRow, SpareCostRow};
use crate::{CommitError, Table};

/// A block shows what an attempt cost. Does nothing if the attempt or its settlements are gone: they were dropped.
pub(super) fn fee_paid(
    rows: &mut Overlay<'_>,
    attempt: u64,
    fee: Amount,
    node: Option<&str>,
) -> Result<(), CommitError> {
    let Some(attempt) = get::<AttemptRow>(rows, Table::Attempts, &id_key(attempt))? else {
        return Ok(());
    };
    let settlements: BTreeSet<u64> = attempt.covers.iter().map(|(settlement, _)| *settlement).collect();
    let number = u64::try_from(settlements.len()).unwrap_or(u64::MAX);
    let mut cost = CostRow {
        attempt: attempt.id,
        tx_id: attempt.tx_id.clone(),
        kind: attempt.kind,
        signer: attempt.lane.signer.clone(),
        sequence: attempt.sequence,
        fee,
        settlements: number.max(1),
        part: None,
    };
    if settlements.is_empty() {
        let spare = SpareCostRow {
            network: attempt.lane.network.clone(),
            at_ms: attempt.prepared_at_ms,
            cost,
        };
        let key = spare_key(spare.at_ms, attempt.id);
        return put(rows, Table::Lookups, &key, &spare);
    }
    for (index, settlement) in (0..).zip(settlements) {
        cost.part = (number > 1).then(|| part(fee, number, index == 0));
        add(rows, settlement, cost.clone(), node)?;
    }
    Ok(())
}

/// Equal parts; the first one has what can't be divided.
fn part(fee: Amount, number: u64, is_first: bool) -> Amount {
    let number = Amount::from(number.max(1)).0;
    let equal = fee.0 / number;
    if is_first {
        Amount(equal.saturating_add(fee.0 % number))
    } else {
        Amount(equal)
    }
}

fn add(
    rows: &mut Overlay<'_>,
    settlement: u64,
    cost: CostRow,
    node: Option<&str>,
) -> Result<(), CommitError> {
    let key = id_key(settlement);
    let Some(mut row) = get::<SettlementRow>(rows, Table::Settlements, &key)? else {
        return Ok(());
    };
    if row.costs.contains(&cost) {
        return Ok(());
    }
    remove(&mut row, &cost.signer, cost.sequence);
    let (transaction, fee) = (cost.tx_id.clone(), cost.fee);
    row.costs.push(cost);
    row.updated_at_ms = row.updated_at_ms.max(rows.stamp().at_ms);
    put(rows, Table::Settlements, &key, &row)?;
    let paid = Happened::FeePaid {
        transaction,
        fee,
        node: node.map(str::to_owned),
    };
    history::add(rows, settlement, paid)
}

/// A slot is used by one transaction only: what another one of this slot cost was reorganised away.
pub(super) fn remove(row: &mut SettlementRow, signer: &str, sequence: u64) {
    row.costs
        .retain(|known| known.signer != signer || known.sequence != sequence);
}
