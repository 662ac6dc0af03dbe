//! The contracts match their sources, and their interfaces match the protocol notes and the golden vectors.

mod common;

use common::{text, vectors};
use devnet::{Artifact, Devnet, Npm, Options, PERMIT2, PERMIT2_PROXY, UPTO_PROXY, USDC};

#[test]
fn every_artefact_matches_its_source() {
    let output = Npm::ensure()
        .expect("npm")
        .script("contracts.mjs")
        .arg("--check")
        .output()
        .expect("node runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn selectors_and_topics_are_those_of_the_protocol() {
    let functions = [
        (
            "DollarToken",
            "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
            "0xe3ee160e",
        ),
        (
            "DollarToken",
            "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)",
            "0xcf092995",
        ),
        ("DollarToken", "authorizationState(address,bytes32)", "0xe94a0102"),
        ("DollarToken", "balanceOf(address)", "0x70a08231"),
        ("DollarToken", "allowance(address,address)", "0xdd62ed3e"),
        ("DollarToken", "approve(address,uint256)", "0x095ea7b3"),
        ("DollarToken", "name()", "0x06fdde03"),
        ("DollarToken", "version()", "0x54fd4d50"),
        ("DollarToken", "nonces(address)", "0x7ecebe00"),
        ("Wallet1271", "isValidSignature(bytes32,bytes)", "0x1626ba7e"),
        ("Multicall3", "tryAggregate(bool,(address,bytes)[])", "0xbce38bd7"),
        ("Multicall3", "aggregate3((address,bool,bytes)[])", "0x82ad56cb"),
        (
            "ExactPermit2Proxy",
            "settle(((address,uint256),uint256,uint256),address,(address,uint256),bytes)",
            "0x13cd3b53",
        ),
        (
            "ExactPermit2Proxy",
            "settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),((address,uint256),uint256,uint256),address,(address,uint256),bytes)",
            "0xfa340378",
        ),
        ("ExactPermit2Proxy", "PERMIT2()", "0x6afdd850"),
        ("ExactPermit2Proxy", "WITNESS_TYPEHASH()", "0x2c03ae6a"),
        ("Permit2", "nonceBitmap(address,uint256)", "0x4fe02b44"),
        (
            "Permit2",
            "permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)",
            "0x30f28b7a",
        ),
        (
            "Permit2",
            "permitWitnessTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes32,string,bytes)",
            "0x137c29fe",
        ),
    ];
    for (contract, signature, selector) in functions {
        assert_eq!(
            Artifact::load(contract).expect(contract).functions[signature],
            selector,
            "{contract}.{signature}"
        );
    }
    let errors = [
        ("ExactPermit2Proxy", "Permit2612AmountMismatch()", "0x050cda49"),
        ("ExactPermit2Proxy", "InvalidAmount()", "0x2c5211c6"),
        ("ExactPermit2Proxy", "InvalidDestination()", "0xac6b05f5"),
        ("ExactPermit2Proxy", "InvalidOwner()", "0x49e27cff"),
        ("ExactPermit2Proxy", "PaymentTooEarly()", "0xa65539fa"),
        ("Permit2", "InvalidAmount(uint256)", "0x3728b83d"),
        ("Permit2", "InvalidSignature()", "0x8baa579f"),
        ("Permit2", "SignatureExpired(uint256)", "0xcd21db4f"),
        ("Permit2", "InvalidSigner()", "0x815e1d64"),
        ("Permit2", "InvalidSignatureLength()", "0x4be6321b"),
        ("Permit2", "InvalidContractSignature()", "0xb0669cbc"),
        ("Permit2", "InvalidNonce()", "0x756688fe"),
    ];
    for (contract, signature, selector) in errors {
        assert_eq!(
            Artifact::load(contract).expect(contract).errors[signature],
            selector,
            "{contract}.{signature}"
        );
    }
    let events = [
        (
            "DollarToken",
            "Transfer(address,address,uint256)",
            "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        ),
        (
            "DollarToken",
            "AuthorizationUsed(address,bytes32)",
            "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5",
        ),
        (
            "ExactPermit2Proxy",
            "Settled()",
            "0x97088ec3606cfe8cc112180570d03fcde05f9b8e1bfef8e27784eaf5dd5691b6",
        ),
        (
            "ExactPermit2Proxy",
            "SettledWithPermit()",
            "0xde5b89d10fc800c459329c382fabfcad0be0ed7e5328e01fae04e507b09ef5d8",
        ),
    ];
    for (contract, signature, topic) in events {
        assert_eq!(
            Artifact::load(contract).expect(contract).events[signature],
            topic,
            "{contract}.{signature}"
        );
    }
}

#[test]
fn type_hashes_and_domains_are_those_of_the_golden_vectors() {
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let vectors = vectors();
    let word = |contract: &str, address: &str, function: &str| {
        let data = chain
            .artifact(contract)
            .and_then(|artifact| artifact.call(function, &[]))
            .expect("encodes");
        format!(
            "0x{}",
            hex::encode(chain.rpc().eth_call(None, address, &data).expect("answers"))
        )
    };
    let token = |function| word("DollarToken", USDC, function);
    assert_eq!(
        token("DOMAIN_SEPARATOR()"),
        text(&vectors["exact_eip3009"]["domainSeparator"])
    );
    let hashes = &vectors["typehashes"];
    assert_eq!(
        token("TRANSFER_WITH_AUTHORIZATION_TYPEHASH()"),
        text(&hashes["TransferWithAuthorization"])
    );
    assert_eq!(
        token("RECEIVE_WITH_AUTHORIZATION_TYPEHASH()"),
        text(&hashes["ReceiveWithAuthorization"])
    );
    assert_eq!(
        token("PERMIT_TYPEHASH()"),
        "0x6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9"
    );
    assert_eq!(
        word("Permit2", PERMIT2, "DOMAIN_SEPARATOR()"),
        text(&vectors["permit2_domainSeparator"])
    );
    for (contract, proxy) in [
        ("ExactPermit2Proxy", PERMIT2_PROXY),
        ("UptoPermit2Proxy", UPTO_PROXY),
    ] {
        let permit2 = word(contract, proxy, "PERMIT2()");
        assert!(
            permit2.ends_with(&PERMIT2.trim_start_matches("0x").to_lowercase()),
            "{permit2}"
        );
    }
    assert_eq!(
        word("UptoPermit2Proxy", UPTO_PROXY, "WITNESS_TYPEHASH()"),
        "0xd4171c445a74218b01d4fd8af34ff1106580ea1e36ff837e64484bfaa2253b75"
    );
}
