//! Which handler answers a path and method, and what every request must show first.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::path::Path;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use tokio::time::timeout;

use crate::access::{Actor, Refused, Role};
use crate::app::{App, peer};
use crate::assets;
use crate::change::Change;
use crate::desk::PaymentQuery;
use crate::error::DeskError;
use crate::{reply, stream};

/// Largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1_024;
/// How long a body may take.
const BODY_READ: Duration = Duration::from_secs(5);
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

pub(crate) fn router(app: Arc<App>) -> Router {
    let mut api = Router::new()
        .route("/api/overview", get(overview))
        .route("/api/stream", get(streamed))
        .route("/api/series", get(series))
        .route("/api/payments", get(payments))
        .route("/api/payments/{name}", get(explain))
        .route("/api/log", get(acts));
    for path in Change::PATHS {
        let change = move |State(app): State<Arc<App>>, request: Request| change(app, path, request);
        api = api.route(&format!("/api/{path}"), post(change));
    }
    api.method_not_allowed_fallback(|| async {
        reply::error(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method")
    })
    .fallback(asset)
    .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
    .with_state(app)
}

/// Refuses what is not for this listener, and what lacks a token. The dashboard's files need none: they show nothing.
async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let checked = app.access.is_ours(request.headers()).and_then(|()| {
        if is_api(request.uri().path()) {
            app.access.actor(peer(&request), request.headers()).map(Some)
        } else {
            Ok(None)
        }
    });
    let mut response = match checked {
        Ok(actor) => {
            if let Some(actor) = actor {
                request.extensions_mut().insert(actor);
            }
            next.run(request).await
        }
        Err(refused) => refused.response(),
    };
    reply::secure(&mut response);
    response
}

/// Everything but the dashboard's files needs a token, so that a path that is spelled in another way opens nothing.
fn is_api(path: &str) -> bool {
    assets::at(path).is_none()
}

async fn asset(request: Request) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match assets::at(request.uri().path()) {
        Some(asset) if is_read => asset,
        Some(_) => reply::error(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method"),
        None => reply::error(StatusCode::NOT_FOUND, "there is no such path"),
    }
}

/// The actor that the guard has found. Without one, nobody may do anything.
fn actor(request: &Request) -> Option<Actor> {
    request.extensions().get::<Actor>().cloned()
}

fn no_actor() -> Response {
    Refused::Token.response()
}

async fn overview(State(app): State<Arc<App>>, request: Request) -> Result<Response, Response> {
    let actor = actor(&request).ok_or_else(no_actor)?;
    let mut overview = app.desk.overview().await;
    overview.role = actor.role.name();
    Ok(app.json(&overview))
}

async fn streamed(State(app): State<Arc<App>>, request: Request) -> Result<Response, Response> {
    let actor = actor(&request).ok_or_else(no_actor)?;
    Ok(stream::start(app, actor))
}

async fn series(State(app): State<Arc<App>>) -> Response {
    app.json(&app.desk.series().await)
}

async fn acts(State(app): State<Arc<App>>) -> Response {
    match app.desk.acts().await {
        Ok(acts) => app.json(&acts),
        Err(error) => failed(&app, &error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    status: Option<String>,
    network: Option<String>,
    tenant: Option<String>,
    payer: Option<String>,
    payee: Option<String>,
    q: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn payments(
    State(app): State<Arc<App>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Response> {
    let Query(wanted) = wanted.map_err(|_| {
        reply::error(
            StatusCode::BAD_REQUEST,
            "the query has other members than status, network, tenant, payer, payee, q, cursor and limit, or a value that is none",
        )
    })?;
    // An empty field of a form means nothing.
    let some = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
    let query = PaymentQuery {
        status: some(wanted.status),
        network: some(wanted.network),
        tenant: some(wanted.tenant),
        payer: some(wanted.payer),
        payee: some(wanted.payee),
        name: some(wanted.q),
        cursor: some(wanted.cursor),
        limit: wanted.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
    };
    Ok(match app.desk.payments(&query).await {
        Ok(page) => app.json(&page),
        Err(error) => failed(&app, &error),
    })
}

async fn explain(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Response> {
    let Path(name) = name.map_err(|_| reply::error(StatusCode::BAD_REQUEST, "the name is not UTF-8"))?;
    Ok(match app.desk.explain(&name).await {
        Ok(explained) => app.json(&explained),
        Err(error) => failed(&app, &error),
    })
}

async fn change(app: Arc<App>, path: &'static str, request: Request) -> Result<Response, Response> {
    let actor = actor(&request).ok_or_else(no_actor)?;
    let needed = Change::role_of(path);
    if actor.role < needed {
        return Err(forbidden(needed));
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_json = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"));
    // A form of a page can't send this type.
    if !is_json {
        return Err(reply::error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send Content-Type: application/json",
        ));
    }
    let body = read(request.into_body()).await?;
    let change = Change::read(path, &body).map_err(|error| failed(&app, &error))?;
    let what = change.name();
    let desk = Arc::clone(&app.desk);
    let made = async move {
        let made = desk.change(&actor, change).await;
        match &made {
            Ok(_) => tracing::info!(by = %actor.name, what, "operator_acted"),
            Err(error) => tracing::warn!(by = %actor.name, what, "operator_failed: {error}"),
        }
        made
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a client that hangs up must not stop a change between its record and its end"
    )]
    let made = tokio::spawn(made).await;
    match made {
        Ok(Ok(done)) => Ok(app.json(&done)),
        Ok(Err(error)) => Err(failed(&app, &error)),
        Err(_) => Err(reply::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the change was not completed, which is a defect; the log says more",
        )),
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Response> {
    let read = Limited::new(body, MAX_BODY_BYTES).collect();
    match timeout(BODY_READ, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(reply::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is longer than 16 KiB",
        )),
        Ok(Err(_)) => Err(reply::error(
            StatusCode::BAD_REQUEST,
            "the body did not arrive whole",
        )),
        Err(_) => Err(reply::error(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive within 5 s",
        )),
    }
}

fn forbidden(needed: Role) -> Response {
    let sentence = format!(
        "this needs a token with the role {:?}{}",
        needed.name(),
        if needed == Role::Money {
            ""
        } else {
            " or a higher one"
        }
    );
    reply::error(StatusCode::FORBIDDEN, &sentence)
}

fn failed(app: &App, error: &DeskError) -> Response {
    app.hidden(error.response(), &error.to_string())
}
