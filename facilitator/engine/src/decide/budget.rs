//! Daily spending limits (UTC) of a network, of each of its signers and of each tenant on it. They bound the loss
//! when a hot key is misused or the price rises without end.
//!
//! Budgets count the worst-case cost of every recorded transaction, not the actual cost, so the limits hold even if
//! every transaction costs its maximum. They refuse only new settlements: a recorded settlement continues whatever
//! it costs, and its cost counts too. All sums can be recomputed from the journal.

use crate::registry::NetworkSettings;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::Amount;

const DAY_MS: u64 = 86_400_000;

/// Who pays for a transaction, and on whose behalf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spender {
    pub signer: String,
    /// How many of its steps are each tenant's. The tenant is charged that part of the cost, rounded up.
    pub tenants: BTreeMap<String, u64>,
    /// How many steps it carries.
    pub steps: u64,
}

impl Spender {
    /// Of a transaction with a step for each of these; `None`: a step without a tenant.
    pub(crate) fn new(signer: &str, tenants: impl IntoIterator<Item = Option<String>>) -> Self {
        let mut spender = Self {
            signer: signer.to_owned(),
            ..Self::default()
        };
        for tenant in tenants {
            spender.steps = spender.steps.saturating_add(1);
            if let Some(tenant) = tenant {
                let steps = spender.tenants.entry(tenant).or_default();
                *steps = steps.saturating_add(1);
            }
        }
        spender
    }

    /// The cost of one of its steps, rounded up.
    fn of_each(&self, cost: Amount) -> Amount {
        self.part(cost, 1)
    }

    fn part(&self, cost: Amount, steps: u64) -> Amount {
        let (steps, all) = (Amount::from(steps), Amount::from(self.steps.max(1)));
        // Divided first: the product may not fit.
        let (whole, rest) = cost.0.div_rem(all.0);
        let rest = rest.saturating_mul(steps.0).div_ceil(all.0);
        Amount(whole.saturating_mul(steps.0).saturating_add(rest)).min(cost)
    }
}

/// An account whose spending is summed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    Network,
    Signer(String),
    Tenant(String),
}

impl Account {
    /// The label value for metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Signer(_) => "signer",
            Self::Tenant(_) => "tenant",
        }
    }

    /// Whose it is: a signer's address or a tenant's name; empty for the whole network.
    pub(crate) fn holder(&self) -> &str {
        match self {
            Self::Network => "",
            Self::Signer(name) | Self::Tenant(name) => name,
        }
    }

    /// The message to callers once the budget is used up.
    pub(crate) fn used_up(&self) -> &'static str {
        match self {
            Self::Network => "this network's budget for today is used up",
            Self::Signer(_) => "the budget of this network's signer for today is used up",
            Self::Tenant(_) => "your budget on this network for today is used up",
        }
    }

    /// The configuration key of its limit.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Network => "max_cost_per_day",
            Self::Signer(_) => "max_cost_per_day_per_signer",
            Self::Tenant(_) => "tenants[].max_cost_per_day",
        }
    }
}

/// A daily limit that a transaction would exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverBudget {
    pub account: Account,
    pub limit: Amount,
    /// Whether this is the first refusal by the limit today.
    pub first: bool,
}

/// An account that needs more of what all nodes may spend together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    pub account: Account,
    pub limit: Amount,
    /// The least that it needs.
    pub missing: Amount,
}

/// A limit of the day and what was spent of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountState {
    pub account: Account,
    pub limit: Amount,
    pub spent: Amount,
}

/// Spending on one network.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Other nodes spend from the same limits: this one spends what it was granted of them.
    is_shared: bool,
    network: Option<Amount>,
    each_signer: Option<Amount>,
    tenants: BTreeMap<String, Amount>,
    today: Mutex<Today>,
}

#[derive(Debug, Default, Clone)]
struct Today {
    day: u64,
    /// Native atomic units.
    spent: BTreeMap<Account, Amount>,
    /// The lowest cost of a new settlement's transaction today. An account with less left can't pay for another
    /// one.
    least: Option<Amount>,
    refused: BTreeSet<Account>,
    /// What this node may spend, where other nodes spend from the same limits.
    granted: BTreeMap<Account, Amount>,
    /// Accounts of which nothing more is granted today.
    exhausted: BTreeSet<Account>,
}

