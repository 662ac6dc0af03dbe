//! What one transaction did with an authorization, read from the logs that the asset emitted (exact-evm.md section 13).
//!
//! EIP-3009 fixes no order: some tokens report the use first, some the transfer. A transaction may use several
//! authorizations of one payer, and the payer can add transfers of its own. So transfers are attributed to uses by the
//! order in which the most uses have one, use first where both orders do equally well; each transfer serves one use.
//!
//! A payer can sign two authorizations with one nonce. In our own transaction a use is that of the authorization we
//! submitted. In another sender's it may be that of another payee, next to an unrelated transfer to ours. Where the logs of
//! such a transaction allow both readings, they decide nothing.

use std::ops::Range;

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::HexBytes;
use sdk_plugin::chain::LogEntry;

use super::plan::Memo;
use crate::abi::{AUTHORIZATION_CANCELED_TOPIC, AUTHORIZATION_USED_TOPIC, TRANSFER_TOPIC};
use crate::text;

/// What one transaction's logs show about an authorization.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// Ids of the two logs that prove the payment.
    Paid([String; 2]),
    /// The authorization was used, and no exact transfer belongs to it.
    UsedOtherwise,
    /// The authorization was used, and no transfer of the payer is shown at all.
    Unmoved,
    /// The authorization was used, and whether the exact transfer beside it belongs to it is open.
    Ambiguous,
    /// The payer ended the authorization without a transfer.
    Canceled,
    /// Nothing about this authorization.
    Absent,
}

/// Whose transaction emitted the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// One of our own: it submits the authorization of this payment and no other with its nonce.
    Ours,
    Stranger,
}

/// Reads `logs`, which are in the order in which they were emitted.
pub(super) fn trace(memo: &Memo, logs: &[LogEntry], sender: Sender) -> Trace {
    let own: Vec<(&str, Event)> = logs
        .iter()
        .filter(|log| text::address(&log.emitter) == Some(memo.asset))
        .filter_map(|log| Some((log.id.as_str(), Event::read(log)?)))
        .filter(|(_, event)| event.payer() == memo.from)
        .collect();
    let canceled = own
        .iter()
        .any(|(_, event)| matches!(event, Event::Canceled(_, nonce) if *nonce == memo.nonce));
    let moves: Vec<(&str, Event)> = own
        .into_iter()
        .filter(|(_, event)| !matches!(event, Event::Canceled(..)))
        .collect();
    let uses: Vec<usize> = (0..moves.len())
        .filter(|at| matches!(moves.get(*at), Some((_, Event::Used(..)))))
        .collect();
    let is_of_memo =
        |at: &usize| matches!(moves.get(*at), Some((_, Event::Used(_, nonce))) if *nonce == memo.nonce);
    let Some(nth) = uses.iter().position(is_of_memo) else {
        return if canceled { Trace::Canceled } else { Trace::Absent };
    };
    if moves.len() == uses.len() {
        return Trace::Unmoved;
    }
    Attribution {
        memo,
        moves: &moves,
        uses: &uses,
    }
    .of(nth, sender)
}

/// In which order a token reports a use and its transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    UseFirst,
    TransferFirst,
}

impl Order {
    fn other(self) -> Self {
        match self {
            Self::UseFirst => Self::TransferFirst,
            Self::TransferFirst => Self::UseFirst,
        }
    }
}

/// Uses and transfers of one payer, and which belong together.
struct Attribution<'a> {
    memo: &'a Memo,
    moves: &'a [(&'a str, Event)],
    /// Indices of the uses in `moves`.
    uses: &'a [usize],
}

