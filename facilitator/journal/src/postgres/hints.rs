//! Hints that another node has changed something: `LISTEN` and `NOTIFY`. Nothing depends on one.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};

use super::settings::Settings;
use super::transaction::Link;
use super::trouble::Trouble;
use crate::Event;

/// Hints within this time are sent as one.
const TOGETHER: Duration = Duration::from_millis(10);
/// How long a connection that can't be made is not tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// Wakes waiting tasks of this node and of others.
#[derive(Debug, Default)]
pub(super) struct Hints {
    changed: Notify,
    is_sending: AtomicBool,
}

/// Whether a node that has not recorded the event may wait for it.
pub(super) fn concerns_others(event: &Event) -> bool {
    match event {
        Event::Opened(new) => new.row.handed_over,
        Event::Paid { .. } | Event::Failed { .. } | Event::Reorged { .. } | Event::KeysFreed { .. } => true,
        _ => false,
    }
}

impl Hints {
    /// Waits for a hint.
    pub(super) async fn wait(&self) {
        self.changed.notified().await;
    }

    /// Sends a hint soon, after what was committed. Outside of the commit: a notification would make all commits of all nodes
    /// wait for each other.
    pub(super) fn send(self: &Arc<Self>, runtime: &Handle, link: &Link) {
        if self.is_sending.swap(true, Ordering::AcqRel) {
            return;
        }
        let (hints, link) = (Arc::clone(self), link.clone());
        drop(runtime.spawn(async move {
            tokio::time::sleep(TOGETHER).await;
            hints.is_sending.store(false, Ordering::Release);
            // A hint that is lost does no harm.
            let _ = link.notify().await;
        }));
    }
}

/// Passes on the hints of other nodes, on a connection of its own.
pub(super) async fn listen(settings: Settings, hints: Arc<Hints>) {
    loop {
        // Through a pooler that gives each transaction another session there are no hints: others poll.
        let _ = listen_once(&settings, &hints).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen_once(settings: &Settings, hints: &Hints) -> Result<(), Trouble> {
    let answer = |error: crate::JournalError| Trouble::Answer(error.0);
    let target = settings.target().map_err(answer)?;
    if target.is_encrypted {
        let connector = super::tls::connector(settings.root_certificate.as_deref()).map_err(answer)?;
        let (client, connection) = target
            .config
            .connect(connector)
            .await
            .map_err(Trouble::Database)?;
        pass_on(client, connection, hints).await
    } else {
        let (client, connection) = target.config.connect(NoTls).await.map_err(Trouble::Database)?;
        pass_on(client, connection, hints).await
    }
}

async fn pass_on<S, T>(client: Client, mut connection: Connection<S, T>, hints: &Hints) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let listened = client.batch_execute("LISTEN switchyard");
    let messages = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(_) = message.map_err(Trouble::Database)? {
                hints.changed.notify_waiters();
            }
        }
        Ok(())
    };
    let (listened, ended) = tokio::join!(async { listened.await.map_err(Trouble::Database) }, messages);
    listened.and(ended)
}
