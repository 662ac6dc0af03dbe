//! Any number of reads as batches that nodes and the plugin's message limit take.
//!
//! | limit | what happens |
//! |---|---|
//! | calls and expected bytes of a batch | the reads are cut beforehand, in their order |
//! | an answer that the host or the node calls too large | its batch is read again in two halves |
//! | one answer that is too large alone | that read alone fails |
//!
//! Not guaranteed: batches may be answered by different nodes, later ones by the same or by a later head.

use sdk_plugin::host::{RpcCall, RpcError, RpcResult};
use sdk_plugin::{Cx, Fault, FaultKind, Value};

use crate::shape;

/// Calls per JSON-RPC batch; nodes commonly stop at 1,000, hosted ones at less.
const MAX_BATCH: usize = 200;
/// Bytes that the answers of a batch are expected to have: a quarter of what the plugin takes (`maxMessageBytes`).
const MAX_BATCH_BYTES: usize = 4 << 20;
/// Code of a read whose answer no batch can hold, as go-ethereum's for a response that is too large.
const TOO_LARGE: i64 = -32_003;

/// The results of reads, taken in the order of their calls.
#[derive(Debug)]
pub struct Answers(std::vec::IntoIter<RpcResult>);

impl Answers {
    /// Results in the order of their calls.
    #[must_use]
    pub fn of(results: Vec<RpcResult>) -> Self {
        Self(results.into_iter())
    }

    pub fn take(&mut self) -> Result<RpcResult, Fault> {
        self.0
            .next()
            .ok_or_else(|| Fault::internal("more answers taken than calls made"))
    }
}

/// Reads in order. A single answer that is too large is an error of that read.
///
/// # Errors
/// No node answered a batch.
pub async fn read_all(cx: &Cx, calls: Vec<RpcCall>) -> Result<Answers, Fault> {
    let mut results: Vec<Option<RpcResult>> = vec![None; calls.len()];
    // Places in `calls`; the next batch is the last.
    let mut left = cut(&calls);
    left.reverse();
    while let Some(places) = left.pop() {
        let batch = places
            .iter()
            .filter_map(|place| calls.get(*place))
            .cloned()
            .collect();
        let again = match cx.read(batch).await {
            Ok(answers) => {
                let mut again = Vec::new();
                for (place, answer) in places.iter().zip(answers) {
                    if places.len() > 1 && says_too_large(&answer) {
                        again.push(*place);
                    } else if let Some(result) = results.get_mut(*place) {
                        *result = Some(answer);
                    }
                }
                again
            }
            Err(fault) if is_too_large(&fault) => {
                if let [place] = places.as_slice()
                    && let Some(result) = results.get_mut(*place)
                {
                    *result = Some(too_large(&fault));
                    continue;
                }
                places.clone()
            }
            Err(fault) => return Err(fault),
        };
        if again.len() < places.len() {
            left.extend((!again.is_empty()).then_some(again));
        } else {
            let (first, second) = again.split_at(again.len() / 2);
            left.extend([second.to_vec(), first.to_vec()]);
        }
    }
    let results: Option<Vec<RpcResult>> = results.into_iter().collect();
    let results = results.ok_or_else(|| Fault::internal("a read has no answer"))?;
    Ok(Answers(results.into_iter()))
}

/// The same for what decides about a payment or its price: an answer of a shape that its method does not have is no answer, and
/// the batch is read by two nodes. Not for what one node alone must say.
///
/// # Errors
/// No node answered a batch.
pub async fn read_well_formed(cx: &Cx, calls: Vec<RpcCall>) -> Result<Answers, Fault> {
    let results: Vec<RpcResult> = read_all(cx, calls.clone()).await?.0.collect();
    Ok(Answers::of(match count_malformed(&calls, &results) {
        0 => results,
        _ => well_formed(cx, calls, results).await,
    }))
}

fn count_malformed(calls: &[RpcCall], results: &[RpcResult]) -> usize {
    let pairs = calls.iter().zip(results);
    pairs.filter(|(call, result)| !shape::fits(call, result)).count()
}

/// Of two nodes' answers and those that are known the set with the fewest that are malformed: all of one node, because they
/// only count together.
async fn well_formed(cx: &Cx, calls: Vec<RpcCall>, known: Vec<RpcResult>) -> Vec<RpcResult> {
    if calls.len() > MAX_BATCH {
        return known;
    }
    // With one of two away nothing better is to be had: what is known speaks for itself.
    let Ok(sets) = cx.compare(calls.clone()).await else {
        return known;
    };
    std::iter::once(known)
        .chain(sets)
        .min_by_key(|set| count_malformed(&calls, set))
        .unwrap_or_default()
}

/// Reads that only count together: one batch, answered by one node. `None`: the answer is too large.
///
/// # Errors
/// No node answered.
pub async fn read_at_once(cx: &Cx, calls: Vec<RpcCall>) -> Result<Option<Answers>, Fault> {
    match cx.read(calls).await {
        Ok(results) => Ok(Some(Answers(results.into_iter()))),
        Err(fault) if is_too_large(&fault) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The reads' places, in batches within the limits.
fn cut(calls: &[RpcCall]) -> Vec<Vec<usize>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0_usize;
    for (place, call) in calls.iter().enumerate() {
        let more = expected_bytes(&call.method);
        let is_full = batch.len() >= MAX_BATCH || bytes.saturating_add(more) > MAX_BATCH_BYTES;
        if is_full && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        batch.push(place);
        bytes = bytes.saturating_add(more);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// What an answer usually stays below, in bytes.
fn expected_bytes(method: &str) -> usize {
    match method {
        // A wallet's signature of 8 KiB in its calldata, as hex.
        "eth_getTransactionByHash" => 24 << 10,
        // The hashes of a block's transactions; a bloom filter and a few logs.
        "eth_getBlockByNumber" | "eth_getBlockByHash" | "eth_getTransactionReceipt" | "eth_getLogs" => {
            16 << 10
        }
        _ => 1 << 10,
    }
}

/// Whether the host could not hand the answer over because of its size. The plugin's own limit is `Invalid`; that of what
/// nodes may answer stands in a message text only.
fn is_too_large(fault: &Fault) -> bool {
    let texts = ["answered more than", "answered HTTP 413"];
    fault.kind == FaultKind::Invalid
        || (fault.kind == FaultKind::Unavailable && texts.iter().any(|text| fault.message.contains(text)))
}

/// Whether a node left this answer out because the batch had become too large.
fn says_too_large(answer: &RpcResult) -> bool {
    let RpcResult::Error(error) = answer else {
        return false;
    };
    let message = error.message.to_lowercase();
    ["response too large", "response is too big", "batch too large"]
        .iter()
        .any(|text| message.contains(text))
}

fn too_large(fault: &Fault) -> RpcResult {
    RpcResult::Error(RpcError {
        code: TOO_LARGE,
        message: format!("the answer is too large: {}", fault.message),
        data: Value::Null,
    })
}
