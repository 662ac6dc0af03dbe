//! A call across the plugin boundary, by where the plugin's code is: linked into this program and attached, loaded from its file,
//! and in a process of its own. `identify` calls no host service, `verify` calls one.
//!
//! The file and the program of that process are those of the release build, which must be there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use benches::{Comparisons, repeat};
use plugin_host::{
    InstanceRequest, Isolation, Limits, LoadRequest, Loaded, Pin, RunnerSettings, Sandbox, attach, load,
};
use schemes_evm::driver::{EvmDriver, FAMILY};
use schemes_evm::exact::{ExactEvm, SCHEME};
use schemes_evm::upto::{self, UptoEvm};
use sdk_plugin::abi::guest::{entry, table};
use sdk_plugin::abi::raw::Plugin;
use sdk_plugin::abi::{Guest, PluginRoles};
use sdk_plugin::{Fault, PaymentRequest, SchemeHandler, Value};
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

fn instance(instance_id: u64, node: &Arc<Node>) -> InstanceRequest {
    InstanceRequest {
        instance_id,
        config: json!({}),
        host: node.clone(),
        limits: Limits::default(),
        calls: Arc::default(),
    }
}

/// Where the release build puts its files, as this program lies in `deps` there.
fn release() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let release = own.parent()?.parent()?.to_owned();
    let is_built = |name: &str| release.join(name).is_file();
    (is_built("switchyard") && is_built("libswitchyard_evm.so")).then_some(release)
}

async fn loaded(release: &Path, copies: &Path, node: &Arc<Node>, isolation: Isolation, id: u64) -> Loaded {
    let request = LoadRequest {
        path: release.join("libswitchyard_evm.so"),
        pin: Pin::DevMode,
        libraries: Vec::new(),
        copies: copies.to_owned(),
        isolation,
        instance: instance(id, node),
    };
    load(request).await.expect("the shipped plugin loads")
}

/// Asserts that two handlers answer alike, byte for byte; how many answers that were.
async fn compare_answers(
    remote: &Arc<dyn SchemeHandler>,
    linked: &Arc<dyn SchemeHandler>,
    node: &Arc<Node>,
    corpus: &[PaymentRequest],
) -> usize {
    let mut same = 0;
    let mut compare = |remote: Result<Vec<u8>, Fault>, linked, payment: &PaymentRequest| {
        assert_eq!(remote, linked, "{payment:?}");
        same += 1;
    };
    for payment in corpus {
        let of = |scheme: Arc<dyn SchemeHandler>| async move {
            [
                bytes(scheme.identify(&node.cx(), payment).await),
                bytes(scheme.verify(&node.cx(), payment).await),
                bytes(scheme.plan(&node.cx(), payment).await),
            ]
        };
        let (remote, linked) = (of(Arc::clone(remote)).await, of(Arc::clone(linked)).await);
        for (remote, linked) in remote.into_iter().zip(linked) {
            compare(remote, linked, payment);
        }
    }
    same
}

fn bytes<T: serde::Serialize>(answer: Result<T, Fault>) -> Result<Vec<u8>, Fault> {
    answer.map(|answer| serde_json::to_vec(&answer).expect("JSON can be written"))
}

pub(crate) fn compare(comparisons: &mut Comparisons) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let node = Node::new();
    // SAFETY: the table is the SDK's, which keeps the ABI's rules.
    let attached = runtime.block_on(unsafe { attach(evm, instance(1, &node)) });
    let mut plugins = vec![("through the C ABI", attached.expect("attached"))];
    let copies = tempfile::tempdir().expect("a folder");
    match release() {
        Some(release) => {
            let runner = RunnerSettings {
                program: release.join("switchyard"),
                sandbox: Sandbox::Partial,
                memory_bytes: 512 << 20,
            };
            for (id, name, isolation) in [
                (2, "in a loaded file", Isolation::None),
                (3, "in a process of its own", Isolation::Process(runner)),
            ] {
                let plugin = loaded(&release, copies.path(), &node, isolation, id);
                plugins.push((name, runtime.block_on(plugin)));
            }
        }
        None => println!("not measured: loaded and isolated plugins, which need the release build"),
    }
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
    let corpus = vectors::evm_corpus();
    for (code, loaded) in &plugins {
        let remote = loaded.schemes.get(SCHEME).expect("its scheme");
        let same = runtime.block_on(compare_answers(remote, &linked, &node, &corpus));
        println!(
            "{code}: {same} answers to {} payments are those of the linked handler, byte for byte",
            corpus.len()
        );
        comparisons.compare(
            ("plugin", &format!("identify {code}")),
            repeat(|| identify(remote)),
            "the same handler, linked in",
            repeat(|| identify(&linked)),
        );
        comparisons.compare(
            ("plugin", &format!("verify {code}")),
            repeat(|| verify(remote)),
            "the same handler, linked in",
            repeat(|| verify(&linked)),
        );
    }
}
