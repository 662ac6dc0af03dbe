//! What another `/settle` of a known claim gets: a pure function of the claim's row and of the caller.
//! A request that arrives before the first commit finds no row: [`crate::settle`] lets an equal one join.

use sdk_plugin::wire::SettleReply;

use journal::{Outcome, SettlementRow};

/// The caller and its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestIdentity {
    /// Hash over the scheme's fingerprint and the tenant.
    pub fingerprint: String,
    pub digest: String,
    pub tenant: Option<String>,
    pub idempotency_key: Option<String>,
    /// The caller gets `success` only once the payment is final.
    pub until_final: bool,
}

impl RequestIdentity {
    /// Whether the same tenant sent the same payload with the same terms.
    #[must_use]
    pub fn is_equal(&self, row: &SettlementRow) -> bool {
        self.fingerprint == row.fingerprint && self.digest == row.digest
    }
}

/// What to do for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Wait for the outcome with the other callers.
    Wait,
    /// The payment landed and no caller has the result: take the release, then reply `success`.
    TakeRelease,
    /// Repeat the recorded reply, byte for byte.
    Replay(String),
    /// `duplicate_settlement` with the hash.
    Duplicate { tx_id: String },
    /// The scheme's replay reason, without the hash.
    ReplayReason,
    /// The same failure again.
    SameFailure,
    /// Treat it as a new payment: plan it as the next generation.
    Reopen,
}

/// The table "What another `/settle` gets" of proof.md section 4.
#[must_use]
pub fn decide(row: &SettlementRow, identity: &RequestIdentity) -> Decision {
    let equal = identity.is_equal(row);
    match (&row.outcome, &row.release) {
        (Outcome::Failed { .. }, _) if row.finished => Decision::Reopen,
        (Outcome::Failed { .. }, _) if equal => Decision::SameFailure,
        (Outcome::Paid(paid), Some(_)) if paid.repeatable && row.finished => Decision::Reopen,
        _ if !equal => Decision::ReplayReason,
        (Outcome::Open, None) => Decision::Wait,
        // An earlier process may have replied to a caller.
        (Outcome::Paid(paid), None) if row.withheld => Decision::Duplicate {
            tx_id: paid.tx_id.clone(),
        },
        (Outcome::Paid(_), None) if identity.until_final && !row.paid_is_final() => Decision::Wait,
        (Outcome::Paid(_), None) => Decision::TakeRelease,
        (Outcome::Open | Outcome::Paid(_), Some(release)) => {
            let same_caller = identity.idempotency_key.is_some()
                && identity.idempotency_key == release.idempotency_key
                && identity.tenant == release.tenant;
            match &row.outcome {
                // After a reorganisation the payment may be open again, or have landed as another transaction. Then
                // the old reply is no longer true.
                Outcome::Paid(paid) if same_caller && names(&release.body, &paid.tx_id) => {
                    Decision::Replay(release.body.clone())
                }
                Outcome::Paid(paid) => Decision::Duplicate {
                    tx_id: paid.tx_id.clone(),
                },
                _ => Decision::Duplicate {
                    tx_id: row.tx_id.clone().unwrap_or_default(),
                },
            }
        }
        (Outcome::Failed { .. } | Outcome::Reversed { .. }, _) => Decision::SameFailure,
    }
}

/// Whether a recorded reply names this transaction.
fn names(body: &str, tx_id: &str) -> bool {
    serde_json::from_str::<SettleReply>(body).is_ok_and(|reply| reply.transaction == tx_id)
}

#[cfg(test)]
mod tests {
    use sdk_plugin::ProtocolVersion;
    use sdk_plugin::scheme::{PaidReply, Refusal};

    use super::*;
    use journal::{PaidRow, Release};

    fn row(outcome: Outcome, release: Option<Release>, finished: bool) -> SettlementRow {
        SettlementRow {
            id: 1,
            claim: "p|n|k".into(),
            generation: 0,
            plugin: "p".into(),
            scheme: "s".into(),
            version: ProtocolVersion::V2,
            network: "n".into(),
            tenant: Some("a".into()),
            fingerprint: "f".into(),
            digest: "d".into(),
            request: String::new(),
            payload: String::new(),
            replay_reason: "used".into(),
            replayable_until_s: None,
            payer: "payer".into(),
            conflict_keys: vec![],
            reference: String::new(),
            pay_to: String::new(),
            asset: String::new(),
            amount: None,
            idempotency_key: None,
            expires_at_s: None,
            home: None,
            handed_over: false,
            opened_at_ms: 0,
            updated_at_ms: 0,
            second_source: false,
            steps: vec![],
            outcome,
            release,
            tx_id: Some("0xtx".into()),
            finished,
            withheld: false,
            costs: Vec::new(),
        }
    }

    fn identity(fingerprint: &str, digest: &str, key: Option<&str>) -> RequestIdentity {
        RequestIdentity {
            fingerprint: fingerprint.into(),
            digest: digest.into(),
            tenant: Some("a".into()),
            idempotency_key: key.map(str::to_owned),
            until_final: false,
        }
    }

    fn paid(repeatable: bool) -> Outcome {
        Outcome::Paid(PaidRow {
            tx_id: "0xtx".into(),
            height: 1,
            items: vec!["i".into()],
            reply: PaidReply::default(),
            repeatable,
        })
    }

    fn failed() -> Outcome {
        Outcome::Failed {
            refusal: Refusal::new("no", "payer"),
            tx_id: "0xtx".into(),
            proof: "p".into(),
        }
    }

