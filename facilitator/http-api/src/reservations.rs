//! `DELETE /reservations/{claim}`: a seller that does not sell ends its reservation before its time.
//! Source: status-and-reservations.md, section 3.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use base::service::ReservationEnd;
use sdk_plugin::wire::reason;
use serde_json::json;
use tokio::time::Instant;

use super::app::App;
use super::envelope;
use super::reply::{json, peer, retry_after};
use super::status::BUSY_RETRY_S;
use crate::settings::Scope;

impl App {
    /// Ends a reservation of the caller's. One that another tenant holds and one that does not exist get the same reply.
    /// `claim`: `None` if it is not UTF-8.
    pub(super) async fn end_reservation(&self, claim: Option<&str>, request: Request) -> Response {
        let started = Instant::now();
        let admitted = self
            .admission
            .admit_read(peer(&request), request.headers(), Scope::Verify);
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(rejected) => {
                let mut response = json(rejected.status, envelope::error(rejected.reason));
                retry_after(&mut response, rejected.retry_after_s);
                return response;
            }
        };
        // Only tenants hold reservations.
        let end = match (claim, &admitted.tenant) {
            (Some(claim), Some(tenant)) => self.service.end_reservation(claim, tenant).await,
            _ => ReservationEnd::NotHeld,
        };
        let (status, outcome, body) = match end {
            ReservationEnd::Ended => (StatusCode::OK, "ok", json!({ "ended": true }).to_string()),
            ReservationEnd::NotHeld => (StatusCode::NOT_FOUND, "not_found", envelope::error("not_found")),
            ReservationEnd::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                reason::SERVICE_UNAVAILABLE,
                envelope::error(reason::SERVICE_UNAVAILABLE),
            ),
        };
        self.measure("/reservations", status, outcome, started);
        let mut response = self.json(status, body);
        let wait = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(BUSY_RETRY_S);
        retry_after(&mut response, wait);
        response
    }
}
