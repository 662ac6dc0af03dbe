//! Payments that a verify has promised to one seller. Source: status-and-reservations.md, section 3.
//!
//! A reservation is a promise, not money: it refuses a second promise, and never a settlement. Therefore a process that is
//! alone keeps its own in memory, and a restart forgets all of them. Nodes that share a journal share them too:
//! [`Shared::reserve`](crate::lease::Shared::reserve).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use sdk_plugin::Amount;
use sdk_plugin::scheme::Reserve;
use tokio::time::Instant;

/// The most reservations that one tenant may hold of one payer.
pub(crate) const MAX_OF_TENANT_AND_PAYER: usize = 64;
/// The most reservations in memory.
const MAX_RESERVATIONS: usize = 100_000;

/// A valid payment that a tenant wants to have promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// Plugin, network and the scheme's claim key.
    pub claim: String,
    /// Hash over the terms and the tenant.
    pub fingerprint: String,
    /// Who gets the promise.
    pub tenant: String,
    /// CAIP-2.
    pub network: String,
    /// The payer's address.
    pub payer: String,
    /// What it needs of balances, and what the verify read of them.
    pub reserves: Vec<Reserve>,
    /// How long it lasts.
    pub lasts: Duration,
}

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promised {
    /// Reserved, or renewed.
    Reserved,
    /// Not reserved, because too much is reserved already. The verdict stays as it is.
    Unlimited,
    /// Promised to another seller, or more than the payer has beside what is promised.
    Refused,
}

/// Reservations of one process.
#[derive(Debug, Default)]
pub struct MemoryReservations(Mutex<Table>);

/// A balance: network, asset and payer.
type Account = (String, String, String);
/// Tenant, network and payer.
type Holder = (String, String, String);

#[derive(Debug)]
struct Row {
    fingerprint: String,
    tenant: String,
    holder: Holder,
    amounts: Vec<(Account, Amount)>,
    ends: Instant,
}

#[derive(Debug, Default)]
struct Table {
    /// By claim.
    rows: BTreeMap<String, Row>,
    /// In the order in which they end, with their claims.
    ends: BTreeSet<(Instant, String)>,
    /// The claims that count on a balance.
    accounts: BTreeMap<Account, BTreeSet<String>>,
    /// How many reservations each tenant holds of each payer.
    held: BTreeMap<Holder, usize>,
}

impl MemoryReservations {
    /// Reserves a payment, in one step with the check that nothing contradicts it. A reservation with the same claim and
    /// fingerprint is renewed.
    pub fn reserve(&self, promise: Promise) -> Promised {
        self.0.lock().reserve(promise, Instant::now())
    }

    /// Ends the reservation of a claim, whichever tenant holds it.
    pub fn end(&self, claim: &str) {
        self.0.lock().remove(claim);
    }

    /// Ends the reservation of a claim if this tenant holds it. Returns whether it did.
    pub fn end_of(&self, claim: &str, tenant: &str) -> bool {
        let mut table = self.0.lock();
        table.remove_ended(Instant::now());
        let is_held = table.rows.get(claim).is_some_and(|row| row.tenant == tenant);
        if is_held {
            table.remove(claim);
        }
        is_held
    }
}

impl Table {
    fn reserve(&mut self, promise: Promise, now: Instant) -> Promised {
        self.remove_ended(now);
        let holder = (
            promise.tenant.clone(),
            promise.network.clone(),
            promise.payer.clone(),
        );
        match self.rows.get(&promise.claim) {
            Some(row) if row.fingerprint != promise.fingerprint => return Promised::Refused,
            // The promise was made when the balance was enough for it.
            Some(_) => {
                self.remove(&promise.claim);
            }
            None => {
                if !self.fits(&promise) {
                    return Promised::Refused;
                }
                let is_full = self.rows.len() >= MAX_RESERVATIONS
                    || self
                        .held
                        .get(&holder)
                        .is_some_and(|held| *held >= MAX_OF_TENANT_AND_PAYER);
                if is_full {
                    return Promised::Unlimited;
                }
            }
        }
        self.insert(promise, holder, now);
        Promised::Reserved
    }