    fn release(key: Option<&str>) -> Option<Release> {
        Some(Release {
            number: 1,
            tenant: Some("a".into()),
            idempotency_key: key.map(str::to_owned),
            body: body("0xtx"),
            at_ms: 0,
        })
    }

    fn body(tx_id: &str) -> String {
        format!(r#"{{"success":true,"payer":"payer","transaction":"{tx_id}","network":"n"}}"#)
    }

    #[test]
    fn every_row_of_the_claim_table_is_decided_as_specified() {
        let equal = identity("f", "d", None);
        let duplicate = Decision::Duplicate { tx_id: "0xtx".into() };
        let cases = [
            (
                row(Outcome::Open, None, false),
                Decision::Wait,
                Decision::ReplayReason,
            ),
            (
                row(paid(false), None, false),
                Decision::TakeRelease,
                Decision::ReplayReason,
            ),
            (
                row(paid(false), None, true),
                Decision::TakeRelease,
                Decision::ReplayReason,
            ),
            (
                row(paid(false), release(None), false),
                duplicate.clone(),
                Decision::ReplayReason,
            ),
            (
                row(paid(false), release(Some("k")), true),
                duplicate.clone(),
                Decision::ReplayReason,
            ),
            (
                row(failed(), None, false),
                Decision::SameFailure,
                Decision::ReplayReason,
            ),
            (row(failed(), None, true), Decision::Reopen, Decision::Reopen),
            (
                row(paid(true), release(None), true),
                Decision::Reopen,
                Decision::Reopen,
            ),
            (
                row(Outcome::Open, release(None), false),
                duplicate,
                Decision::ReplayReason,
            ),
        ];
        for (row, for_equal, for_other) in cases {
            assert_eq!(decide(&row, &equal), for_equal, "equal: {row:?}");
            for other in [identity("f2", "d", None), identity("f", "d2", None)] {
                assert_eq!(decide(&row, &other), for_other, "other: {row:?}");
            }
        }
    }

    #[test]
    fn a_caller_that_waits_for_finality_gets_no_release_before() {
        let patient = RequestIdentity {
            until_final: true,
            ..identity("f", "d", Some("k"))
        };
        let landed = |is_final: bool| {
            let mut row = row(paid(false), None, false);
            row.steps = vec![journal::StepRow {
                state: journal::StepState::Waiting,
                pays: true,
                is_final,
                ground: None,
            }];
            row
        };
        assert_eq!(decide(&landed(false), &patient), Decision::Wait);
        assert_eq!(decide(&landed(true), &patient), Decision::TakeRelease);
        let finished = row(paid(false), None, true);
        assert_eq!(decide(&finished, &patient), Decision::TakeRelease);
        let impatient = identity("f", "d", Some("k"));
        assert_eq!(decide(&landed(false), &impatient), Decision::TakeRelease);
        let other_terms = RequestIdentity {
            until_final: true,
            ..identity("f2", "d", None)
        };
        assert_eq!(decide(&landed(false), &other_terms), Decision::ReplayReason);
    }

    #[test]
    fn a_withheld_release_is_a_duplicate_with_the_hash_for_equals_alone() {
        for finished in [false, true] {
            let mut row = row(paid(false), None, finished);
            row.withheld = true;
            let duplicate = Decision::Duplicate { tx_id: "0xtx".into() };
            assert_eq!(decide(&row, &identity("f", "d", Some("k"))), duplicate);
            assert_eq!(decide(&row, &identity("f", "d2", None)), Decision::ReplayReason);
            row.outcome = Outcome::Open;
            assert_eq!(decide(&row, &identity("f", "d", None)), Decision::Wait);
        }
    }

    #[test]
    fn a_replay_needs_the_same_tenant_and_the_same_idempotency_key() {
        let row = row(paid(false), release(Some("k")), true);
        assert_eq!(
            decide(&row, &identity("f", "d", Some("k"))),
            Decision::Replay(body("0xtx"))
        );
        let duplicate = Decision::Duplicate { tx_id: "0xtx".into() };
        assert_eq!(decide(&row, &identity("f", "d", Some("k2"))), duplicate);
        assert_eq!(decide(&row, &identity("f", "d", None)), duplicate);
        let mut landed_anew = row.clone();
        let Outcome::Paid(paid) = &mut landed_anew.outcome else {
            panic!("{landed_anew:?}")
        };
        paid.tx_id = "0xother".into();
        let other = Decision::Duplicate {
            tx_id: "0xother".into(),
        };
        assert_eq!(
            decide(&landed_anew, &identity("f", "d", Some("k"))),
            other,
            "the old reply names the old hash"
        );
        let stranger = RequestIdentity {
            tenant: Some("b".into()),
            ..identity("f", "d", Some("k"))
        };
        assert_eq!(decide(&row, &stranger), duplicate);
    }

    #[test]
    fn a_reversed_payment_is_never_a_success_again() {
        let outcome = Outcome::Reversed {
            tx_id: "0xtx".into(),
            proof: "p".into(),
            refusal: None,
        };
        let row = row(outcome, release(Some("k")), true);
        assert_eq!(
            decide(&row, &identity("f", "d", Some("k"))),
            Decision::SameFailure
        );
        assert_eq!(
            decide(&row, &identity("x", "d", Some("k"))),
            Decision::ReplayReason
        );
    }
}
