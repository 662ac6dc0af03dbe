//! The scheme's functions.

use sdk_plugin::chain::Evidence;
use sdk_plugin::host::{StoreCondition, StoreRequest, StoreResponse, StoreWrite};
use sdk_plugin::scheme::{
    Done, Identified, Identity, Judgement, PaidReply, Parties, Plan, Planned, Refusal, RouteRequest,
    RouteResponse, Supported, Valid, Verdict,
};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Cx, Fault, PaymentRequest, SchemeHandler, async_trait};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::book::{Book, Issued};

/// Longest code in bytes.
const MAX_CODE_BYTES: usize = 128;

/// Reasons of refusals, for sellers' and buyers' programs to act on.
mod reason {
    pub(super) const PAYLOAD: &str = "invalid_voucher_payload";
    pub(super) const UNKNOWN: &str = "invalid_voucher_unknown";
    pub(super) const TERMS: &str = "invalid_voucher_terms_mismatch";
    pub(super) const EXPIRED: &str = "invalid_voucher_expired";
    pub(super) const REDEEMED: &str = "invalid_voucher_already_redeemed";
}

/// Handler of the scheme `voucher`.
#[derive(Debug)]
pub(crate) struct Voucher {
    book: Book,
}

impl Voucher {
    pub(crate) fn new(book: Book) -> Self {
        Self { book }
    }

    /// Every check but the one the commit makes: the digest of a voucher that pays for the request, or why not.
    async fn check(&self, cx: &Cx, request: &PaymentRequest) -> Result<Result<String, Refusal>, Fault> {
        let digest = match digest(request) {
            Ok(digest) => digest,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(issued) = self.book.get(&digest) else {
            return Ok(Err(refused(reason::UNKNOWN, &digest)));
        };
        if !covers(issued, request) {
            return Ok(Err(refused(reason::TERMS, &digest)));
        }
        if issued.expires_at_s <= cx.now_s() {
            return Ok(Err(refused(reason::EXPIRED, &digest)));
        }
        if self.is_redeemed(cx, &digest).await? {
            return Ok(Err(refused(reason::REDEEMED, &digest)));
        }
        Ok(Ok(digest))
    }

    async fn is_redeemed(&self, cx: &Cx, digest: &str) -> Result<bool, Fault> {
        match cx.store(StoreRequest::Get { key: row(digest) }).await? {
            StoreResponse::Rows { rows } => Ok(!rows.is_empty()),
            StoreResponse::Written | StoreResponse::Conflict { .. } => {
                Err(Fault::internal("the store answered a read with a write's result"))
            }
        }
    }
}

/// The digest of the payload's code. The code itself is money: it is stored nowhere and never returned.
fn digest(request: &PaymentRequest) -> Result<String, Refusal> {
    let code = request.payload.get("code").and_then(|code| code.as_str());
    match code {
        Some(code) if !code.is_empty() && code.len() <= MAX_CODE_BYTES => {
            Ok(hex::encode(Sha256::digest(code)))
        }
        _ => {
            Err(Refusal::new(reason::PAYLOAD, "")
                .with_message("payload.code must be a text of 1 to 128 bytes"))
        }
    }
}

/// The holder of the code is the payer.
fn payer(digest: &str) -> String {
    format!("voucher:{digest}")
}

fn parties(digest: &str, request: &PaymentRequest) -> Parties {
    Parties::pair(payer(digest), request.requirements.pay_to.to_ascii_lowercase())
}

fn row(digest: &str) -> String {
    format!("redeemed/{digest}")
}

fn refused(reason: &str, digest: &str) -> Refusal {
    Refusal::new(reason, payer(digest))
}

/// The seller's terms are the voucher's; what the buyer claims to have accepted does not count.
fn covers(issued: &Issued, request: &PaymentRequest) -> bool {
    let terms = &request.requirements;
    issued.network == request.network
        && issued.amount == terms.amount
        && issued.asset.eq_ignore_ascii_case(&terms.asset)
        && issued.pay_to.eq_ignore_ascii_case(&terms.pay_to)
}

#[async_trait]
impl SchemeHandler for Voucher {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let network = &cx.network().id;
        let kind = Kind {
            x402_version: 2,
            scheme: "voucher".into(),
            network: network.clone(),
            extra: None,
        };
        let kinds = if self.book.serves(network) {
            vec![kind]
        } else {
            vec![]
        };
        Ok(Supported {
            kinds,
            ..Supported::default()
        })
    }

