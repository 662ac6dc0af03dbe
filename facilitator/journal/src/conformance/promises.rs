//! What verifies promise, over two nodes on one journal.

use std::time::Duration;

use sdk_plugin::Amount;
use sdk_plugin::scheme::Reserve;

use super::*;
use crate::reservations::{MAX_OF_TENANT_AND_PAYER, Promise, Promised};

/// How a promise differs.
type Change = fn(&mut Promise);

/// Longer than any of these cases.
const HOUR: Duration = Duration::from_secs(3_600);

/// A promise of 40 of the payer's 100.
pub(crate) fn promise(claim: &str, tenant: &str) -> Promise {
    Promise {
        claim: claim.to_owned(),
        fingerprint: format!("terms \u{0} of {tenant}"),
        tenant: tenant.to_owned(),
        network: "n".to_owned(),
        payer: "p".to_owned(),
        reserves: vec![Reserve {
            asset: "a".to_owned(),
            payer: "p".to_owned(),
            amount: Amount::from(40_u64),
            available: Amount::from(100_u64),
            as_of_height: 1,
            refusal_reason: String::new(),
        }],
        lasts: HOUR,
    }
}

async fn reserve(node: &Arc<dyn Journal>, promise: &Promise) -> Promised {
    let shared = node.shared().expect("the journal is shared");
    shared.reserve(promise).await.unwrap()
}

async fn end(node: &Arc<dyn Journal>, claim: &str, tenant: Option<&str>) -> bool {
    let shared = node.shared().expect("the journal is shared");
    shared.end_reservation(claim, tenant).await.unwrap()
}

/// Of many tenants at two nodes one gets the promise of an authorization, until it ends.
pub async fn t171_one_tenant_gets_the_promise_of_all_nodes(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    let mut reserved = 0_u32;
    for pair in 0..10 {
        let (first, second) = (
            promise("k", &format!("tenant {pair}")),
            promise("k", &format!("tenant {pair} of b")),
        );
        let (first, second) = tokio::join!(reserve(&a, &first), reserve(&b, &second));
        for promised in [first, second] {
            assert_ne!(promised, Promised::Unlimited, "{name}");
            reserved += u32::from(promised == Promised::Reserved);
        }
    }
    assert_eq!(reserved, 1, "{name}");
    end(&b, "k", None).await;
    // One that ends at once is in nobody's way.
    let short = Promise {
        lasts: Duration::ZERO,
        ..promise("k", "short")
    };
    assert_eq!(reserve(&a, &short).await, Promised::Reserved, "{name}");
    assert!(!end(&a, "k", Some("short")).await, "it has ended; {name}");
    assert_eq!(
        reserve(&b, &promise("k", "late")).await,
        Promised::Reserved,
        "{name}"
    );
    assert_eq!(
        reserve(&a, &promise("k", "late")).await,
        Promised::Reserved,
        "its own, again; {name}"
    );
    let other_terms = Promise {
        fingerprint: "other terms".to_owned(),
        ..promise("k", "late")
    };
    assert_eq!(reserve(&a, &other_terms).await, Promised::Refused, "{name}");
    assert!(!end(&a, "k", Some("another")).await, "{name}");
    assert!(end(&a, "k", Some("late")).await, "{name}");
    assert!(!end(&b, "k", Some("late")).await, "{name}");
}

/// No more than a balance is promised by all nodes together.
pub async fn t171_a_balance_is_promised_once_by_all_nodes(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    let mut reserved = 0_u32;
    for pair in 0..4 {
        let (first, second) = (
            promise(&format!("a{pair}"), "one"),
            promise(&format!("b{pair}"), "two"),
        );
        let (first, second) = tokio::join!(reserve(&a, &first), reserve(&b, &second));
        reserved += u32::from(first == Promised::Reserved) + u32::from(second == Promised::Reserved);
    }
    assert_eq!(reserved, 2, "120 of 100; {name}");
    let of = |claim: &str, amount: Amount| {
        let mut promise = promise(claim, "one");
        promise.reserves[0].amount = amount;
        promise
    };
    assert_eq!(
        reserve(&a, &of("rest", Amount::from(20_u64))).await,
        Promised::Reserved,
        "{name}"
    );
    assert_eq!(
        reserve(&b, &of("one", Amount::from(1_u64))).await,
        Promised::Refused,
        "{name}"
    );
    assert_eq!(
        reserve(&b, &of("all", Amount::MAX)).await,
        Promised::Refused,
        "{name}"
    );
    // Another balance, by each part of its key; and two reserves of one promise add up.
    let changes: [(&str, Change); 4] = [
        ("network", |promise| promise.network = "m".to_owned()),
        ("asset", |promise| promise.reserves[0].asset = "b".to_owned()),
        ("payer", |promise| promise.reserves[0].payer = "q".to_owned()),
        ("twice", |promise| {
            promise.reserves[0].payer = "r".to_owned();
            promise.reserves.push(promise.reserves[0].clone());
        }),
    ];
    for (claim, change) in changes {
        let mut elsewhere = promise(claim, "two");
        change(&mut elsewhere);
        assert_eq!(
            reserve(&b, &elsewhere).await,
            Promised::Reserved,
            "{claim}; {name}"
        );
    }
    let mut third = promise("third", "two");
    third.reserves[0].payer = "r".to_owned();
    assert_eq!(
        reserve(&a, &third).await,
        Promised::Refused,
        "80 are promised; {name}"
    );
    end(&a, "twice", None).await;
    assert_eq!(reserve(&a, &third).await, Promised::Reserved, "{name}");
}

/// A tenant holds a bounded number of promises of one payer, over all nodes.
pub async fn a_tenant_holds_a_bounded_number_of_promises(name: &str, nodes: [Arc<dyn Journal>; 2]) {
    let free = |claim: String, tenant: &str| Promise {
        reserves: Vec::new(),
        ..promise(&claim, tenant)
    };
    for number in 0..MAX_OF_TENANT_AND_PAYER {
        let promise = free(number.to_string(), "one");
        assert_eq!(
            reserve(&nodes[number % 2], &promise).await,
            Promised::Reserved,
            "{name}"
        );
    }
    let [a, b] = &nodes;
    assert_eq!(
        reserve(a, &free("more".into(), "one")).await,
        Promised::Unlimited,
        "{name}"
    );
    assert_eq!(
        reserve(b, &free("0".into(), "one")).await,
        Promised::Reserved,
        "a renewal; {name}"
    );
    assert_eq!(
        reserve(b, &free("more".into(), "two")).await,
        Promised::Reserved,
        "{name}"
    );
}