impl Attribution<'_> {
    fn of(&self, nth: usize, sender: Sender) -> Trace {
        let served = |order| {
            let uses = 0..self.uses.len();
            uses.filter(|nth| self.nearest(*nth, order).is_some()).count()
        };
        let (use_first, transfer_first) = (served(Order::UseFirst), served(Order::TransferFirst));
        let order = if transfer_first > use_first {
            Order::TransferFirst
        } else {
            Order::UseFirst
        };
        let Some(nearest) = self.nearest(nth, order) else {
            return self.by_count(nth, order);
        };
        // Every use has a transfer in either order: the payer added transfers of its own, and the token's order is open.
        let is_open = use_first == transfer_first && use_first == self.uses.len();
        let in_other_order = is_open.then(|| self.nearest(nth, order.other())).flatten();
        let mut others = self.transfers(nth, order).into_iter().chain(in_other_order);
        let exact = Some(nearest).filter(|at| self.is_exact(*at));
        let exact_elsewhere = others.find(|at| self.is_exact(*at));
        let contradicted = in_other_order.is_some_and(|at| !self.is_exact(at));
        match (sender, exact, exact_elsewhere) {
            // A token that takes its fee from the payer reports it as one more transfer.
            (Sender::Ours, Some(exact), _) | (Sender::Ours, None, Some(exact)) => self.paid(nth, exact),
            (Sender::Stranger, Some(exact), _) if !contradicted => self.paid(nth, exact),
            (Sender::Stranger, Some(_), _) | (Sender::Stranger, None, Some(_)) => Trace::Ambiguous,
            (Sender::Ours | Sender::Stranger, None, None) => Trace::UsedOtherwise,
        }
    }

    /// Of uses without a transfer next to them: as many exact transfers left over prove them all.
    fn by_count(&self, nth: usize, order: Order) -> Trace {
        let mut taken = Vec::new();
        let mut open = Vec::new();
        for other in 0..self.uses.len() {
            match self.nearest(other, order) {
                Some(at) => taken.push(at),
                None => open.push(other),
            }
        }
        let left: Vec<usize> = (0..self.moves.len())
            .filter(|at| self.is_exact(*at) && !taken.contains(at))
            .collect();
        let place = open.iter().position(|other| *other == nth);
        match place.and_then(|place| left.get(place)) {
            Some(exact) if left.len() >= open.len() => self.paid(nth, *exact),
            Some(_) | None => Trace::UsedOtherwise,
        }
    }

    fn nearest(&self, nth: usize, order: Order) -> Option<usize> {
        self.transfers(nth, order).first().copied()
    }

    /// The transfers between a use and the next one in this order, nearest first.
    fn transfers(&self, nth: usize, order: Order) -> Vec<usize> {
        let Some(at) = self.uses.get(nth).copied() else {
            return Vec::new();
        };
        let is_transfer = |at: &usize| matches!(self.moves.get(*at), Some((_, Event::Moved(..))));
        match order {
            Order::UseFirst => {
                let next = nth.checked_add(1).and_then(|next| self.uses.get(next)).copied();
                let after: Range<usize> = at..next.unwrap_or(self.moves.len());
                after.filter(is_transfer).collect()
            }
            Order::TransferFirst => {
                let previous = nth.checked_sub(1).and_then(|previous| self.uses.get(previous));
                let before: Range<usize> = previous.copied().unwrap_or(0)..at;
                before.rev().filter(is_transfer).collect()
            }
        }
    }

    fn is_exact(&self, at: usize) -> bool {
        matches!(
            self.moves.get(at),
            Some((_, Event::Moved(_, to, value))) if *to == self.memo.pay_to && *value == self.memo.value.0
        )
    }

    fn paid(&self, nth: usize, transfer: usize) -> Trace {
        let id = |at: usize| self.moves.get(at).map(|(id, _)| (*id).to_owned());
        let used = self.uses.get(nth).copied().and_then(id);
        match (used, id(transfer)) {
            (Some(used), Some(moved)) => Trace::Paid([used, moved]),
            _ => Trace::UsedOtherwise,
        }
    }
}

enum Event {
    Used(Address, B256),
    Canceled(Address, B256),
    Moved(Address, Address, U256),
}

impl Event {
    /// All three index their first two members, so topics are compared as whole 32 bytes: dirt in the upper bytes of an address
    /// makes it another event.
    fn read(log: &LogEntry) -> Option<Self> {
        let words: Vec<B256> = log.topics.iter().map(word).collect::<Option<_>>()?;
        let [topic, payer, second] = words.as_slice() else {
            return None;
        };
        let payer = account(payer)?;
        match *topic {
            AUTHORIZATION_USED_TOPIC if log.data.is_empty() => Some(Self::Used(payer, *second)),
            AUTHORIZATION_CANCELED_TOPIC if log.data.is_empty() => Some(Self::Canceled(payer, *second)),
            TRANSFER_TOPIC => Some(Self::Moved(payer, account(second)?, word(&log.data)?.into())),
            _ => None,
        }
    }

    fn payer(&self) -> Address {
        match self {
            Self::Used(payer, _) | Self::Canceled(payer, _) | Self::Moved(payer, ..) => *payer,
        }
    }
}

fn word(bytes: &HexBytes) -> Option<B256> {
    B256::try_from(bytes.as_ref()).ok()
}

fn account(word: &B256) -> Option<Address> {
    let address = Address::from_word(*word);
    (address.into_word() == *word).then_some(address)
}
