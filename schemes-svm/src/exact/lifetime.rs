//! Whether a payment has enough blocks left to land; see [`crate::blockhashes`].

use sdk_plugin::{Cx, Fault};

use super::ExactSvm;
use crate::blockhashes::Left;
use crate::programs::RECENT_BLOCKHASHES;
use crate::rpc;
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
        if self
            .blockhashes
            .left(network, blockhash, simulated_at)
            .is_enough(wanted)
        {
            return Ok(None);
        }
        let mut answers = rpc::read_all(cx, vec![rpc::accounts(&[RECENT_BLOCKHASHES])]).await?;
        let (slot, accounts) = rpc::account_list(answers.take()?, 1)?;
        self.blockhashes
            .saw(network, slot, accounts.first().and_then(Option::as_ref));
        match self.blockhashes.left(network, blockhash, simulated_at.max(slot)) {
            Left::AtLeast(left) if left < wanted && self.blockhashes.has(network, blockhash) => {
                Ok(Some(format!(
                    "the blockhash is good for {left} more blocks, {wanted} are needed to land: sign with a new one"
                )))
            }
            Left::AtLeast(_) | Left::Unknown => Ok(None),
        }
    }
}
