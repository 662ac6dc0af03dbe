//! A call across the plugin boundary. The plugin is linked into this program and attached: a loaded file differs from it
//! in where its code comes from, and not in how it is called.

use std::sync::Arc;

use benches::{Comparisons, repeat};
use plugin_host::{InstanceRequest, Limits, attach};
use schemes_evm::driver::{EvmDriver, FAMILY};
use schemes_evm::exact::{ExactEvm, SCHEME};
use schemes_evm::upto::{self, UptoEvm};
use sdk_plugin::abi::guest::{entry, table};
use sdk_plugin::abi::raw::Plugin;
use sdk_plugin::abi::{Guest, PluginRoles};
use sdk_plugin::{Fault, SchemeHandler, Value};
use serde_json::json;
use tokio::runtime::Builder;

use crate::evm::Node;
use crate::vectors;

struct Evm;

impl Guest for Evm {
    const MANIFEST: &'static str = include_str!("../../../../plugins/evm/manifest.json");

    fn create(_config: Value) -> Result<PluginRoles, Fault> {
        Ok(PluginRoles::default()
            .driver(FAMILY, EvmDriver::new())
            .scheme(SCHEME, ExactEvm::default())
            .scheme(upto::SCHEME, UptoEvm::default()))
    }
}

extern "C" fn evm(major: u16, _minor: u16) -> *const Plugin {
    static EVM: Plugin = table::<Evm>(Evm::MANIFEST.as_bytes());
    entry(&EVM, major)
}

pub(crate) fn compare(comparisons: &mut Comparisons) {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let node = Node::new();
    let instance = InstanceRequest {
        instance_id: 1,
        config: json!({}),
        host: node.clone(),
        limits: Limits::default(),
    };
    // SAFETY: the table is the SDK's, which keeps the ABI's rules.
    let loaded = runtime.block_on(unsafe { attach(evm, instance) });
    let loaded = loaded.expect("attached");
    let remote: Arc<dyn SchemeHandler> = loaded.schemes.get(SCHEME).expect("its scheme").clone();
    let linked: Arc<dyn SchemeHandler> = Arc::new(ExactEvm::default());
    let payment = vectors::evm_payment();

    let identify = |scheme: &Arc<dyn SchemeHandler>| {
        runtime
            .block_on(scheme.identify(&node.cx(), &payment))
            .expect("it answers")
    };
    let verify = |scheme: &Arc<dyn SchemeHandler>| {
        runtime
            .block_on(scheme.verify(&node.cx(), &payment))
            .expect("it answers")
    };
    assert_eq!(identify(&remote), identify(&linked));
    assert_eq!(verify(&remote), verify(&linked));
    comparisons.compare(
        ("plugin", "identify through the C ABI"),
        repeat(|| identify(&remote)),
        "the same handler, linked in",
        repeat(|| identify(&linked)),
    );
    comparisons.compare(
        ("plugin", "verify through the C ABI"),
        repeat(|| verify(&remote)),
        "the same handler, linked in",
        repeat(|| verify(&linked)),
    );
}
