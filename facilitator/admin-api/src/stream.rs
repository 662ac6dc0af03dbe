//! `GET /api/stream`: the overview again and again, one line of JSON each, until the reader leaves or the listener ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use crate::access::Actor;
use crate::app::App;
use crate::reply;

/// Pause between two lines.
const PERIOD: Duration = Duration::from_secs(2);

struct Open {
    app: Arc<App>,
    actor: Actor,
    is_first: bool,
    _permit: OwnedSemaphorePermit,
}

/// Starts a stream for this reader.
pub(crate) fn start(app: Arc<App>, actor: Actor) -> Response {
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        return reply::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many streams are open; close a page",
        );
    };
    let open = Open {
        app,
        actor,
        is_first: true,
        _permit: permit,
    };
    let lines = stream::unfold(open, |mut open| async move {
        let line = next(&mut open).await?;
        Some((Ok::<_, Infallible>(line), open))
    });
    reply::with_type(
        StatusCode::OK,
        Body::from_stream(lines),
        "application/x-ndjson; charset=utf-8",
    )
}

async fn next(open: &mut Open) -> Option<Bytes> {
    if !open.is_first {
        sleep(PERIOD).await;
    }
    open.is_first = false;
    let mut overview = open.app.desk.overview().await;
    overview.role = open.actor.role.name();
    let mut line = open.app.text(&overview)?;
    line.push('\n');
    Some(Bytes::from(line))
}
