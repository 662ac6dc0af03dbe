//! Where an escrow keeps an operator's tokens. The address is computed from the escrow and the operator and never
//! changes, so it is read once; the store may have no code yet (T-80), and a read does not change that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use alloy_primitives::Address;
use alloy_sol_types::SolCall;
use sdk_plugin::{Cx, Fault};

use crate::auth_capture::abi::Escrow;
use crate::auth_capture::payment_info::EscrowId;
use crate::auth_capture::state::READ_GAS;
use crate::rpc::{self, EthCall, Executed};

/// Most addresses kept; only admitted operators get here, so more than that is a defect, not an attack.
const CAPACITY: usize = 4_096;

#[derive(Debug, Default)]
pub(in crate::auth_capture) struct TokenStores {
    /// Chain id, escrow and operator, to the store.
    known: Mutex<HashMap<(u64, Address, Address), Address>>,
}

impl TokenStores {
    /// `None` where no escrow answers.
    pub(super) async fn of(
        &self,
        cx: &Cx,
        escrow_id: EscrowId,
        operator: Address,
    ) -> Result<Option<Address>, Fault> {
        let key = (escrow_id.chain_id, escrow_id.escrow, operator);
        // No invariant spans two statements, so a map left by a panicking thread is as good as any.
        let known = |map: &Mutex<HashMap<_, _>>| {
            map.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&key)
                .copied()
        };
        if let Some(store) = known(&self.known) {
            return Ok(Some(store));
        }
        let question = EthCall {
            from: None,
            to: escrow_id.escrow,
            data: Escrow::getTokenStoreCall { operator }.abi_encode(),
            gas: Some(READ_GAS),
        };
        let read = |answer| -> Result<Option<Address>, Fault> {
            Ok(match rpc::executed(answer, "getTokenStore of an escrow")? {
                Executed::Returned(data) => {
                    Escrow::getTokenStoreCall::abi_decode_returns_validate(&data).ok()
                }
                Executed::Failed(_) => None,
            })
        };
        let mut store = read(
            rpc::NODES
                .read_well_formed(cx, vec![question.call()])
                .await?
                .take()?,
        )?;
        if store.is_none() {
            // That there is no escrow is not believed of one node.
            for mut answers in rpc::compare_or_read(cx, vec![question.call()]).await?.sets {
                store = store.or(read(answers.take()?)?);
            }
        }
        if let Some(store) = store {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= CAPACITY {
                known.clear();
            }
            known.insert(key, store);
        }
        Ok(store)
    }
}
