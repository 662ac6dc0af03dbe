//! Whether a payment has enough blocks left to land; see [`crate::blockhashes`].

use sdk_plugin::{Cx, Fault};

use super::ExactSvm;
use crate::blockhashes::{self, Left};
use crate::programs::RECENT_BLOCKHASHES;
use crate::rpc;
use crate::slots::is_near;
use crate::wire::Message;

impl ExactSvm {
    /// Why a payment whose simulation at this slot worked will probably not land: too few blocks are left for it.
    pub(super) async fn too_old(
        &self,
        cx: &Cx,
        message: &Message,
        simulated_at: u64,
    ) -> Result<Option<String>, Fault> {
        let (wanted, network) = (self.config.min_blocks_left, &cx.network().id);
        let blockhash = &message.recent_blockhash;
        if wanted == 0 {
            return Ok(None);
        }
        let too_few = |left| {
            Ok(Some(format!(
                "the blockhash is good for {left} more blocks, {wanted} are needed to land: sign with a new one"
            )))
        };
        match self.blockhashes.left(network, blockhash, simulated_at) {
            Left::AtLeast(left) if left >= wanted => return Ok(None),
            // Many payments may have the same one: their refusals must not keep others waiting.
            Left::AtLeast(left) if self.blockhashes.is_agreed_too_old(network, blockhash) => {
                return too_few(left);
            }
            Left::AtLeast(_) | Left::Unknown => {}
        }
        let list = || vec![rpc::accounts(&[RECENT_BLOCKHASHES])];
        let mut answers = rpc::NODES.read_well_formed(cx, list()).await?;
        let (slot, accounts) = rpc::account_list(answers.take()?, 1)?;
        self.blockhashes
            .record(network, slot, accounts.first().and_then(Option::as_ref));
        // A slot that is far from the list's makes no blockhash older.
        let at = if is_near(slot, simulated_at) {
            simulated_at.max(slot)
        } else {
            slot
        };
        let left = match self.blockhashes.left(network, blockhash, at) {
            Left::AtLeast(left) if left < wanted && self.blockhashes.has(network, blockhash) => left,
            Left::AtLeast(_) | Left::Unknown => return Ok(None),
        };
        // A list is one node's. Where another one has the blockhash at a better index, the payment is not refused.
        let nodes = rpc::read_by_two(cx, list()).await;
        let is_agreed = nodes.is_ok();
        for mut answers in nodes.unwrap_or_default() {
            let Ok((_, accounts)) = answers.take().and_then(|answer| rpc::account_list(answer, 1)) else {
                continue;
            };
            let account = accounts.first().and_then(Option::as_ref);
            if blockhashes::left_by(account, blockhash).is_some_and(|left| left >= wanted) {
                return Ok(None);
            }
        }
        if is_agreed {
            self.blockhashes.agreed_too_old(network, blockhash);
        }
        too_few(left)
    }
}
