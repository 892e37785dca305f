//! `/docs/cli/ringback`: this very program, for vendors' developers who have no package of it.

use std::fs::File;
use std::io::{self, Read};
use std::sync::LazyLock;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

use crate::limits;

/// How many may be under way: they need no login.
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(limits::DOWNLOADS_AT_ONCE));

/// Answers with the file of the running program. On Linux that is the one that was started, also when an upgrade has put another
/// one in its place.
pub(super) async fn download() -> Response {
    let Ok(place) = PLACES.try_acquire() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "Too many downloads at once. Try again in a few seconds.\n");
    };
    let opened = spawn_blocking(|| {
        let file = File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))?;
        let length = file.metadata()?.len();
        Ok::<_, io::Error>((file, length))
    });
    match opened.await.map_err(io::Error::other).and_then(|opened| opened) {
        Ok((file, length)) => {
            let headers = [
                (CONTENT_TYPE, "application/octet-stream".to_owned()),
                (CONTENT_DISPOSITION, "attachment; filename=\"ringback\"".to_owned()),
                (CONTENT_LENGTH, length.to_string()),
            ];
            (headers, Body::from_stream(futures_util::stream::unfold(Some((file, place)), part))).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "the program's own file cannot be read; nobody can download it from here");
            refusal(StatusCode::NOT_FOUND, "This server cannot read its own program. Ask its operator for the package.\n")
        }
    }
}

fn refusal(status: StatusCode, told: &'static str) -> Response {
    (status, [(RETRY_AFTER, "5"), (CONTENT_TYPE, "text/plain; charset=utf-8")], told).into_response()
}

type Rest = Option<(File, SemaphorePermit<'static>)>;

/// The next part of the file. An error ends the response before its length is reached, which every client notices.
async fn part(rest: Rest) -> Option<(io::Result<Bytes>, Rest)> {
    let (mut file, place) = rest?;
    let read = spawn_blocking(move || {
        let mut bytes = Vec::with_capacity(limits::DOWNLOAD_PART);
        let read = (&mut file).take(limits::DOWNLOAD_PART as u64).read_to_end(&mut bytes);
        read.map(|_| (Bytes::from(bytes), file))
    });
    match read.await.map_err(io::Error::other).and_then(|read| read) {
        Ok((bytes, _)) if bytes.is_empty() => None,
        Ok((bytes, file)) => Some((Ok(bytes), Some((file, place)))),
        Err(error) => Some((Err(error), None)),
    }
}
