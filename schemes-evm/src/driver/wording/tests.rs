//! T-166: every row of the table of exact-evm.md section 18, and the range texts of section 16.

use proptest::prelude::*;
use sdk_plugin::Value;
use sdk_plugin::host::RpcError;

use super::{Class, allowed_blocks, class, minimum_price_wei};

fn error(code: i64, message: &str) -> RpcError {
    RpcError {
        code,
        message: message.into(),
        data: Value::Null,
    }
}

/// The table's rows, in its order.
const ROWS: &[(Class, &[&str])] = &[
    (
        Class::Known,
        &[
            "already known",
            "known transaction",
            "Known transaction",
            "known transaction: 0xb5c8bd9430b6cc87a0e2fe110ece6bf527fa4f170a4bc8cd032f768fc5219838",
            "known transaction. transaction with hash 0x12 is already in the system",
            "transaction with hash 0x12 is already in the system",
            "existing txn with same hash",
            "existing tx with same hash",
            "transaction already imported",
            "Transaction with the same hash was already imported.",
            "AlreadyKnown",
            "OwnNonceAlreadyUsed",
            "already in mempool",
            "tx already in the mempool",
            "already exists",
            "already have transaction",
            "tx already exists in cache",
            "already imported",
            "alreadyknown",
        ],
    ),
    (
        Class::NonceTooLow,
        &[
            "nonce too low",
            "nonce too low: next nonce 5, tx nonce 4",
            "nonce too low: address 0x5CbD current nonce (5) > tx nonce (4)",
            "Nonce too low",
            "nonce too low. allowed nonce range: 5 - 25, actual: 4",
            "mined",
            "OldNonce",
            "OldNonce, Current nonce: 5, nonce of rejected tx: 4",
            "invalid transaction nonce",
            "submit transaction to pool failed: Pool(Stale)",
            "transaction already finalized",
            "Transaction nonce is too low. Try incrementing the nonce.",
            "nonce has already been used",
        ],
    ),
    (
        Class::NonceGap,
        &[
            "nonce too high",
            "Nonce too high",
            "Transaction nonce is too distant from current sender nonce",
            "An invalid transaction with a lower nonce exists",
            "gapped-nonce tx from delegated accounts",
            "insertion of another transaction with the same nonce is in progress",
            "NonceGap",
            "NonceGap, Future nonce. Expected nonce: 4",
            "nonce too far in future",
        ],
    ),
    (
        Class::ReplacementUnderpriced,
        &[
            "replacement transaction underpriced",
            "Replacement transaction underpriced",
            "replacement transaction underpriced: new tx gas fee cap 1 <= 2 queued",
            "insufficient gas price to replace existing transaction",
            "could not replace existing tx",
            "replaced by transaction with higher tip",
            "ReplacementNotAllowed",
            "An existing transaction had higher priority",
            "a newer transaction had higher priority",
            "Transaction gas price 1wei is too low. There is another transaction with same nonce in the queue with gas price 2wei.",
            "there is another tx which has the same nonce in the tx pool",
        ],
    ),
    (
        Class::FeeCapBelowBaseFee,
        &[
            "max fee per gas less than block base fee: address 0x5CbD, maxFeePerGas: 1, baseFee: 2",
            "fee cap less than base fee",
            "failed to calculate effective gas tip: fee cap less than base fee",
            "fee cap less than block base fee",
            "transaction is outdated",
            "gas price less than block base fee",
            "Gas price below current base fee",
        ],
    ),
    (
        Class::Underpriced,
        &[
            "transaction underpriced",
            "transaction underpriced: gas tip cap 0, minimum needed 1000000",
            "transaction gas price below minimum: gas tip cap 1, minimum needed 25000000000",
            "transaction priority fee below minimum required priority fee 10000",
            "Gas price below configured minimum gas price",
            "underpriced",
            "fee too low",
            "FeeTooLow",
            "FeeTooLow, MaxFeePerGas: 1",
            "FeeTooLowToCompete",
            "gas price too low",
            "gas price too low: 1 wei, use at least tx.gasPrice = 30000000 wei",
            "gasprice is less than gas price minimum floor",
            "Transaction fee too low",
            "insufficient fee",
            "insufficient fee: required 10, got 1",
            "Gas price '1' is below configured minimum gas price '2'",
            "Fair pubdata price too high",
            "unacceptable gas price",
        ],
    ),
    (
        Class::TipAboveCap,
        &[
            "max priority fee per gas higher than max fee per gas: address 0x1, maxPriorityFeePerGas: 2, maxFeePerGas: 1",
            "Max priority fee per gas exceeds max fee per gas",
            "tip higher than fee cap",
        ],
    ),
    (
        Class::NodeFeeCap,
        &[
            "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)",
            "tx fee (2100000000000000000 wei) exceeds the configured cap (1000000000000000000 wei)",
            "Transaction fee cap exceeded",
        ],
    ),
    (
        Class::InsufficientFunds,
        &[
            "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1",
            "insufficient funds for transfer",
            "insufficient balance for transfer",
            "transaction would cause overdraft",
            "cost exceeds transaction sender account balance",
            "Upfront cost exceeds account balance",
            "insufficient funds for gas + value. balance: 0, fee: 1, value: 0",
            "not enough balance to cover the fee",
            "InsufficientFunds",
            "InsufficientFunds, Balance is 0 less than sending value",
            "not enough funds for gas",
            "Signer had insufficient balance",
            "Insufficient funds for transfer",
            "Insufficient funds. The account you tried to send transaction from does not have enough funds.",
        ],
    ),
    (
        Class::PoolFull,
        &[
            "txpool is full",
            "account limit exceeded",
            "in-flight transaction limit reached for delegated accounts",
            "address already reserved",
            "authority already reserved",
            "future transaction tries to replace pending",
            "pending sub-pool is full",
            "baseFee sub-pool is full",
            "queued sub-pool is full",
            "sequencer temporarily not available",
            "sequencer internal error",
            "failed to publish transaction to any of the forwarding targets",
            "currently not accepting transactions due to expected surplus being below threshold",
            "sequencer pending tx pool full, please try again",
            "queue full",
            "Initial sync is still in progress",
            "server shutting down",
            "There are too many transactions in the queue. Your transaction was dropped due to limit. Try increasing the fee.",
            "rejected",
        ],
    ),
    (
        Class::RateLimit,
        &[
            "rate limit",
            "Your app has exceeded its compute units per second capacity",
            "Too Many Requests",
            "request limit reached",
            "requests limited to 10 per second",
            "exceeded the quota",
            "you have reached the quota",
            "the server is under too much load",
            "no server available",
            "daily limit exceeded",
            "limit exceeded",
            "sender is over rate limit",
            "Monthly capacity limit exceeded",
            "you have reached the free tier",
            "limit for your current plan",
            "please upgrade your tier",
            "visit https://provider.example/billing",
        ],
    ),
    (
        Class::MethodMissing,
        &[
            "the method eth_feeHistory does not exist/is not available",
            "Method not found",
            "Method not enabled",
            "Transaction pool not enabled",
            "unsupported method: eth_getLogs",
            "rpc method is not whitelisted",
            "not allowed to access method",
            "eth_getLogs is not included in your current plan",
            "the method eth_call is disabled",
            "module debug is disabled",
            "publishing transactions not supported by this endpoint",
        ],
    ),
    (
        Class::StateMissing,
        &[
            "missing trie node 00 (path )",
            "header not found",
            "unknown block",
            "block not found",
            "no state available for block",
            "historical state 0xabc is not available",
            "cannot query unfinalized data",
            "pruned history unavailable",
            "block number 12 is greater than latest",
        ],
    ),
    (
        Class::BlockTag,
        &[
            "pending block is not available",
            "'pending' is not a supported commitment",
            "finalized block not found",
            "safe block not found",
        ],
    ),
    (
        Class::TimeLimit,
        &[
            "request timed out",
            "response too large",
            "batch too large",
            "Timeout expired",
            "execution timeout",
        ],
    ),
    (
        Class::BadTransaction,
        &[
            "intrinsic gas too low",
            "intrinsic gas too low: gas 1, minimum needed 21000",
            "exceeds block gas limit",
            "transaction gas limit too high (cap: 16777216, tx: 20000000)",
            "insufficient gas for floor data gas cost: gas 1, minimum needed 2",
            "invalid sender",
            "oversized data: transaction size 200000, limit 131072",
            "invalid chain id for signer: have 1 want 2",
            "transaction type not supported",
            "typed transaction too short",
            "rlp: expected input list for types.LegacyTx",
            "Intrinsic gas exceeds gas limit",
            "Transaction gas limit exceeds block gas limit",
            "Wrong chainId",
            "Invalid signature",
        ],
    ),
];