/// The start of the UTC day that contains `now_ms`, in milliseconds since the epoch.
pub(crate) fn day_began_ms(now_ms: u64) -> u64 {
    now_ms - now_ms % DAY_MS
}

impl Budget {
    pub(crate) fn new(settings: &NetworkSettings, is_shared: bool) -> Self {
        Self {
            is_shared,
            network: settings.max_cost_per_day,
            each_signer: settings.max_cost_per_day_per_signer,
            tenants: settings.tenant_max_cost_per_day.clone(),
            today: Mutex::default(),
        }
    }

    /// Counts a recorded transaction, whatever the limits.
    pub(crate) fn charge(&self, now_ms: u64, cost: Amount, spender: &Spender) {
        self.of_day(now_ms).charge(cost, spender);
    }

    /// Counts a transaction that is about to be recorded.
    ///
    /// # Errors
    ///
    /// A daily limit that it would exceed. Nothing is counted then.
    pub(crate) fn take(&self, now_ms: u64, cost: Amount, spender: &Spender) -> Result<(), OverBudget> {
        // Checked and counted under one lock: other lanes of the network charge the same sums.
        let mut today = self.of_day(now_ms);
        let each = spender.of_each(cost);
        today.least = Some(today.least.map_or(each, |least| least.min(each)));
        for (account, part) in accounts(spender, cost) {
            let Some(limit) = self.limit(&account) else {
                continue;
            };
            let usable = self.usable(&today, &account, limit);
            let after = today.sum(&account).checked_add(part);
            if after.is_none_or(|after| after > usable) {
                let first = today.refused.insert(account.clone());
                return Err(OverBudget {
                    account,
                    limit,
                    first,
                });
            }
        }
        today.charge(cost, spender);
        Ok(())
    }

    /// Whether the daily limits leave room for a transaction. Counts nothing and refuses nothing.
    pub(crate) fn fits(&self, now_ms: u64, cost: Amount, spender: &Spender) -> bool {
        let today = self.of_day(now_ms);
        accounts(spender, cost).all(|(account, part)| {
            let after = today.sum(&account).checked_add(part);
            let limit = self.limit(&account);
            limit.is_none_or(|limit| after.is_some_and(|after| after <= limit))
        })
    }

    /// Reverts a [`Self::take`] whose transaction was not recorded.
    pub(crate) fn give_back(&self, now_ms: u64, cost: Amount, spender: &Spender) {
        let mut today = self.of_day(now_ms);
        if today.day != now_ms / DAY_MS {
            // The cost was counted on a day that is over.
            return;
        }
        for (account, part) in accounts(spender, cost) {
            let sum = today.spent.entry(account).or_default();
            *sum = Amount(sum.0.saturating_sub(part.0));
        }
    }

    /// The account that has too little left for the cheapest transaction of the day, if a payment of this tenant
    /// arrives now. `None` before the day's first transaction. Of the signers, one with enough left is enough.
    pub(crate) fn used_up(
        &self,
        now_ms: u64,
        tenant: Option<&str>,
        signers: impl FnOnce() -> Vec<String>,
    ) -> Option<Account> {
        let today = self.of_day(now_ms);
        let least = today.least?;
        let is_over = |account: &Account| {
            let after = today.sum(account).checked_add(least);
            let usable = self
                .limit(account)
                .map(|limit| self.usable_if_more(&today, account, limit));
            usable.is_some_and(|usable| after.is_none_or(|after| after > usable))
        };
        let tenant = tenant.map(|tenant| Account::Tenant(tenant.to_owned()));
        if let Some(over) = [Some(Account::Network), tenant]
            .into_iter()
            .flatten()
            .find(is_over)
        {
            return Some(over);
        }
        self.each_signer?;
        let signers: Vec<Account> = signers().into_iter().map(Account::Signer).collect();
        signers
            .iter()
            .all(is_over)
            .then(|| signers.first().cloned())
            .flatten()
    }

