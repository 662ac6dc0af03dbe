//! Events for tests: settlements, attempts and payments with plausible rows.

use sdk_plugin::chain::Lane;
use sdk_plugin::scheme::{
    Call, EvidenceWanted, Gate, Hold, LaneChoice, OnFail, PaidReply, Plan, Reserve, Step,
};
use sdk_plugin::{Amount, HexBytes, ProtocolVersion, StepIndex};
use serde_json::json;

use super::*;

/// The network of every event here.
pub const NETWORK: &str = "eip155:84532";

/// The lane of every attempt here.
pub fn lane() -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: "0xa".into(),
        key: "hot".into(),
        ordered: true,
    }
}

/// A settlement with one step, which pays.
pub fn opened(id: u64, claim: &str) -> Event {
    opened_with(id, claim, |_, _, _| {})
}

/// The same, changed before it is opened.
pub fn opened_with(
    id: u64,
    claim: &str,
    change: impl FnOnce(&mut SettlementRow, &mut Vec<Reserve>, &mut Vec<Hold>),
) -> Event {
    let mut row = SettlementRow {
        id,
        claim: claim.into(),
        generation: 0,
        plugin: "evm".into(),
        scheme: "exact".into(),
        version: ProtocolVersion::V2,
        network: NETWORK.into(),
        tenant: None,
        fingerprint: "f".into(),
        digest: "d".into(),
        request: "r".into(),
        payload: String::new(),
        replay_reason: "used".into(),
        replayable_until_s: Some(9),
        payer: "0xb".into(),
        conflict_keys: vec![],
        reference: String::new(),
        pay_to: String::new(),
        asset: String::new(),
        amount: None,
        idempotency_key: None,
        expires_at_s: None,
        home: None,
        handed_over: false,
        opened_at_ms: 1,
        updated_at_ms: 0,
        second_source: false,
        steps: vec![StepRow {
            state: StepState::Waiting,
            pays: true,
            is_final: false,
            ground: None,
        }],
        outcome: Outcome::Open,
        release: None,
        tx_id: None,
        finished: false,
        withheld: false,
        costs: Vec::new(),
    };
    let (mut reserves, mut holds) = (vec![], vec![]);
    change(&mut row, &mut reserves, &mut holds);
    let plan = format!("plan of {claim}");
    Event::Opened(Box::new(NewSettlement::new(row, plan, reserves, holds)))
}

/// A transaction for the first step of `settlement`, in the slot `sequence`.
pub fn prepared(id: u64, settlement: u64, sequence: u64) -> Event {
    let row = AttemptRow {
        id,
        lane: lane(),
        sequence,
        tx_id: format!("0xt{id}"),
        kind: AttemptKind::Steps,
        covers: vec![(settlement, StepIndex::FIRST)],
        max_cost: Amount::from(7u64),
        bid: json!({"fee": "1"}),
        since_height: 3,
        prepared_at_ms: 2,
        sent: false,
    };
    Event::Prepared(Box::new(NewAttempt::new(
        row,
        HexBytes(id.to_be_bytes().to_vec()),
    )))
}

/// The first step has paid, shown by this piece of evidence.
pub fn paid(settlement: u64, item: &str) -> Event {
    Event::Paid {
        settlement,
        step: StepIndex::FIRST,
        tx_id: "0xt".into(),
        height: 50,
        items: vec![item.into()],
        reply: PaidReply {
            payer: "0xb".into(),
            ..PaidReply::default()
        },
        repeatable: false,
    }
}

/// A plan with one step, which calls `operation` on `target` and pays.
pub fn plan(target: &str, operation: &str) -> Plan {
    let step = Step {
        call: Call {
            target: target.into(),
            operation: operation.into(),
            data: HexBytes(vec![0x11; 4]),
            native_value: Amount::ZERO,
            compute_limit: None,
        },
        lane: LaneChoice::Any,
        gate: Gate::None,
        on_fail: OnFail::Stop,
        batchable: false,
        one_per_payer: false,
        renewable: false,
        max_cost: None,
        expires_at_s: None,
        evidence: EvidenceWanted::default(),
        pays: true,
        memo: sdk_plugin::Value::Null,
    };
    Plan {
        payer: "p".into(),
        steps: vec![step],
        ..Plan::default()
    }
}