    async fn identify(&self, _cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        let digest = match digest(request) {
            Ok(digest) => digest,
            Err(refusal) => return Ok(Identity::Refused(refusal)),
        };
        let terms = &request.requirements;
        let (asset, pay_to) = (
            terms.asset.to_ascii_lowercase(),
            terms.pay_to.to_ascii_lowercase(),
        );
        Ok(Identity::Identified(Identified {
            payer: payer(&digest),
            claim_key: digest.clone(),
            conflict_keys: vec![],
            fingerprint: json!([asset, pay_to, terms.amount]).to_string(),
            payload_digest: digest,
            replay_reason: reason::REDEEMED.into(),
            replayable_until_s: None,
        }))
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        Ok(match self.check(cx, request).await? {
            Ok(digest) => Verdict::Valid(Valid {
                payer: payer(&digest),
                parties: parties(&digest, request),
                ..Valid::default()
            }),
            Err(refusal) => Verdict::Invalid(refusal),
        })
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        let digest = match self.check(cx, request).await? {
            Ok(digest) => digest,
            Err(refusal) => return Ok(Planned::Refused(refusal)),
        };
        let amount = request.requirements.amount;
        let redeemed = StoreWrite {
            key: row(&digest),
            value: json!({ "amount": amount, "atS": cx.now_s() }),
            condition: StoreCondition::Absent,
            expires_at_ms: None,
        };
        let reply = PaidReply {
            payer: payer(&digest),
            amount: Some(amount),
            ..PaidReply::default()
        };
        Ok(Planned::Done(Done {
            reply,
            writes: vec![redeemed],
            parties: parties(&digest, request),
            ..Done::default()
        }))
    }

    async fn judge(&self, _cx: &Cx, _plan: &Plan, _evidence: &Evidence) -> Result<Judgement, Fault> {
        Err(Fault::invalid(
            "a voucher is redeemed without a transaction: there is nothing to judge",
        ))
    }

