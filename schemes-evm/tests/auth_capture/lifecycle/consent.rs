//! Who consents: the merchant's authorizer, with or without code, or the tenant who opened the payment.

use schemes_evm::auth_capture::authorizer::Operation;
use schemes_evm::auth_capture::config::Config;
use schemes_evm::auth_capture::deployment::V1_1;
use sdk_plugin::PaymentRequest;
use serde_json::json;

use super::world::*;

fn delegated() -> PaymentRequest {
    unsigned(Payment::delegated().capture(500_000, balances(HELD, 0)))
}

fn of(mut request: PaymentRequest, tenant: Option<&str>) -> PaymentRequest {
    request.tenant = tenant.map(str::to_owned);
    request
}

#[test]
fn an_authorizer_with_code_answers_for_itself() {
    let payment = Payment::on(V1_1);
    let mut request = payment.capture_and_void(1, balances(HELD, 0));
    let wallet = |says| {
        World::on(move |chain| {
            chain.authorizer_code = hex_result(&[0x60]);
            chain.wallet = says;
        })
    };
    assert!(wallet(magic()).verify(&request).is_ok());
    assert_eq!(
        wallet(hex_result(&[0; 32])).refused(&request),
        "authorizer_signature",
        "a key's signature does not speak for code"
    );
    assert_eq!(wallet(revert(1)).refused(&request), "authorizer_signature");
    // Bytes that only a wallet understands.
    request
        .payload
        .insert("authorizerSignature".into(), json!("0x010203"));
    assert!(wallet(magic()).verify(&request).is_ok());
    assert_eq!(World::new().refused(&request), "authorizer_signature");
}

#[test]
fn a_missing_signature_of_another_signer_is_missing() {
    let request = unsigned(Payment::on(V1_1).capture(1, balances(HELD, 0)));
    assert_eq!(World::new().refused(&request), "authorizer_signature");
}

#[test]
fn t63_only_the_tenant_who_opened_a_payment_has_us_authorize_for_it() {
    let payment = Payment::delegated();
    let world = World::new();
    // Opened by an unknown tenant.
    assert_eq!(world.refused(&delegated()), "unauthenticated_authorizer_request");
    world.knows(&payment, TENANT);
    assert!(world.verify(&delegated()).is_ok());
    for tenant in [Some("other"), Some(""), None] {
        for request in [
            delegated(),
            unsigned(payment.void()),
            unsigned(payment.capture_and_void(1, balances(HELD, 0))),
        ] {
            assert_eq!(
                world.refused(&of(request, tenant)),
                "unauthenticated_authorizer_request",
                "{tenant:?}"
            );
        }
    }
}

#[test]
fn t63_the_older_name_is_answered_where_the_operator_requests_it() {
    let older = Config {
        older_unauthenticated_reason: true,
        ..config()
    };
    assert_eq!(
        World::with(older, |_| {}).refused(&delegated()),
        "unauthenticated_lifecycle_request"
    );
}

#[test]
fn t63_without_a_delegated_authorizer_nothing_is_authorized() {
    let none = Config {
        delegated_authorizer: None,
        ..config()
    };
    let world = World::with(none, |_| {});
    world.knows(&Payment::delegated(), TENANT);
    assert_eq!(world.refused(&delegated()), "authorizer_signature");
}

#[test]
fn a_signature_by_our_authorizer_is_nobodys() {
    let payment = Payment::delegated();
    let world = World::new();
    world.knows(&payment, TENANT);
    // The merchant's key signed, and the salt names ours.
    let request = payment.capture(500_000, balances(HELD, 0));
    assert_eq!(world.refused(&request), "authorizer_signature");
}

#[test]
fn a_delegated_capture_gives_back_the_rest_on_demand() {
    let payment = Payment::delegated();
    let world = World::new();
    world.knows(&payment, TENANT);
    let mut request = delegated();
    request.payload.insert("voidRemainder".into(), json!(true));
    assert_eq!(world.plan(&request).expect("a plan").steps.len(), 2);
    // A signature of the void must be good where there is one.
    let void = payment.sign(&Operation::Void);
    request
        .payload
        .insert("voidAuthorizerSignature".into(), json!(void));
    assert_eq!(world.refused(&request), "void_authorizer_signature");
}

#[test]
fn the_same_delegated_request_is_one_claim_and_no_digest_names_it() {
    let world = World::new();
    let key = |request: &PaymentRequest| world.identify(request).expect("identified").claim_key;
    let signed = Payment::delegated().capture(500_000, balances(HELD, 0));
    assert_eq!(key(&delegated()), key(&delegated()));
    assert_ne!(key(&delegated()), key(&signed));
    let later = unsigned(Payment::delegated().capture(500_000, balances(500_000, 500_000)));
    assert_ne!(key(&delegated()), key(&later));
}

#[test]
fn a_store_that_is_down_leaves_delegated_requests_unauthorized() {
    use std::sync::Arc;

    use sdk_plugin::host::{StoreRequest, StoreResponse};
    use sdk_plugin::testkit::{HostLayer, ScriptHost, block_on};
    use sdk_plugin::{Cx, Fault, HostServices, SchemeHandler, async_trait};

    struct NoStore(Arc<ScriptHost>);

    #[async_trait]
    impl HostLayer for NoStore {
        fn inner(&self) -> &dyn HostServices {
            &*self.0
        }

        async fn store(&self, _call: u64, _request: StoreRequest) -> Result<StoreResponse, Fault> {
            Err(Fault::unavailable("the store does not answer"))
        }
    }

    let world = World::new();
    let cx = Cx::new(
        Arc::new(NoStore(world.host.clone())),
        1,
        world.cx().context().clone(),
    );
    let verdict = block_on(world.scheme.verify(&cx, &delegated())).expect("no fault");
    let sdk_plugin::scheme::Verdict::Invalid(refusal) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(
        refusal.reason,
        "invalid_auth_capture_evm_delegated_auth_unavailable"
    );
}
