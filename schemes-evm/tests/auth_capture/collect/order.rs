//! Tables of refusals, and what every row of them must be: the specified reason from verify and from plan, nothing but
//! reads, and in the specified order among the others.

use schemes_evm::auth_capture::config::Config;
use sdk_plugin::PaymentRequest;

use super::offer::{ASSET, Offer, config};
use super::world::{Chain, World};

/// A good payment that a case breaks in one member.
pub struct Draft {
    pub offer: Offer,
    pub chain: Chain,
    pub config: Config,
    pub assets: Vec<String>,
    pub tenant: Option<&'static str>,
    /// Made to the signed request.
    pub edits: Vec<fn(&mut PaymentRequest)>,
}

impl Draft {
    pub fn of(offer: Offer) -> Self {
        Self {
            offer,
            chain: Chain::default(),
            config: config(),
            assets: vec![ASSET.into()],
            tenant: None,
            edits: Vec::new(),
        }
    }

    pub fn edit(&mut self, edit: fn(&mut PaymentRequest)) {
        self.edits.push(edit);
    }

    pub fn request(&self) -> PaymentRequest {
        let mut request = self.offer.signed();
        request.tenant = self.tenant.map(str::to_owned);
        for edit in &self.edits {
            edit(&mut request);
        }
        request
    }

    pub fn world(&self) -> World {
        let mut world = World::new(self.config.clone(), self.chain.clone());
        world.assets = Some(self.assets.clone());
        world
    }
}

/// One way to break one check.
pub struct Case {
    /// Row of the note's table.
    pub step: u8,
    pub reason: &'static str,
    pub base: fn() -> Offer,
    pub break_it: fn(&mut Draft),
}

impl Case {
    fn draft(&self) -> Draft {
        let mut draft = Draft::of((self.base)());
        (self.break_it)(&mut draft);
        draft
    }
}

/// Every case has its reason from verify and plan, and costs no round trip before `first_chain_step`.
pub fn each_has_its_reason(cases: &[Case], first_chain_step: u8) {
    for case in cases {
        let draft = case.draft();
        let (world, request) = (draft.world(), draft.request());
        let refusal = world.refused(&request);
        let at = format!("step {} {}: {refusal:?}", case.step, case.reason);
        assert_eq!(refusal.reason, case.reason, "{at}");
        assert!(refusal.message.is_some_and(|message| !message.is_empty()), "{at}");
        let trips = world.batches().len();
        if case.step < first_chain_step {
            assert_eq!(trips, 0, "{at}");
        } else {
            // One more for an account with code whose key signed, and one in which two nodes report it.
            assert!(trips <= 3, "{at}: {trips} round trips");
        }
    }
}

/// Two broken checks are answered with the earlier one's reason. The later one is broken first, so that the earlier one
/// stays broken where both are about one member; `same_member` are the steps where that takes more. A simulation that
/// fails without a reason of its own is why the balance is read, so that one is no pair.
pub fn the_first_broken_check_answers(cases: &[Case], same_member: &[(u8, u8)]) {
    let mut pairs = 0;
    let mut wrong = Vec::new();
    for first in cases {
        let mut seen = None;
        for second in cases {
            // Of the later step one way to break it is enough.
            if seen == Some(second.step) || !std::ptr::fn_addr_eq(first.base, second.base) {
                continue;
            }
            let explained = first.reason.ends_with("simulation_failed")
                && second.reason.ends_with("insufficient_balance");
            let apart = explained || same_member.contains(&(first.step, second.step));
            if first.step >= second.step || apart {
                continue;
            }
            seen = Some(second.step);
            let mut draft = second.draft();
            (first.break_it)(&mut draft);
            let refusal = draft.world().verify(&draft.request()).expect_err("refused");
            if refusal.reason != first.reason {
                wrong.push((first.step, first.reason, second.step, second.reason, refusal));
            }
            pairs += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(pairs > 100, "{pairs}");
}
