//! Payloads of payments, signatures, and what contracts and programs return.

use std::sync::Arc;

use http_api::fuzzing::read_body;
use schemes_evm::auth_capture::state::{Event, State};
use schemes_evm::auth_capture::{self, AuthCaptureEvm};
use schemes_evm::exact::{self, ExactEvm};
use schemes_evm::upto::UptoEvm;
use schemes_evm::{recovery, signature};
use schemes_svm::exact::ExactSvm;
use schemes_svm::wire::Transaction;
use schemes_svm::{fees, token};
use sdk_plugin::testkit::{ScriptHost, block_on};
use sdk_plugin::{PaymentRequest, SchemeHandler};

const NOW_S: u64 = 1_800_000_000;

/// Identifies twice, verifies and plans, with nodes that never answer.
fn decide(scheme: &impl SchemeHandler, request: &PaymentRequest) {
    let host: Arc<ScriptHost> = ScriptHost::at_unix_s(NOW_S);
    let cx = host.cx(host.context(&request.network));
    let first = block_on(scheme.identify(&cx, request));
    let second = block_on(scheme.identify(&cx, request));
    assert_eq!(first, second, "one payment has one identity");
    let _ = block_on(scheme.verify(&cx, request));
    let _ = block_on(scheme.plan(&cx, request));
}

#[test]
fn evm_payments() {
    let exact = ExactEvm::new(exact::Config::default());
    let upto = UptoEvm::default();
    let capture = AuthCaptureEvm::new(auth_capture::config::Config::default());
    fuzz::run("evm_payments", 16_384, |bytes| {
        if let Ok(request) = read_body(bytes) {
            decide(&exact, &request);
            decide(&upto, &request);
            decide(&capture, &request);
        }
    });
}

#[test]
fn svm_payments() {
    let exact = ExactSvm::new(schemes_svm::exact::Config::default());
    fuzz::run("svm_payments", 8_192, |bytes| {
        if let Ok(request) = read_body(bytes) {
            decide(&exact, &request);
        }
    });
}

#[test]
fn svm_transactions() {
    fuzz::run("svm_transactions", 2_048, |bytes| {
        let _ = Transaction::named_version(bytes);
        let _ = token::account_owner(bytes);
        let _ = fees::ComputeBudget::read(bytes);
        let Ok(read) = Transaction::decode(bytes) else {
            return;
        };
        assert_eq!(read.to_bytes(), bytes, "a transaction has one encoding");
        let message = read.message();
        assert_eq!(message.to_bytes(), read.message_bytes());
        let _ = read.others_signed();
        let _ = schemes_svm::lookup::call(message);
        for instruction in token::instructions(message, &message.keys).into_iter().flatten() {
            let _ = token::TransferChecked::read(&instruction);
        }
    });
}

#[test]
fn evm_bytes() {
    fuzz::run("evm_bytes", 4_096, |bytes| {
        let mut word = [0; 32];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        let signer = schemes_evm::text::address("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A");
        let signer = signer.expect("an address");
        let _ = recovery::signed_by(signer, &word.into(), bytes);
        let _ = signature::split(bytes);
        let _ = signature::wrapper_target(bytes);
        if let Some(unwrapped) = signature::unwrap(bytes) {
            let wrapped = signature::is_wrapped(bytes);
            assert!(wrapped || unwrapped.inner == bytes, "only a wrapper is opened");
            assert!(wrapped || unwrapped.deployment.is_none());
        }
        let _ = State::read(bytes);
        let (topics, data) = bytes.split_at(bytes.len().min(96));
        let topics: Vec<_> = topics
            .chunks_exact(32)
            .filter_map(|topic| topic.try_into().ok())
            .collect();
        let _ = Event::read(word.into(), &topics, data);
    });
}
