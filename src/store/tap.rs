//! What the answers of an S3 server tell beside their content, and the answers that the client below must not repeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use http::StatusCode;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use crate::model::time::now_ms;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Seen {
    /// An object has a version id: the bucket keeps versions, and a delete only hides.
    versions: AtomicBool,
    /// The server's clock minus this machine's, ms; [`UNKNOWN`] before the first answer.
    clock_ms: AtomicI64,
}

const UNKNOWN: i64 = i64::MIN;

impl Default for Seen {
    fn default() -> Self {
        Self { versions: AtomicBool::new(false), clock_ms: AtomicI64::new(UNKNOWN) }
    }
}

impl Seen {
    /// True when the bucket keeps versions of what is deleted.
    pub fn versions(&self) -> bool {
        self.versions.load(Ordering::Relaxed)
    }

    /// How far the server's clock is ahead of this machine's, ms, to a second.
    pub fn clock_ms(&self) -> Option<i64> {
        Some(self.clock_ms.load(Ordering::Relaxed)).filter(|ms| *ms != UNKNOWN)
    }

    /// Notes how far the server's clock is ahead.
    pub fn set_clock(&self, ahead_ms: i64) {
        self.clock_ms.store(ahead_ms, Ordering::Relaxed);
    }

    fn note(&self, response: &HttpResponse) {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        // A bucket whose versioning was never switched on sends none, one where it is suspended sends "null".
        if header("x-amz-version-id").is_some_and(|version| version != "null") {
            self.versions.store(true, Ordering::Relaxed);
        }
        if let Some(date) = header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
            // The date has no fraction: half a second is in the middle.
            let ahead = date.timestamp().as_millisecond().saturating_add(500).saturating_sub(now_ms());
            self.set_clock(ahead);
        }
    }
}

/// Answers that are final although their status is one of the server's errors, with a status of ours that the client
/// below does not take for a reason to try again.
const FINAL: [(StatusCode, u16, &str); 2] = [
    (StatusCode::NOT_IMPLEMENTED, 471, "501 Not Implemented"),
    (StatusCode::INSUFFICIENT_STORAGE, 472, "507 Insufficient Storage"),
];

/// Puts the server's own status back into a text about an error.
pub(super) fn with_true_status(text: String) -> String {
    FINAL.iter().fold(text, |text, (_, ours, real)| {
        text.replace(&format!("status code: {ours} <unknown status code>"), &format!("status code: {real}"))
    })
}

/// The client of the library with a [`Seen`] behind it.
#[derive(Debug, Default)]
pub(super) struct Tap(pub(super) Arc<Seen>);

impl HttpConnector for Tap {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Tapped { inner, seen: Arc::clone(&self.0) }))
    }
}

#[derive(Debug)]
struct Tapped {
    inner: HttpClient,
    seen: Arc<Seen>,
}

#[async_trait]
impl HttpService for Tapped {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut response = self.inner.execute(request).await?;
        self.seen.note(&response);
        let ours = FINAL.iter().find(|(status, ..)| response.status() == *status);
        if let Some(status) = ours.and_then(|(_, ours, _)| StatusCode::from_u16(*ours).ok()) {
            *response.status_mut() = status;
        }
        Ok(response)
    }
}