/// Text, and the number of blocks that it allows.
const RANGES: &[(&str, Option<u64>)] = &[
    ("exceed maximum block range: 5000", Some(5_000)),
    (
        "requested too many blocks from 1 to 9000, maximum is set to 2048",
        Some(2_048),
    ),
    ("query exceeds max block range 100000", Some(100_000)),
    (
        "query exceeds max results 20000, retry with the range 100-149",
        Some(50),
    ),
    ("Requested range exceeds maximum RPC range limit", None),
    (
        "Query returned more than 10000 results. Try with this block range [0x10, 0x1f].",
        Some(16),
    ),
    ("Response is too big", None),
    (
        "query returned more than 10000 results. Try with this block range [0x1, 0x1]",
        Some(1),
    ),
    ("query returned more than 10000 results", None),
    (
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range. Based on your \
         parameters, this block range should work: [0x0, 0x63]",
        Some(100),
    ),
    (
        "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range",
        Some(10),
    ),
    ("block range is too wide", None),
    ("block range is too wide (maximum 1024)", Some(1_024)),
    ("maximum [from, to] blocks distance: 2000", Some(2_000)),
    ("eth_getLogs is limited to a 10,000 range", Some(10_000)),
    ("eth_getLogs is limited to 1.024 block", Some(1_024)),
    (
        "the range exceeds the range allowed for your plan (9000 > 5000)",
        Some(5_000),
    ),
    ("Block range limit exceeded.", None),
    ("Maximum allowed number of requested blocks is 2000", Some(2_000)),
    ("Max range: 800", Some(800)),
    ("please limit the query to at most 1000 blocks", Some(1_000)),
    ("maximum block range: 50000", Some(50_000)),
    ("block range greater than 10000 max", Some(10_000)),
    ("block range exceeds 1000", Some(1_000)),
    ("exceed max block range: 5000", Some(5_000)),
    ("eth_getLogs range is too large, max is 1k blocks", Some(1_000)),
    ("query must be smaller than size 1024", Some(1_024)),
    ("allowed block range threshold exceeded", None),
    ("exceeded max allowed", None),
    ("logs over more", None),
    ("too many results", None),
    ("try paginating", None),
    ("response size should not", None),
];

