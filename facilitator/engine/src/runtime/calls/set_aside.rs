//! Refuses calls about payments that ended their plugin's process.

use super::Ops;
use crate::registry::Kind;
use base::calls::Operation;
use base::calls::aside::{SetAside, Subject};
use sdk_plugin::Fault;

/// When the caller of a payment that is set aside may try again, in milliseconds. Only the operator can change its state sooner than
/// in an hour.
const RETRY_AFTER_MS: u64 = 60 * 1_000;

impl Ops {
    /// # Errors
    /// The payment is set aside. It is no fault of this call: nothing is counted, and the network is not checked for it.
    pub(super) fn refuse_set_aside(
        &self,
        kind: &Kind,
        operation: Operation,
        subject: &Subject,
    ) -> Result<(), Fault> {
        let instance = &kind.instance;
        match self.calls.aside.check(instance.id, subject) {
            None => return Ok(()),
            Some(SetAside::Known) => {}
            Some(SetAside::News) => {
                let recorded = subject.recorded.as_ref();
                tracing::error!(
                    plugin = instance.plugin,
                    instance = instance.name,
                    scheme = kind.scheme,
                    network = kind.network.id(),
                    operation = operation.name(),
                    settlement = recorded.map(|recorded| recorded.settlement),
                    claim = recorded.map(|recorded| recorded.claim.as_str()),
                    payment = hex::encode(subject.digest),
                    "payment_set_aside: calls about this payment ended the plugin's process twice, so the plugin is not called about it; \
                     what is recorded of it stays pending; install a corrected file, or run `switchyard plugin release {}`",
                    instance.name
                );
                let labels = [
                    ("plugin", instance.name.as_str()),
                    ("network", kind.network.id()),
                    ("scheme", kind.scheme.as_str()),
                ];
                self.metrics.add("switchyard_set_aside_total", &labels, 1);
            }
        }
        Err(Fault {
            retry_after_ms: Some(RETRY_AFTER_MS),
            ..Fault::unavailable("this payment is set aside: calls about it ended the plugin's process")
        })
    }
}