    /// Whether each balance is enough beside everything that is promised of it.
    fn fits(&self, promise: &Promise) -> bool {
        let accounts = promise
            .reserves
            .iter()
            .map(|reserve| (account(&promise.network, reserve), reserve));
        let wanted: Vec<(Account, &Reserve)> = accounts.collect();
        wanted.iter().all(|(account, reserve)| {
            let own = wanted
                .iter()
                .filter(|(other, _)| other == account)
                .map(|(_, reserve)| reserve.amount);
            let promised = self.accounts.get(account);
            let promised = promised
                .into_iter()
                .flatten()
                .filter_map(|claim| self.rows.get(claim))
                .flat_map(|row| &row.amounts)
                .filter(|(other, _)| other == account)
                .map(|(_, amount)| *amount);
            // An overflow is more than any balance.
            let sum = own
                .chain(promised)
                .try_fold(Amount::ZERO, |sum, amount| sum.checked_add(amount));
            sum.is_some_and(|sum| sum <= reserve.available)
        })
    }

    fn insert(&mut self, promise: Promise, holder: Holder, now: Instant) {
        let Promise {
            claim,
            fingerprint,
            tenant,
            network,
            payer: _,
            reserves,
            lasts,
        } = promise;
        // A time that can't be represented never comes; nothing is reserved for so long.
        let ends = now.checked_add(lasts).unwrap_or(now);
        let amounts: Vec<(Account, Amount)> = reserves
            .iter()
            .map(|reserve| (account(&network, reserve), reserve.amount))
            .collect();
        for (account, _) in &amounts {
            let claims = self.accounts.entry(account.clone()).or_default();
            claims.insert(claim.clone());
        }
        let held = self.held.entry(holder.clone()).or_default();
        *held = held.saturating_add(1);
        self.ends.insert((ends, claim.clone()));
        let row = Row {
            fingerprint,
            tenant,
            holder,
            amounts,
            ends,
        };
        self.rows.insert(claim, row);
    }

    fn remove(&mut self, claim: &str) {
        let Some(row) = self.rows.remove(claim) else {
            return;
        };
        self.ends.remove(&(row.ends, claim.to_owned()));
        for (account, _) in &row.amounts {
            if let Some(claims) = self.accounts.get_mut(account) {
                claims.remove(claim);
                if claims.is_empty() {
                    self.accounts.remove(account);
                }
            }
        }
        if let Some(held) = self.held.get_mut(&row.holder) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&row.holder);
            }
        }
    }

    fn remove_ended(&mut self, now: Instant) {
        while let Some((ends, claim)) = self.ends.first().cloned() {
            if ends > now {
                return;
            }
            self.remove(&claim);
        }
    }
}