#[test]
fn t166_every_row_of_the_table_is_its_class() {
    for (expected, texts) in ROWS {
        for text in *texts {
            for text in [
                (*text).to_owned(),
                text.to_uppercase(),
                format!("rpc error: {text}"),
            ] {
                // The whole text of the two shortest is the text.
                let whole = text.starts_with("rpc error")
                    && (text.ends_with(" mined") || text.ends_with(" rejected"));
                if whole {
                    continue;
                }
                for code in [-32000, -32003, -32005, -32603, 3] {
                    assert_eq!(class(&error(code, &text)), Some(*expected), "{text} ({code})");
                }
            }
        }
    }
}

#[test]
fn t166_range_texts_are_no_rate_limit_and_name_their_maximum() {
    for (text, blocks) in RANGES {
        for code in [-32602, -32005, -32000, -32600] {
            assert_eq!(class(&error(code, text)), Some(Class::RangeTooLarge), "{text}");
        }
        assert_eq!(allowed_blocks(text), *blocks, "{text}");
    }
    assert_eq!(
        class(&error(-32005, "query timeout exceeded")),
        Some(Class::TimeLimit),
        "queried again, over fewer blocks"
    );
}

#[test]
fn t166_words_begin_where_words_begin_and_a_code_alone_decides_little() {
    for text in [
        "unknown transaction type",
        "sender not an eoa",
        "only replay-protected (EIP-155) transactions allowed over RPC",
        "determined",
        "transaction rejected by policy",
        "something new",
        "",
    ] {
        for code in [-32000, -32003, -32005, -32603] {
            assert_eq!(class(&error(code, text)), None, "{text}");
        }
    }
    assert_eq!(class(&error(-32601, "")), Some(Class::MethodMissing));
    assert_eq!(class(&error(-32604, "no")), Some(Class::MethodMissing));
    assert_eq!(class(&error(429, "slow down")), Some(Class::RateLimit));
}

#[test]
fn t166_a_minimum_that_a_text_names_is_read() {
    for (text, wei) in [
        (
            "transaction underpriced: gas tip cap 1, minimum needed 25000000000",
            Some(25_000_000_000),
        ),
        (
            "transaction priority fee below minimum required priority fee 10000",
            Some(10_000),
        ),
        (
            "gas price too low: 1 wei, use at least tx.gasPrice = 30000000 wei",
            Some(30_000_000),
        ),
        ("transaction underpriced", None),
        ("minimum needed ", None),
        ("minimum needed 999999999999999999999999999999999999999999", None),
    ] {
        assert_eq!(minimum_price_wei(text), wei, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,200}", code: i64) {
        let _ = (class(&error(code, &text)), allowed_blocks(&text), minimum_price_wei(&text));
    }

    #[test]
    fn numbers_of_any_size_are_read_or_left(number in "[0-9.,]{0,40}k?") {
        let _ = allowed_blocks(&format!("max range: {number} blocks"));
        let _ = allowed_blocks(&format!("[0x{number}, 0x{number}]"));
    }
}
