//! Which fee payer is offered to new buyers: one with money, and the least busy of them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sdk_plugin::chain::Lane;
use sdk_plugin::host::Level;
use sdk_plugin::{Cx, Fault, Value};
use solana_address::Address;

use crate::blockhashes::Blockhashes;
use crate::driver::options::Options;
use crate::programs::RECENT_BLOCKHASHES;
use crate::{rpc, text};

/// How long balances are good for an offer, milliseconds.
const BALANCES_GOOD_FOR_MS: u64 = 10_000;
/// Plans are counted in windows of this length, milliseconds.
const WINDOW_MS: u64 = 60_000;

/// What is remembered of the fee payers, by network.
#[derive(Debug, Default)]
pub(super) struct Offers(Mutex<HashMap<String, Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    /// When balances were read, milliseconds since the epoch, and lamports by signer.
    balances: Option<(u64, HashMap<String, u64>)>,
    /// When the window began, and plans in it by signer.
    plans: (u64, HashMap<String, u64>),
}

impl Offers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a plan for a fee payer.
    pub(super) fn planned(&self, cx: &Cx, fee_payer: &Address) {
        let mut all = self.lock();
        let remembered = all.entry(cx.network().id.clone()).or_default();
        let now_ms = cx.now_ms();
        if now_ms.saturating_sub(remembered.plans.0) >= WINDOW_MS {
            remembered.plans = (now_ms, HashMap::new());
        }
        *remembered.plans.1.entry(fee_payer.to_string()).or_default() += 1;
    }

    /// The fee payer to offer; `None` when none has enough money left.
    pub(super) async fn choose<'a>(
        &self,
        cx: &'a Cx,
        blockhashes: &Blockhashes,
    ) -> Result<Option<&'a Lane>, Fault> {
        let lanes = &cx.network().lanes;
        if lanes.is_empty() {
            return Ok(None);
        }
        let floor = floor(cx)?;
        self.refresh(cx, lanes, blockhashes).await;
        let all = self.lock();
        let remembered = all.get(&cx.network().id);
        let balance = |lane: &Lane| {
            let (_, balances) = remembered?.balances.as_ref()?;
            balances.get(&lane.signer).copied()
        };
        let plans = |lane: &&Lane| {
            let counted = remembered.and_then(|remembered| remembered.plans.1.get(&lane.signer));
            counted.copied().unwrap_or(0)
        };
        // What could not be read is offered: a fee payer that may be unfunded is better than none.
        let rich = lanes
            .iter()
            .filter(|lane| balance(lane).is_none_or(|lamports| lamports >= floor));
        Ok(rich.min_by_key(plans))
    }

    /// What the operator has to know when no fee payer is offered. It is no reason to stop: buyers who hold an offer are served
    /// until none can pay for a transaction, and then the network is not ready.
    pub(super) async fn warning(&self, cx: &Cx, blockhashes: &Blockhashes) -> Result<Option<String>, Fault> {
        let lanes = &cx.network().lanes;
        if lanes.is_empty() || self.choose(cx, blockhashes).await?.is_some() {
            return Ok(None);
        }
        let signers: Vec<&str> = lanes.iter().map(|lane| lane.signer.as_str()).collect();
        Ok(Some(format!(
            "/supported does not list this scheme here: no fee payer has low_balance_lamports ({}); send SOL to {}. Buyers \
             who hold an offer of the last minutes are still served",
            floor(cx)?,
            signers.join(" or ")
        )))
    }

    async fn refresh(&self, cx: &Cx, lanes: &[Lane], blockhashes: &Blockhashes) {
        let now_ms = cx.now_ms();
        let fresh = self
            .lock()
            .get(&cx.network().id)
            .and_then(|remembered| remembered.balances.as_ref().map(|(at_ms, _)| *at_ms))
            .is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < BALANCES_GOOD_FOR_MS);
        if fresh {
            return;
        }
        let signers: Vec<Address> = lanes
            .iter()
            .filter_map(|lane| text::address(&lane.signer))
            .take(rpc::MAX_ACCOUNTS - 1)
            .collect();
        match read(cx, &signers, blockhashes).await {
            Ok(balances) => {
                let mut all = self.lock();
                all.entry(cx.network().id.clone()).or_default().balances = Some((now_ms, balances));
            }
            // The last known balances are kept.
            Err(fault) => cx.log(
                Level::Warn,
                "svm::exact",
                &format!("the fee payers' balances could not be read: {}", fault.message),
                &Value::Null,
            ),
        }
    }
}

/// What a fee payer must have to be offered, lamports.
fn floor(cx: &Cx) -> Result<u64, Fault> {
    Ok(Options::read(&cx.network().options)?.low_balance_lamports)
}

/// Lamports by signer; the newest blockhashes come with the same call.
async fn read(
    cx: &Cx,
    signers: &[Address],
    blockhashes: &Blockhashes,
) -> Result<HashMap<String, u64>, Fault> {
    let mut wanted = signers.to_vec();
    wanted.push(RECENT_BLOCKHASHES);
    let answer = rpc::NODES
        .read_well_formed(cx, vec![rpc::accounts(&wanted)])
        .await?
        .take()?;
    let (slot, mut accounts) = rpc::account_list(answer, wanted.len())?;
    blockhashes.record(&cx.network().id, slot, accounts.pop().flatten().as_ref());
    let lamports = accounts
        .into_iter()
        .map(|account| account.map_or(0, |account| account.lamports));
    Ok(signers.iter().map(ToString::to_string).zip(lamports).collect())
}
