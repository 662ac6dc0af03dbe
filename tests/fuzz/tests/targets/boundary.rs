//! Messages between host and plugin, and the texts in them.

use schemes_evm::text as evm;
use schemes_svm::text as svm;
use sdk_plugin::chain::{Bid, Built, LaneState, Readiness, Sent};
use sdk_plugin::host::{
    JobRequest, RpcRequest, RpcResponse, SignRequest, Signature, StoreRequest, StoreResponse,
};
use sdk_plugin::ops::{
    BroadcastCall, BuildCall, CheckCall, ContextCall, FaultBody, FillCall, Health, JobCall, JobReply,
    JudgeCall, LaneCall, ObserveCall, ObserveReply, PaymentCall, QuoteCall, RouteCall,
};
use sdk_plugin::scheme::{Identity, Judgement, Planned, RouteResponse, SchemeCheck, Supported, Verdict};
use sdk_plugin::{Amount, Fault, HexBytes, Value};

use crate::round_trip;

#[test]
fn abi_requests() {
    fuzz::run("abi_requests", 16_384, |bytes| {
        round_trip::<ContextCall<'static>>(bytes);
        round_trip::<PaymentCall<'static>>(bytes);
        round_trip::<JudgeCall<'static>>(bytes);
        round_trip::<RouteCall<'static>>(bytes);
        round_trip::<JobCall<'static>>(bytes);
        round_trip::<CheckCall<'static>>(bytes);
        round_trip::<LaneCall<'static>>(bytes);
        round_trip::<QuoteCall<'static>>(bytes);
        round_trip::<BuildCall<'static>>(bytes);
        round_trip::<FillCall<'static>>(bytes);
        round_trip::<BroadcastCall<'static>>(bytes);
        round_trip::<ObserveCall<'static>>(bytes);
        round_trip::<RpcRequest>(bytes);
        round_trip::<SignRequest>(bytes);
        round_trip::<StoreRequest>(bytes);
        round_trip::<JobRequest>(bytes);
    });
}

#[test]
fn abi_responses() {
    fuzz::run("abi_responses", 16_384, |bytes| {
        round_trip::<Supported>(bytes);
        round_trip::<Identity>(bytes);
        round_trip::<Verdict>(bytes);
        round_trip::<Planned>(bytes);
        round_trip::<Judgement>(bytes);
        round_trip::<RouteResponse>(bytes);
        round_trip::<JobReply>(bytes);
        round_trip::<SchemeCheck>(bytes);
        round_trip::<Readiness>(bytes);
        round_trip::<LaneState>(bytes);
        round_trip::<Bid>(bytes);
        round_trip::<Built>(bytes);
        round_trip::<Sent>(bytes);
        round_trip::<ObserveReply>(bytes);
        round_trip::<Health>(bytes);
        round_trip::<RpcResponse>(bytes);
        round_trip::<Signature>(bytes);
        round_trip::<StoreResponse>(bytes);
        round_trip::<FaultBody>(bytes);
        for status in [1, 2, -1, i32::MAX] {
            let _: Fault = FaultBody::decode(status, bytes);
        }
    });
}

#[test]
fn texts() {
    fuzz::run("texts", 512, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return;
        };
        if let Ok(amount) = text.parse::<Amount>() {
            assert_eq!(amount.to_string().parse(), Ok(amount));
            if !text.starts_with("0x") {
                assert_eq!(amount.to_string(), text, "a decimal amount has one spelling");
            }
        }
        if let Ok(hex) = text.parse::<HexBytes>() {
            assert_eq!(hex.to_string().to_lowercase(), text.to_lowercase());
        }
        if http_api::names::is_caip2(text) {
            assert!(text.contains(':') && text.is_ascii());
        }
        if let Some(address) = evm::address(text) {
            assert_eq!(evm::address(&address.to_string()), Some(address));
        }
        if let Some(word) = evm::word(text) {
            assert_eq!(evm::word(&word.to_string()), Some(word));
        }
        let _ = evm::chain_id(text);
        let _ = evm::bytes(text, 64);
        let _ = evm::number(&Value::from(text));
        if let Some(address) = svm::address(text) {
            assert_eq!(address.to_string(), text, "an address has one spelling");
        }
        if let Some(bytes) = svm::transaction_bytes(text) {
            assert_eq!(svm::transaction_bytes(&svm::base64(&bytes)), Some(bytes));
        }
        let _ = svm::signature(text);
        let _ = svm::base58(text, 64);
        let _ = svm::account_data(text);
        let _ = svm::reference(text);
        let _ = schemes_evm::auth_capture::revert::reason_in(text);
    });
}
