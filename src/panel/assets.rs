//! The style, the script and the icon. Their addresses carry their contents' hash, so that browsers keep them for good.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use sha2::{Digest, Sha256};

use crate::http::Api;

/// A file that is part of the program.
pub(super) struct Asset {
    pub address: String,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(name: &str, kind: &'static str, text: &'static str) -> Self {
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(text)[..6]);
        Self { address: format!("/panel/assets/{hash}/{name}"), kind, text }
    }
}

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("panel.css", "text/css; charset=utf-8", include_str!("assets/panel.css")));
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("panel.js", "text/javascript; charset=utf-8", include_str!("assets/panel.js")));
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")));

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/panel/assets/{hash}/{name}", get(serve)).route("/favicon.ico", get(|| async { respond(&ICON) }))
}

async fn serve(Path((hash, name)): Path<(String, String)>) -> Response {
    let address = format!("/panel/assets/{hash}/{name}");
    let found = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.address == address);
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |asset| respond(asset))
}

fn respond(asset: &Asset) -> Response {
    let headers = [(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, "public, max-age=31536000, immutable"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, asset.text).into_response()
}
