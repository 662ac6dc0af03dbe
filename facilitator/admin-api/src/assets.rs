//! The dashboard's files. They are built from `dashboard/` and committed, so that a build of this crate needs no Node.js.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;

use crate::reply;

/// A file of the dashboard.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 4] = [
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../assets/index.html"),
    },
    Asset {
        path: "/assets/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/app.js"),
    },
    Asset {
        path: "/assets/app.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../assets/app.css"),
    },
    Asset {
        path: "/assets/favicon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../assets/favicon.svg"),
    },
];

/// The file at exactly this path.
pub(crate) fn at(path: &str) -> Option<Response> {
    let asset = ASSETS.iter().find(|asset| asset.path == path)?;
    Some(reply::with_type(
        StatusCode::OK,
        Body::from(asset.bytes),
        asset.content_type,
    ))
}