    /// Whether a signer's own limit leaves room for a transaction of this cost.
    pub(crate) fn signer_has(&self, now_ms: u64, cost: Amount, signer: &str) -> bool {
        let Some(limit) = self.each_signer else {
            return true;
        };
        let today = self.of_day(now_ms);
        let account = Account::Signer(signer.to_owned());
        let usable = self.usable_if_more(&today, &account, limit);
        let after = today.sum(&account).checked_add(cost);
        after.is_some_and(|after| after <= usable)
    }

    /// What has to be granted before a transaction of this cost can be taken.
    pub(crate) fn lacking(&self, now_ms: u64, cost: Amount, spender: &Spender) -> Vec<Lacking> {
        if !self.is_shared {
            return Vec::new();
        }
        let today = self.of_day(now_ms);
        accounts(spender, cost)
            .filter_map(|(account, part)| {
                let limit = self.limit(&account)?;
                let granted = today.granted.get(&account).copied().unwrap_or_default();
                let needed = today.sum(&account).checked_add(part).unwrap_or(Amount::MAX);
                (needed > granted).then(|| Lacking {
                    account,
                    limit,
                    missing: Amount(needed.0.saturating_sub(granted.0)),
                })
            })
            .collect()
    }

    /// Records what was granted for an account on the day that contains `now_ms`; nothing: no more is left.
    pub(crate) fn record_grant(&self, now_ms: u64, account: &Account, amount: Amount) {
        let mut today = self.of_day(now_ms);
        if today.day != now_ms / DAY_MS {
            return;
        }
        if amount == Amount::ZERO {
            today.exhausted.insert(account.clone());
        } else {
            let granted = today.granted.entry(account.clone()).or_default();
            *granted = granted.checked_add(amount).unwrap_or(Amount::MAX);
        }
    }

    /// Every limit that is configured, with what this node has spent of it today.
    pub(crate) fn states(&self, now_ms: u64, signers: &[String]) -> Vec<AccountState> {
        let today = self.of_day(now_ms);
        let signers = signers.iter().cloned().map(Account::Signer);
        let tenants = self.tenants.keys().cloned().map(Account::Tenant);
        let accounts = std::iter::once(Account::Network).chain(signers).chain(tenants);
        let states = accounts.filter_map(|account| {
            Some(AccountState {
                limit: self.limit(&account)?,
                spent: today.sum(&account),
                account,
            })
        });
        states.collect()
    }

    /// Whether nothing more is granted for an account today.
    pub(crate) fn is_exhausted(&self, now_ms: u64, account: &Account) -> bool {
        self.of_day(now_ms).exhausted.contains(account)
    }

    /// What this node may spend now.
    fn usable(&self, today: &Today, account: &Account, limit: Amount) -> Amount {
        if !self.is_shared {
            return limit;
        }
        let granted = today.granted.get(account).copied().unwrap_or_default();
        granted.min(limit)
    }

    /// What it may spend, as far as it is known that it gets no more.
    fn usable_if_more(&self, today: &Today, account: &Account, limit: Amount) -> Amount {
        if today.exhausted.contains(account) {
            self.usable(today, account, limit)
        } else {
            limit
        }
    }

    fn limit(&self, account: &Account) -> Option<Amount> {
        match account {
            Account::Network => self.network,
            Account::Signer(_) => self.each_signer,
            Account::Tenant(tenant) => self.tenants.get(tenant).copied(),
        }
    }

    /// The sums of the day that contains `now_ms`, or of a later day if one has started.
    fn of_day(&self, now_ms: u64) -> MutexGuard<'_, Today> {
        let mut today = self.today.lock();
        let day = now_ms / DAY_MS;
        if day > today.day {
            *today = Today {
                day,
                ..Today::default()
            };
        }
        today
    }
}

impl Today {
    fn charge(&mut self, cost: Amount, spender: &Spender) {
        for (account, part) in accounts(spender, cost) {
            let sum = self.spent.entry(account).or_default();
            *sum = sum.checked_add(part).unwrap_or(Amount::MAX);
        }
    }

    fn sum(&self, account: &Account) -> Amount {
        self.spent.get(account).copied().unwrap_or_default()
    }
}

