//! Whatever is changed in a signed order, nothing else than what was signed is ever sent; and no request to a route is too
//! strange for an answer.

use std::sync::LazyLock;

use proptest::prelude::*;
use schemes_evm::auth_capture::deployment::{V1_0, V1_1};
use sdk_plugin::fault::FaultKind;
use sdk_plugin::scheme::{Planned, RouteRequest, RouteResponse};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{PaymentRequest, SchemeHandler, Value};
use serde_json::json;

use super::world::*;

/// Signed once: debug builds are slow at it.
static ORDERS: LazyLock<Vec<PaymentRequest>> = LazyLock::new(|| {
    let both = |payment: Payment| {
        [
            payment.capture(400_000, balances(HELD, HELD)),
            payment.capture_and_void(400_000, balances(HELD, HELD)),
            payment.void(),
            payment.refund(400_000, balances(HELD, HELD)),
        ]
    };
    [both(Payment::on(V1_1)), both(Payment::on(V1_0))].concat()
});

fn world() -> World {
    World::on(|chain| chain.state = state_result(true, HELD, HELD))
}

/// The calls that an order becomes.
fn sent(world: &World, request: &PaymentRequest) -> Option<Vec<Value>> {
    match block_on(world.scheme.plan(&world.cx(), request)) {
        Ok(Planned::Plan(plan)) => Some(
            plan.steps
                .iter()
                .map(|step| serde_json::to_value(&step.call).unwrap())
                .collect(),
        ),
        Ok(Planned::Refused(refusal)) => {
            assert!(!refusal.reason.is_empty());
            None
        }
        Ok(Planned::Done(done)) => panic!("{done:?}"),
        Err(fault) => {
            // The only one that a caller can cause: another network than the call's, which the core never sends.
            assert_eq!(fault.kind, FaultKind::Internal, "{fault}");
            None
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0u64..2_000_000).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0u64..2_000_000).prop_map(|number| number.to_string().into()),
        "0x[0-9a-fA-F]{40}".prop_map(Value::from),
        "0x[0-9a-f]{64}".prop_map(Value::from),
        "0x([0-9a-f]{2}){0,70}".prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        prop::sample::select(vec![
            "capture",
            "void",
            "refund",
            "escrow",
            "authorization",
            "custom"
        ])
        .prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
    ]
}

/// Members of a payload, of its payment info, and of the requirements' extra.
const OUTER: [&str; 13] = [
    "type",
    "paymentInfo",
    "saltNonce",
    "amount",
    "feeAmount",
    "feeBps",
    "feeReceiver",
    "expectedCapturableAmount",
    "expectedRefundableAmount",
    "authorizerSignature",
    "voidAuthorizerSignature",
    "voidRemainder",
    "authorization",
];
const INFO: [&str; 12] = [
    "operator",
    "payer",
    "receiver",
    "token",
    "maxAmount",
    "preApprovalExpiry",
    "authorizationExpiry",
    "refundExpiry",
    "minFeeBps",
    "maxFeeBps",
    "feeReceiver",
    "salt",
];
const EXTRA: [&str; 14] = [
    "name",
    "version",
    "authCaptureEscrow",
    "captureAuthorizer",
    "receiverAuthorizer",
    "captureDeadline",
    "refundDeadline",
    "feeRecipient",
    "minFeeBps",
    "maxFeeBps",
    "paymentFlow",
    "captureMode",
    "operatorType",
    "policy",
];

fn change(request: &mut PaymentRequest, at: usize, value: Value) {
    if let Some(name) = OUTER.get(at) {
        request.payload.insert((*name).into(), value);
    } else if let Some(name) = INFO.get(at - OUTER.len()) {
        if let Some(info) = request
            .payload
            .get_mut("paymentInfo")
            .and_then(Value::as_object_mut)
        {
            info.insert((*name).into(), value);
        }
    } else if let Some(name) = EXTRA.get(at - OUTER.len() - INFO.len()) {
        request.requirements.extra.insert((*name).into(), value);
    } else {
        let text = value.as_str().unwrap_or_default().to_owned();
        match at - OUTER.len() - INFO.len() - EXTRA.len() {
            0 => request.requirements.asset = text,
            1 => request.requirements.pay_to = text,
            2 => {
                request.accepted.raw.insert("amount".into(), value);
            }
            _ => request.tenant = value.as_str().map(str::to_owned),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_but_what_was_signed_is_sent(
        order in 0usize..8,
        changes in prop::collection::vec((0usize..43, any_json()), 1..3),
    ) {
        let world = world();
        let honest = &ORDERS[order];
        let signed = sent(&world, honest).expect("honest orders are sent");
        let mut changed = honest.clone();
        for (at, value) in changes {
            change(&mut changed, at, value);
        }
        if let Some(calls) = sent(&world, &changed) {
            // A capture without its close-out is an order of its own: the void is signed apart.
            let is_signed = calls == signed || (calls.len() == 1 && calls[..] == signed[..1]);
            prop_assert!(is_signed, "{changed:?}");
        }
        // And whatever it is, the core can distinguish it from others, or gets the reason why not.
        let _ = world.identify(&changed);
        let _ = world.verify(&changed);
    }

    #[test]
    fn every_route_request_has_an_answer(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "HEAD", ""]),
        what in prop::sample::select(vec!["", "/capture", "/void", "/refund", "/digest", "/usage", "/x", "/"]),
        known in any::<bool>(),
        name in "\\PC{0,40}",
        query in prop::collection::vec(
            (prop::sample::select(vec!["receiver", "operator", "state", "deadline", "limit", "after", "tenant",
                "operation", "amount", "expectedCapturableAmount"]), "\\PC{0,30}|0x[0-9a-f]{40}|[0-9]{0,20}|held|capture"),
            0..4,
        ),
        body in prop::collection::vec((0usize..13, any_json()), 0..6),
        is_object in any::<bool>(),
    ) {
        let payment = Payment::delegated();
        let world = world();
        world.knows(&payment, TENANT);
        let id = if known { payment.hash().to_string() } else { name };
        let body = if is_object {
            body.iter().map(|(at, value)| (OUTER[*at].to_owned(), value.clone())).collect::<Value>()
        } else {
            body.first().map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let request = RouteRequest {
            method: method.into(),
            path: if id.is_empty() { "/payments".into() } else { format!("/payments/{id}{what}") },
            query: query.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            body,
            headers: Vec::new(),
            tenant: Some(TENANT.into()),
            idempotency_key: None,
            outcome: None,
        };
        match block_on(world.scheme.route(&world.cx(), &request)) {
            Ok(RouteResponse::Reply { status, .. }) => {
                prop_assert!([200, 400, 403, 404, 405, 409].contains(&status), "{status}");
            }
            Ok(RouteResponse::Settle { request }) => {
                prop_assert_eq!(request.tenant.as_deref(), Some(TENANT));
                let _ = world.plan(&request);
            }
            Err(fault) => prop_assert_eq!(fault.kind, FaultKind::Unsupported),
        }
    }
}
