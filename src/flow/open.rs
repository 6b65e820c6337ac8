//! From what a user types to the values that plans hold.

use std::time::Duration;

use serde::Serialize;

use crate::cluster::{GatewayAddress, GatewayOptions, Gateways, RetryPolicy, Transport};
use crate::flow::{Cancel, FlowError, Progress};
use crate::store::{RepositoryUrl, Store, StoreError, StoreOptions};

/// How to reach the gateways.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// `HOST:PORT`, `thrift1://HOST:PORT` or `thrift2://HOST:PORT`, all of one cluster.
    pub gateways: Vec<String>,
    /// Framed or unframed; `None`: probed.
    pub framed: Option<bool>,
    /// Compact or binary; `None`: probed.
    pub compact: Option<bool>,
    /// For a TCP connection.
    pub connect_timeout: Duration,
    /// For the answer to anything but a put or a change of tables.
    pub read_timeout: Duration,
    /// For the answer to a put or a change of tables. One that meets a disabled table takes 170 s to fail.
    pub put_timeout: Duration,
    /// For writing a request.
    pub write_timeout: Duration,
    /// How long a failing call is repeated.
    pub retry_for: Duration,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        let options = GatewayOptions::default();
        Self {
            gateways: Vec::new(),
            framed: None,
            compact: None,
            connect_timeout: options.connect_timeout,
            read_timeout: options.scan_timeout,
            put_timeout: options.put_timeout,
            write_timeout: options.write_timeout,
            retry_for: options.retry.total,
        }
    }
}

/// Gateways to connect to; nothing is sent yet. What their clients wait for shows in `progress`.
///
/// # Errors
/// [`FlowError::Input`] for an address that is none.
pub fn open_gateways(settings: &GatewaySettings, progress: &Progress, cancel: &Cancel) -> Result<Gateways, FlowError> {
    let addresses = settings.gateways.iter().map(|text| GatewayAddress::parse(text)).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.map_err(|e| FlowError::input(e.to_string()))?;
    let defaults = GatewayOptions::default();
    let transport = match (settings.framed, settings.compact) {
        (None, None) => None,
        (framed, compact) => Some(Transport::new(framed.unwrap_or(false), compact.unwrap_or(false))),
    };
    let options = GatewayOptions {
        connect_timeout: settings.connect_timeout,
        scan_timeout: settings.read_timeout,
        put_timeout: settings.put_timeout,
        call_timeout: settings.read_timeout.min(defaults.call_timeout),
        write_timeout: settings.write_timeout,
        transport,
        retry: RetryPolicy { total: settings.retry_for, ..defaults.retry },
        waits: progress.waits().clone(),
        ..defaults
    };
    Gateways::new(addresses, options, cancel.flag()).map_err(|e| FlowError::input(e.to_string()))
}

/// Where a repository is and how to get there.
#[derive(Debug, Clone, Default)]
pub struct RepositorySettings {
    /// A path, `file:///PATH` or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// S3 and retries.
    pub options: StoreOptions,
}

/// The store behind a repository. A missing directory is made when `create` says so.
///
/// # Errors
/// [`FlowError::Input`] for a URL that is none; the store's own.
pub fn open_store(settings: &RepositorySettings, create: bool) -> Result<Store, FlowError> {
    let url: RepositoryUrl = settings.url.parse().map_err(|e: StoreError| FlowError::input(e.to_string()))?;
    let open = if create { Store::open_or_create } else { Store::open };
    Ok(open(&url, &settings.options)?)
}

/// The store behind a repository for a run that writes nothing there. A local directory that is missing and that a backup
/// may create is an empty store, with words that say so.
///
/// # Errors
/// [`FlowError::Input`] for a URL that is none; the store's own; what keeps a backup from creating the directory.
pub fn open_store_to_look(settings: &RepositorySettings) -> Result<(Store, Option<String>), FlowError> {
    match open_store(settings, false) {
        Err(FlowError::Store(StoreError::NotFound { .. })) => {
            let url: RepositoryUrl = settings.url.parse().map_err(|e: StoreError| FlowError::input(e.to_string()))?;
            Store::may_create(&url)?;
            Ok((Store::in_memory(), Some(nothing_yet(settings))))
        }
        store => Ok((store?, None)),
    }
}

/// Says that there is no repository, and that this is no error.
pub fn nothing_yet(settings: &RepositorySettings) -> String {
    format!("{}: nothing there yet; the first backup creates it", settings.url)
}

/// A report as one line of JSON.
pub fn to_json<T: Serialize>(value: &T) -> String {
    // Reports are plain structs with text keys, which JSON can always express.
    crate::manifest::to_json(value).unwrap_or_else(|e| format!("{{\"error\":{:?}}}", e.to_string()))
}