/// Who is charged for a transaction of this cost, and how much of it.
fn accounts(spender: &Spender, cost: Amount) -> impl Iterator<Item = (Account, Amount)> + '_ {
    let whole = [Account::Network, Account::Signer(spender.signer.clone())].map(|account| (account, cost));
    let parts = spender
        .tenants
        .iter()
        .map(move |(tenant, steps)| (Account::Tenant(tenant.clone()), spender.part(cost, *steps)));
    whole.into_iter().chain(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: u64 = DAY_MS * 3 + 5;
    const TOMORROW: u64 = DAY_MS * 4;

    fn units(units: u64) -> Amount {
        Amount::from(units)
    }

    fn spender(signer: &str, tenants: &[&str]) -> Spender {
        Spender::new(signer, tenants.iter().map(|tenant| Some((*tenant).to_owned())))
    }

    #[test]
    fn t107_a_shared_transaction_is_charged_to_each_tenant_by_its_steps() {
        let all = budget(None, None, &[("shop", 100), ("cafe", 100)]);
        let tenants = [Some("shop"), Some("shop"), Some("cafe"), None].map(|one| one.map(str::to_owned));
        let of = Spender::new("0xa", tenants);
        assert!(all.take(TODAY, units(10), &of).is_ok());
        let sum = |account: Account| all.of_day(TODAY).sum(&account);
        assert_eq!(sum(Account::Tenant("shop".into())), units(5));
        assert_eq!(sum(Account::Tenant("cafe".into())), units(3), "rounded up");
        assert_eq!(sum(Account::Signer("0xa".into())), units(10));
        assert!(all.fits(TODAY, units(190), &of));
        assert!(!all.fits(TODAY, units(191), &of), "shop has 95 left");
        all.give_back(TODAY, units(10), &of);
        assert_eq!(sum(Account::Tenant("cafe".into())), units(0));
        // No product overflows.
        let most = Amount::MAX;
        assert_eq!(of.part(most, 4), most);
        assert!(of.part(most, 2) > Amount(most.0 / Amount::from(2_u64).0));
    }

    #[test]
    fn t107_a_node_spends_what_it_was_granted_of_a_shared_limit() {
        let shared = Budget {
            is_shared: true,
            ..budget(Some(10), None, &[])
        };
        let of = spender("0xa", &[]);
        let missing = |cost| {
            shared
                .lacking(TODAY, units(cost), &of)
                .first()
                .map(|lacking| lacking.missing)
        };
        assert!(shared.take(TODAY, units(1), &of).is_err(), "nothing was granted");
        assert_eq!(missing(4), Some(units(4)));
        shared.record_grant(TODAY, &Account::Network, units(5));
        assert_eq!(missing(4), None);
        assert!(shared.take(TODAY, units(4), &of).is_ok());
        assert_eq!(missing(4), Some(units(3)));
        assert!(shared.take(TODAY, units(4), &of).is_err());
        assert_eq!(shared.used_up(TODAY, None, Vec::new), None, "more may be granted");
        shared.record_grant(TODAY, &Account::Network, Amount::ZERO);
        assert!(
            shared.take(TODAY, units(1), &of).is_ok(),
            "what is left of its own"
        );
        assert_eq!(shared.used_up(TODAY, None, Vec::new), Some(Account::Network));
        assert!(
            shared.take(TOMORROW, units(1), &of).is_err(),
            "a new day begins with nothing"
        );
        assert_eq!(budget(Some(1), None, &[]).lacking(TODAY, units(9), &of), []);
    }

    fn budget(network: Option<u64>, signer: Option<u64>, tenants: &[(&str, u64)]) -> Budget {
        Budget {
            is_shared: false,
            network: network.map(units),
            each_signer: signer.map(units),
            tenants: tenants
                .iter()
                .map(|(name, most)| ((*name).to_owned(), units(*most)))
                .collect(),
            today: Mutex::default(),
        }
    }

    #[test]
    fn t107_a_day_has_a_limit_and_the_next_day_has_its_own() {
        let budget = budget(Some(10), None, &[]);
        let who = spender("a", &[]);
        let take = |at, cost| budget.take(at, units(cost), &who).is_ok();
        assert!(!take(TODAY, 11));
        assert!(take(TODAY, 6));
        assert!(!take(TODAY, 5));
        assert!(take(TODAY, 4), "a refusal counts nothing");
        budget.give_back(TODAY, units(4), &who);
        assert!(take(TODAY, 3));
        budget.charge(TODAY, units(50), &who);
        assert!(!take(TODAY, 1), "recorded transactions count");
        assert!(take(TOMORROW, 10));
        budget.give_back(TODAY, units(3), &who);
        assert!(!take(TOMORROW, 1), "a late return belongs to yesterday");
        budget.charge(TOMORROW, Amount::MAX, &who);
        assert!(budget.take(TOMORROW, Amount::MAX, &who).is_err(), "no overflow");
        assert_eq!(day_began_ms(TODAY), DAY_MS * 3);
    }

    #[test]
    fn t107_each_key_and_each_tenant_has_a_limit_of_its_own() {
        let budget = budget(Some(100), Some(10), &[("shop", 4)]);
        assert!(budget.take(TODAY, units(4), &spender("a", &["shop"])).is_ok());
        let refused = budget
            .take(TODAY, units(1), &spender("b", &["shop"]))
            .expect_err("the tenant's budget is used up, whichever key pays");
        assert_eq!(
            (refused.account, refused.limit, refused.first),
            (Account::Tenant("shop".into()), units(4), true)
        );
        let again = budget.take(TODAY, units(1), &spender("a", &["shop"]));
        assert!(again.is_err_and(|refused| !refused.first), "reported once a day");
        assert!(
            budget.take(TODAY, units(6), &spender("a", &["other"])).is_ok(),
            "other tenants continue"
        );
        assert!(!budget.signer_has(TODAY, units(1), "a"));
        assert!(budget.signer_has(TODAY, units(10), "b"));
        let refused = budget
            .take(TODAY, units(1), &spender("a", &[]))
            .expect_err("the key's budget is used up");
        assert_eq!(refused.account, Account::Signer("a".into()));
        assert!(budget.take(TODAY, units(10), &spender("b", &[])).is_ok());
        assert!(budget.signer_has(TOMORROW, units(10), "a"));
    }

    #[test]
    fn t107_a_used_up_budget_is_known_without_a_charge() {
        let signers = || vec!["a".to_owned(), "b".to_owned()];
        let used_up = |budget: &Budget, tenant| budget.used_up(TODAY, tenant, signers);
        let limited = budget(Some(20), Some(9), &[("shop", 4)]);
        assert_eq!(used_up(&limited, Some("shop")), None, "nothing is known yet");
        assert!(limited.take(TODAY, units(4), &spender("a", &["shop"])).is_ok());
        assert_eq!(
            used_up(&limited, Some("shop")),
            Some(Account::Tenant("shop".into()))
        );
        assert_eq!(used_up(&limited, None), None);
        assert!(limited.take(TODAY, units(4), &spender("a", &[])).is_ok());
        assert_eq!(used_up(&limited, None), None, "the other signer can pay");
        assert!(limited.take(TODAY, units(6), &spender("b", &[])).is_ok());
        assert_eq!(used_up(&limited, None), Some(Account::Signer("a".into())));
        assert_eq!(limited.used_up(TOMORROW, None, signers), None);
        let network = budget(Some(7), None, &[]);
        assert!(network.take(TODAY, units(4), &spender("a", &[])).is_ok());
        assert_eq!(used_up(&network, None), Some(Account::Network));
        let refused = budget(Some(3), None, &[]);
        assert!(refused.take(TODAY, units(4), &spender("a", &[])).is_err());
        assert_eq!(used_up(&refused, None), Some(Account::Network));
    }

    #[test]
    fn t107_without_a_limit_nothing_is_refused() {
        let budget = budget(None, None, &[]);
        let who = spender("a", &["shop"]);
        budget.charge(TODAY, Amount::MAX, &who);
        assert!(budget.take(TODAY, Amount::MAX, &who).is_ok());
        assert!(budget.signer_has(TODAY, Amount::MAX, "a"));
    }
}