    async fn route(&self, cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        let digest = request.path.trim_start_matches('/');
        let (status, body) = match (request.method.as_str(), self.book.get(digest)) {
            ("GET", Some(_)) => (200, json!({ "redeemed": self.is_redeemed(cx, digest).await? })),
            ("GET", None) => (
                404,
                json!({ "error": "no such voucher: send the SHA-256 of its code" }),
            ),
            _ => (405, json!({ "error": "only GET" })),
        };
        Ok(RouteResponse::Reply { status, body })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sdk_plugin::testkit::{ScriptHost, block_on};
    use sdk_plugin::{Manifest, Value};
    use serde_json::from_value;

    use super::*;

    const NOW_S: u64 = 1_700_000_000;
    const NETWORK: &str = "eip155:8453";

    fn voucher() -> Voucher {
        let issued = json!({
            "sha256": hex::encode(Sha256::digest("good")), "network": NETWORK, "asset": "0xAb", "amount": "10000",
            "payTo": "0xCd", "expiresAtS": NOW_S + 60
        });
        Voucher::new(Book::read(json!({ "vouchers": [issued] })).expect("a good configuration"))
    }

    fn request(payload: Value, pay_to: &str, amount: &str) -> PaymentRequest {
        from_value(json!({
            "version": "2", "scheme": "voucher", "network": NETWORK, "networkAsSent": NETWORK, "payload": payload,
            "accepted": { "scheme": "voucher", "network": NETWORK },
            "requirements": { "scheme": "voucher", "network": NETWORK, "amount": amount, "asset": "0xaB",
                              "payTo": pay_to, "maxTimeoutSeconds": 60 },
            "purpose": "settle", "remainingMs": 25_000
        }))
        .expect("a request")
    }

    fn good() -> PaymentRequest {
        request(json!({ "code": "good" }), "0xcd", "10000")
    }

    fn cx(host: &Arc<ScriptHost>) -> Cx {
        host.cx(host.context(NETWORK))
    }

    fn refusal(host: &Arc<ScriptHost>, request: &PaymentRequest) -> String {
        let (verdict, planned) = block_on(async {
            (
                voucher().verify(&cx(host), request).await,
                voucher().plan(&cx(host), request).await,
            )
        });
        match (verdict, planned) {
            (Ok(Verdict::Invalid(verified)), Ok(Planned::Refused(planned))) => {
                assert_eq!(verified, planned);
                planned.reason
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_code_pays_once() {
        let host = ScriptHost::at_unix_s(NOW_S);
        let verdict = block_on(voucher().verify(&cx(&host), &good())).expect("a verdict");
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
        let planned = block_on(voucher().plan(&cx(&host), &good())).expect("an answer");
        let Planned::Done(Done { reply, writes, .. }) = planned else {
            panic!("{planned:?}")
        };
        assert_eq!(reply.amount, Some(good().requirements.amount));
        // What the host does with the writes, twice.
        let commit = || {
            block_on(cx(&host).store(StoreRequest::Write {
                writes: writes.clone(),
            }))
        };
        assert_eq!(commit(), Ok(StoreResponse::Written));
        assert!(matches!(commit(), Ok(StoreResponse::Conflict { .. })));
        assert_eq!(refusal(&host, &good()), reason::REDEEMED);
    }

    #[test]
    fn each_fault_has_its_reason() {
        let host = ScriptHost::at_unix_s(NOW_S);
        for payload in [
            json!({}),
            json!({ "code": 7 }),
            json!({ "code": "" }),
            json!({ "code": "x".repeat(129) }),
        ] {
            assert_eq!(
                refusal(&host, &request(payload, "0xcd", "10000")),
                reason::PAYLOAD
            );
        }
        let code = || json!({ "code": "good" });
        assert_eq!(
            refusal(&host, &request(json!({ "code": "bad" }), "0xcd", "10000")),
            reason::UNKNOWN
        );
        assert_eq!(
            refusal(&host, &request(code(), "0xother", "10000")),
            reason::TERMS
        );
        assert_eq!(refusal(&host, &request(code(), "0xcd", "10001")), reason::TERMS);
        host.advance_ms(60_000);
        assert_eq!(refusal(&host, &good()), reason::EXPIRED);
    }

    #[test]
    fn the_identity_is_the_codes_digest_and_the_terms() {
        let host = ScriptHost::at_unix_s(NOW_S);
        let identify = |request: PaymentRequest| match block_on(voucher().identify(&cx(&host), &request)) {
            Ok(Identity::Identified(identified)) => identified,
            other => panic!("{other:?}"),
        };
        let (one, elsewhere) = (
            identify(good()),
            identify(request(json!({ "code": "good" }), "0xother", "10000")),
        );
        assert_eq!(one.claim_key, elsewhere.claim_key);
        assert_ne!(one.fingerprint, elsewhere.fingerprint);
        assert!(!format!("{one:?}").contains("good"), "the code is in no output");
        assert_eq!(host.recorded(), [], "a pure function of the request");
    }

    #[test]
    fn the_route_tells_who_knows_the_digest() {
        let host = ScriptHost::at_unix_s(NOW_S);
        let ask = |method: &str, path: String| {
            let request = from_value(json!({ "method": method, "path": path })).expect("a request");
            match block_on(voucher().route(&cx(&host), &request)) {
                Ok(RouteResponse::Reply { status, body }) => (status, body),
                other => panic!("{other:?}"),
            }
        };
        let known = format!("/{}", hex::encode(Sha256::digest("good")));
        assert_eq!(ask("GET", known.clone()), (200, json!({ "redeemed": false })));
        assert_eq!(ask("GET", "/good".into()).0, 404);
        assert_eq!(ask("POST", known).0, 405);
    }

    #[test]
    fn it_is_offered_where_there_are_vouchers() {
        let host = ScriptHost::at_unix_s(NOW_S);
        let kinds = |network: &str| {
            block_on(voucher().supported(&host.cx(host.context(network))))
                .expect("kinds")
                .kinds
        };
        assert_eq!((kinds(NETWORK).len(), kinds("eip155:1").len()), (1, 0));
    }

    #[test]
    fn the_manifest_parses_and_a_voucher_listed_twice_is_refused() {
        let manifest: Manifest = serde_json::from_str(include_str!("../manifest.json")).expect("a manifest");
        assert_eq!(manifest.id, "example-voucher");
        let issued = json!({ "sha256": "00", "network": NETWORK, "asset": "", "amount": "1", "payTo": "", "expiresAtS": 1 });
        let fault = Book::read(json!({ "vouchers": [issued, issued] })).expect_err("twice");
        assert_eq!(fault.message, "voucher 00 is listed twice: remove one");
    }
}
