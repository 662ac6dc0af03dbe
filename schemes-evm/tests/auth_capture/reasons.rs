//! Every reason string of auth-capture-evm.md, and a test that expects it: this one fails for a reason without.
//!
//! The strings are the specification's, not the code's. That a test expects one is checked by reading the tests: a reason is in
//! them as a literal, whole or after the prefix.

use std::collections::BTreeSet;
use std::path::Path;

use schemes_evm::auth_capture::reason::Reason;

const PREFIX: &str = "invalid_auth_capture_evm_";

/// Section 14, after the prefix.
const V1_1: &str = "payload_format payload_type void_authorizer_signature void_remainder_full_capture \
    unsupported_payment_flow scheme network_mismatch extra missing_receiver_authorizer unsupported_operator_type policy \
    policy_denied lifecycle_not_relayed operator_type_mismatch operator_not_admitted operator_mismatch \
    salt_binding_mismatch authorizer_signature unauthenticated_authorizer_request unauthenticated_lifecycle_request \
    delegated_auth_unavailable unexpected_payment_state refund_funding_unavailable unsupported_asset_transfer_method \
    payload_method_mismatch capture_deadline_expired refund_deadline_expired deadline_ordering authorization_expired \
    authorization_not_yet_valid token_collector_mismatch token_mismatch signature erc6492_factory_not_allowed \
    amount_mismatch nonce_mismatch insufficient_balance simulation_failed payment_already_collected \
    token_collection_failed collector amount_overflow fee_bps fee_bps_range fee_bps_out_of_range zero_fee_receiver \
    fee_receiver insufficient_authorization zero_authorization refund_exceeds_capture verification_failed \
    transaction_reverted";

/// Sections 13 and 14, the column of v1.0.
const V1_0: &str = "invalid_payload_format unsupported_scheme network_mismatch invalid_network \
    invalid_auth_capture_extra unsupported_asset_transfer_method payload_method_mismatch capture_deadline_expired \
    invalid_deadline_ordering authorization_expired authorization_not_yet_valid token_collector_mismatch token_mismatch \
    invalid_auth_capture_signature amount_mismatch nonce_mismatch insufficient_balance simulation_failed amount_overflow \
    payment_already_collected token_collection_failed invalid_collector invalid_capture_authorizer invalid_fee_bps \
    invalid_fee_bps_range fee_bps_out_of_range zero_fee_receiver invalid_fee_receiver insufficient_authorization \
    zero_authorization transaction_reverted verification_failed";

/// Our own faults are reported as such (HTTP 503), and never as a fault of the payment: no reason exists for these.
const NEVER_ANSWERED: [&str; 1] = ["verification_failed"];

/// Literals of the tests beside this one.
fn expected_somewhere() -> BTreeSet<String> {
    fn read(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("the tests are here") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, found);
            } else if path.file_name().is_some_and(|name| name != "reasons.rs") {
                let source = std::fs::read_to_string(&path).expect("a source");
                found.extend(source.split('"').skip(1).step_by(2).map(str::to_owned));
            }
        }
    }
    let mut found = BTreeSet::new();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/auth_capture");
    read(&tests, &mut found);
    found
}

#[test]
fn every_reason_of_the_specification_is_expected_by_a_test() {
    let found = expected_somewhere();
    let told = |reason: &str| found.contains(reason) || found.contains(&format!("{PREFIX}{reason}"));
    let missing: Vec<&str> = V1_1
        .split_whitespace()
        .chain(V1_0.split_whitespace())
        .chain(["invalid_network"])
        .filter(|reason| !NEVER_ANSWERED.contains(reason) && !told(reason))
        .collect();
    assert!(missing.is_empty(), "no test expects {missing:?}");
}

#[test]
fn the_code_knows_the_reasons_of_the_specification_and_no_others() {
    let ours: BTreeSet<String> = Reason::ALL
        .iter()
        .map(|reason| reason.v1_1().to_owned())
        .collect();
    let specified = V1_1
        .split_whitespace()
        .map(|reason| format!("{PREFIX}{reason}"))
        .chain(["invalid_network".to_owned()]);
    assert_eq!(ours, specified.collect());

    let ours: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.v1_0()).collect();
    for reason in V1_0.split_whitespace() {
        assert!(ours.contains(reason), "{reason}");
    }
}
