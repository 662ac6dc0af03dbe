//! A plugin that ends its process, blocks it or uses it up: where and how is in its configuration.

use serde_json::{Value, json};

use crate::World;
use crate::compiled::Compiled;

/// A build of `tests/plugins/fatal`.
#[derive(Debug)]
pub struct Fatal(Compiled);

impl Fatal {
    /// Compiles it.
    ///
    /// # Panics
    /// Without a C compiler.
    #[must_use]
    pub fn build(flags: &[&str]) -> Fatal {
        let flags = [&["-O0"], flags].concat();
        Fatal(Compiled::build(&["tests/plugins/fatal/fatal.c"], &flags))
    }

    /// Its section of the configuration, in the facilitator's process.
    ///
    /// # Panics
    /// When its file is gone.
    #[must_use]
    pub fn section(&self, at: &str, how: &str) -> String {
        format!(
            "[plugin.fatal]\n{}isolation = \"none\"\nconfig = {{ at = {at:?}, how = {how:?} }}\n",
            self.0.pinned()
        )
    }
}

/// A payment of its scheme.
///
/// # Panics
/// Never: the payment that it changes has these members.
#[must_use]
pub fn payment(world: &World, nonce: &str) -> Value {
    let mut body = world.payment(0).v2();
    for terms in ["/paymentRequirements/scheme", "/paymentPayload/accepted/scheme"] {
        *body.pointer_mut(terms).expect("a scheme") = json!("fatal");
    }
    *body.pointer_mut("/paymentPayload/payload").expect("a payload") = json!({ "nonce": nonce });
    body
}
