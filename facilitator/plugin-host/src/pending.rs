//! Every call into any plugin that is not completed.
//!
//! A completion finds its call by a number and not by a pointer: the `ctx` that the plugin receives is a key of a table in
//! this process. A completion that comes twice, too late or without a call finds no entry and touches no memory.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base::calls::CallScope;
use dashmap::DashMap;
use sdk_plugin::Fault;
use sdk_plugin::abi::buf::Received;
use sdk_plugin::abi::raw::Buf;
use sdk_plugin::ops::FaultBody;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bridge::Bridge;
use super::calls::Effect;

/// A call that a plugin has not completed.
pub(super) struct Pending {
    /// Keeps the instance until then.
    pub(super) instance: Arc<dyn Any + Send + Sync>,
    pub(super) bridge: &'static Bridge,
    pub(super) call_id: u64,
    /// `None`: the core does not know it, as with the calls that this crate makes itself.
    pub(super) scope: Option<Arc<CallScope>>,
    /// When it was made.
    pub(super) since: Instant,
    /// The plugin's code has returned from it: no thread is inside.
    pub(super) has_left: bool,
    pub(super) answer: oneshot::Sender<Completed>,
}

pub(super) struct Completed {
    pub(super) status: i32,
    pub(super) body: Result<Vec<u8>, Fault>,
    pub(super) effect: Effect,
}

/// Every call into any plugin that is not completed, by the number that the plugin has as `ctx`.
static PENDING: LazyLock<DashMap<u64, Pending>> = LazyLock::new(DashMap::new);
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
static STRAYS: AtomicU64 = AtomicU64::new(0);

/// Completions since the start that belonged to no call: made twice, or after a refusal. Each is a defect of a plugin.
#[must_use]
pub fn stray_completions() -> u64 {
    STRAYS.load(Ordering::Relaxed)
}

/// Completes a call of an isolated instance. A process can complete its own instance's calls only.
pub(super) fn complete_isolated(instance_id: u64, key: u64, status: i32, body: &[u8]) {
    let is_its_own = PENDING
        .get(&key)
        .is_some_and(|pending| pending.bridge.instance_id == instance_id);
    if !is_its_own || !complete(key, status, |bridge| within(bridge, body)) {
        STRAYS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Completes every call of an instance with a fault.
pub(super) fn fail_all(instance_id: u64, fault: &Fault) {
    for key in keys_of(instance_id, |_| true) {
        complete(key, fault.kind.status(), |_| Ok(FaultBody::encode(fault)));
    }
}

/// The plugin's code has accepted a call and returned.
pub(super) fn left(key: u64) {
    if let Some(mut pending) = PENDING.get_mut(&key) {
        pending.has_left = true;
    }
}

/// Gives up the calls of an instance that were made before this time, and that no thread is inside of: their callers have stopped waiting,
/// and a completion that comes still finds no call. Returns how many.
pub(super) fn give_up(instance_id: u64, limit: Duration) -> usize {
    let fault = Fault::internal("the plugin never completed the call");
    let given_up = keys_of(instance_id, |pending| {
        pending.has_left && pending.since.elapsed() > limit
    });
    let completed = given_up
        .iter()
        .filter(|key| complete(**key, fault.kind.status(), |_| Ok(FaultBody::encode(&fault))));
    completed.count()
}

/// Whether a call of an instance has not been completed in this time.
pub(super) fn has_overdue(instance_id: u64, limit: Duration) -> bool {
    let mut all = PENDING.iter();
    all.any(|one| one.bridge.instance_id == instance_id && one.since.elapsed() > limit)
}

fn keys_of(instance_id: u64, wanted: impl Fn(&Pending) -> bool) -> Vec<u64> {
    let all = PENDING.iter();
    all.filter(|one| one.bridge.instance_id == instance_id && wanted(one))
        .map(|one| *one.key())
        .collect()
}

/// The bytes of an answer, where they are not too many.
fn within(bridge: &Bridge, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    match bytes.len() {
        len if len > bridge.message_bytes => Err(too_long(len, bridge.message_bytes)),
        _ => Ok(bytes.to_vec()),
    }
}

pub(super) fn too_long(len: usize, cap: usize) -> Fault {
    Fault::internal(format!("the plugin's answer has {len} bytes, {cap} are allowed"))
}

/// Completes a call; `false`: there is none with this key.
pub(super) fn complete(key: u64, status: i32, body: impl FnOnce(&Bridge) -> Result<Vec<u8>, Fault>) -> bool {
    // The entry is out of the table, and the table's lock is free, before any of it is dropped.
    let Some((_, pending)) = PENDING.remove(&key) else {
        return false;
    };
    let Pending {
        instance,
        bridge,
        call_id,
        answer,
        scope: _,
        since: _,
        has_left: _,
    } = pending;
    let body = body(bridge);
    let effect = bridge.calls.end(call_id);
    bridge.scopes.completed(call_id);
    // The receiver is gone when the caller stopped waiting.
    let _ = answer.send(Completed { status, body, effect });
    drop(instance);
    true
}

/// The plugin's completion of a call; `ctx` is the call's key.
pub(super) extern "C" fn completed(ctx: *mut c_void, status: i32, response: Buf) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the buffer moves with the call (R3).
        let response = unsafe { Received::new(response) };
        let found = complete(ctx as usize as u64, status, |bridge| {
            let cap = bridge.message_bytes;
            response
                .bytes(cap)
                .map(<[u8]>::to_vec)
                .map_err(|len| too_long(len, cap))
        });
        if !found {
            STRAYS.fetch_add(1, Ordering::Relaxed);
        }
    }));
}

/// Enters a call, and returns its key.
pub(super) fn enter(pending: Pending) -> u64 {
    let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
    PENDING.insert(key, pending);
    key
}

/// What a call is about that is not completed.
pub(super) fn scope_of(key: u64) -> Option<Arc<CallScope>> {
    PENDING.get(&key).and_then(|pending| pending.scope.clone())
}

/// The call that ended an instance's process, where that is known and it was about a payment: the one that the process named, or
/// else the only one that it had.
pub(super) fn culprit(instance_id: u64, named: Option<u64>) -> Option<Arc<CallScope>> {
    let all = PENDING.iter();
    let of_it = all.filter(|one| one.bridge.instance_id == instance_id);
    let open: Vec<(u64, Option<Arc<CallScope>>)> =
        of_it.map(|one| (one.call_id, one.scope.clone())).collect();
    if let Some(named) = named {
        let found = open.into_iter().find(|(call, _)| *call == named);
        return found.and_then(|(_, scope)| scope);
    }
    let payment = |scope: &Option<Arc<CallScope>>| Some(scope.as_ref()?.subject.as_ref()?.digest);
    let (_, first) = open.first()?;
    let digest = payment(first)?;
    let is_alone = open.iter().all(|(_, scope)| payment(scope) == Some(digest));
    first.clone().filter(|_| is_alone)
}

/// Whether a call is not completed.
pub(super) fn is_open(key: u64) -> bool {
    PENDING.contains_key(&key)
}