fn account(network: &str, reserve: &Reserve) -> Account {
    (network.to_owned(), reserve.asset.clone(), reserve.payer.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A promise of 40 of the payer's 100, for a minute.
    fn promise(claim: &str, tenant: &str) -> Promise {
        Promise {
            lasts: MINUTE,
            ..crate::conformance::promises::promise(claim, tenant)
        }
    }

    fn of_amount(claim: &str, amount: Amount) -> Promise {
        let mut promise = promise(claim, "one");
        promise.reserves[0].amount = amount;
        promise
    }

    fn empty(table: &MemoryReservations) {
        table.0.lock().remove_ended(Instant::now());
        let table = table.0.lock();
        assert!(
            table.rows.is_empty()
                && table.ends.is_empty()
                && table.accounts.is_empty()
                && table.held.is_empty(),
            "{table:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn t171_one_of_twenty_tenants_gets_the_promise_until_it_ends() {
        let table = MemoryReservations::default();
        let mut reserved = 0_u32;
        for tenant in 0..20 {
            match table.reserve(promise("k", &format!("tenant {tenant}"))) {
                Promised::Reserved => reserved += 1,
                Promised::Refused => {}
                Promised::Unlimited => panic!("no limit is reached"),
            }
        }
        assert_eq!(reserved, 1);
        tokio::time::advance(MINUTE - Duration::from_millis(1)).await;
        assert_eq!(table.reserve(promise("k", "tenant 7")), Promised::Refused);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(table.reserve(promise("k", "tenant 7")), Promised::Reserved);
        tokio::time::advance(MINUTE).await;
        empty(&table);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_tenant_renews_its_reservation_with_the_same_terms_only() {
        let table = MemoryReservations::default();
        assert_eq!(table.reserve(promise("k", "one")), Promised::Reserved);
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(table.reserve(promise("k", "one")), Promised::Reserved);
        let other_terms = Promise {
            fingerprint: "other terms".to_owned(),
            ..promise("k", "one")
        };
        assert_eq!(table.reserve(other_terms), Promised::Refused);
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(table.reserve(promise("k", "two")), Promised::Refused);
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(table.reserve(promise("k", "two")), Promised::Reserved);
    }

    #[tokio::test(start_paused = true)]
    async fn not_more_than_the_balance_is_promised() {
        let table = MemoryReservations::default();
        assert_eq!(table.reserve(promise("k1", "one")), Promised::Reserved);
        assert_eq!(table.reserve(promise("k2", "one")), Promised::Reserved);
        assert_eq!(table.reserve(promise("k3", "two")), Promised::Refused);
        assert_eq!(
            table.reserve(promise("k1", "one")),
            Promised::Reserved,
            "a renewal does not count twice"
        );
        // Another balance, of each part of its key.
        for (claim, change) in [
            (
                "k4",
                (|promise| promise.network = "m".to_owned()) as fn(&mut Promise),
            ),
            ("k5", |promise| promise.reserves[0].asset = "b".to_owned()),
            ("k6", |promise| promise.reserves[0].payer = "q".to_owned()),
        ] {
            let mut elsewhere = promise(claim, "two");
            change(&mut elsewhere);
            assert_eq!(table.reserve(elsewhere), Promised::Reserved, "{claim}");
        }
        let exactly = of_amount("k7", Amount::from(20u64));
        assert_eq!(table.reserve(exactly), Promised::Reserved);
        let one_more = of_amount("k8", Amount::from(1u64));
        assert_eq!(table.reserve(one_more), Promised::Refused);
        let overflow = of_amount("k9", Amount::MAX);
        assert_eq!(table.reserve(overflow), Promised::Refused);
        table.end("k1");
        assert_eq!(table.reserve(promise("k3", "two")), Promised::Reserved);
    }

    #[tokio::test(start_paused = true)]
    async fn only_its_holder_ends_a_reservation_early() {
        let table = MemoryReservations::default();
        assert_eq!(table.reserve(promise("k", "one")), Promised::Reserved);
        assert!(!table.end_of("k", "two"));
        assert!(!table.end_of("other", "one"));
        assert!(table.end_of("k", "one"));
        assert!(!table.end_of("k", "one"));
        assert_eq!(table.reserve(promise("k", "two")), Promised::Reserved);
        table.end("k");
        empty(&table);
        assert_eq!(table.reserve(promise("k", "one")), Promised::Reserved);
        tokio::time::advance(MINUTE).await;
        assert!(!table.end_of("k", "one"), "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_holds_at_most_64_of_one_payer() {
        let table = MemoryReservations::default();
        let free = |claim: &str, tenant: &str| Promise {
            reserves: Vec::new(),
            ..promise(claim, tenant)
        };
        for n in 0..MAX_OF_TENANT_AND_PAYER {
            assert_eq!(table.reserve(free(&n.to_string(), "one")), Promised::Reserved);
        }
        assert_eq!(table.reserve(free("more", "one")), Promised::Unlimited);
        assert_eq!(table.reserve(free("more", "two")), Promised::Reserved);
        assert_eq!(table.reserve(free("0", "one")), Promised::Reserved, "a renewal");
        let of_another = Promise {
            payer: "q".to_owned(),
            ..free("again", "one")
        };
        assert_eq!(table.reserve(of_another), Promised::Reserved);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let table = MemoryReservations::default();
        for n in 0..MAX_RESERVATIONS + 10 {
            let payer = Promise {
                payer: n.to_string(),
                reserves: Vec::new(),
                ..promise(&n.to_string(), "one")
            };
            table.reserve(payer);
        }
        assert_eq!(table.0.lock().rows.len(), MAX_RESERVATIONS);
        tokio::time::advance(MINUTE).await;
        empty(&table);
    }
}
