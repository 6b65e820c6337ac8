//! Several gateways of one cluster: which are there, what they speak, and which to leave alone for a while.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::cluster::connection::{Connection, Opening};
use crate::cluster::reply::simple::ServerType;
use crate::cluster::{Api, Client, ClusterError, GatewayAddress, GatewayOptions, Transport};

/// What probing found out about a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayInfo {
    /// `HOST:PORT`.
    pub address: String,
    /// The service it offers.
    pub api: Api,
    /// How it wants its messages.
    pub transport: Transport,
}

impl fmt::Display for GatewayInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.address, self.api, self.transport)
    }
}

#[derive(Debug, Default)]
struct State {
    info: Option<GatewayInfo>,
    resting_until: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    address: GatewayAddress,
    state: Mutex<State>,
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Shared {
    entries: Vec<Entry>,
    options: GatewayOptions,
    stop: Arc<AtomicBool>,
    next: AtomicUsize,
    /// A gateway that answered speaks Thrift2.
    thrift2: AtomicBool,
}

/// The gateways of one cluster; cheap to clone and shared by all threads. Connects to nothing by itself.
#[derive(Debug, Clone)]
pub struct Gateways(Arc<Shared>);

/// The order of probing: an unframed gateway answers the first at once and leaves the framed ones in silence, every
/// other kind closes the connection at once unless it is spoken to in its own way.
const PROBES: [Transport; 4] = [
    Transport { framed: false, compact: false },
    Transport { framed: true, compact: false },
    Transport { framed: true, compact: true },
    Transport { framed: false, compact: true },
];

impl Gateways {
    /// Gateways that all serve the same cluster. Raising `stop` ends every wait of their clients.
    ///
    /// # Errors
    /// [`ClusterError::NoGateway`] for an empty list.
    pub fn new(
        addresses: Vec<GatewayAddress>,
        options: GatewayOptions,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, ClusterError> {
        if addresses.is_empty() {
            return Err(ClusterError::NoGateway);
        }
        let entries = addresses.into_iter().map(|address| Entry { address, state: Mutex::default() }).collect();
        Ok(Self(Arc::new(Shared {
            entries,
            options,
            stop,
            next: AtomicUsize::new(0),
            thrift2: AtomicBool::new(false),
        })))
    }

    /// A client of its own connection. Clients are spread over the gateways in turn.
    pub fn client(&self) -> Client {
        Client::new(self.clone(), self.0.next.fetch_add(1, Ordering::Relaxed) % self.len())
    }

    /// Number of gateways, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "there is always a gateway")]
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// The settings.
    pub fn options(&self) -> &GatewayOptions {
        &self.0.options
    }

    pub(crate) fn stop(&self) -> &AtomicBool {
        &self.0.stop
    }

    /// Probes every gateway that is not known yet; for reports and preflight checks.
    pub fn survey(&self) -> Vec<(GatewayAddress, Result<GatewayInfo, ClusterError>)> {
        let found = |slot: usize, entry: &Entry| {
            let known = entry.state().info.clone();
            known.map_or_else(|| self.open(slot).map(|(_, info)| info), Ok)
        };
        self.0.entries.iter().enumerate().map(|(slot, entry)| (entry.address.clone(), found(slot, entry))).collect()
    }

    /// `wanted`, or the next one that is not left alone, or the one that is left alone for the shortest time. One that
    /// is passed over comes last.
    pub(crate) fn pick(&self, wanted: usize) -> usize {
        let now = Instant::now();
        let order = |slot: usize| {
            let state = self.0.entries.get(slot).map(Entry::state);
            let (info, until) =
                state.map_or((None, None), |state| (state.info.as_ref().map(|i| i.api), state.resting_until));
            let rest = until.map_or_else(Default::default, |until| until.saturating_duration_since(now));
            (info.is_some_and(|api| self.passes_over(api)), rest)
        };
        let in_turn = (0..self.len()).map(|step| (wanted + step) % self.len());
        in_turn.min_by_key(|slot| order(*slot)).unwrap_or(wanted)
    }

    /// Whether gateways of this service are not used: Thrift1 as soon as one of the others was found to speak Thrift2,
    /// and for ever after, so that no page of a scan is poorer than the page before.
    pub(crate) fn passes_over(&self, api: Api) -> bool {
        api == Api::Thrift1 && self.0.thrift2.load(Ordering::Relaxed)
    }

    /// Probes the gateways that are not known yet and not left alone.
    pub(crate) fn ask_the_unknown(&self) {
        for (slot, entry) in self.0.entries.iter().enumerate() {
            let asked = {
                let state = entry.state();
                state.info.is_some() || state.resting_until.is_some_and(|until| until > Instant::now())
            };
            if !asked && let Err(error) = self.open(slot) {
                tracing::debug!(%error, "a gateway does not say what it speaks");
                self.rest(slot);
            }
        }
    }

    /// Leaves a gateway alone for a while.
    pub(crate) fn rest(&self, slot: usize) {
        if let Some(entry) = self.0.entries.get(slot) {
            entry.state().resting_until = Some(Instant::now() + self.0.options.rest);
        }
    }

    /// Forgets what a gateway spoke: it may have been started anew with other settings.
    pub(crate) fn forget(&self, slot: usize) {
        if let Some(entry) = self.0.entries.get(slot) {
            entry.state().info = None;
        }
    }

    /// A new connection, probing what is not known.
    pub(crate) fn open(&self, slot: usize) -> Result<(Connection, GatewayInfo), ClusterError> {
        let entry = self.0.entries.get(slot).ok_or(ClusterError::NoGateway)?;
        let known = entry.state().info.clone();
        match known {
            Some(info) => self.open_known(entry, info),
            None => {
                let (connection, info) = self.probe(entry)?;
                tracing::info!(gateway = %info, "found");
                self.0.thrift2.fetch_or(info.api == Api::Thrift2, Ordering::Relaxed);
                let mut state = entry.state();
                state.info = Some(info.clone());
                state.resting_until = None;
                Ok((connection, info))
            }
        }
    }

    fn open_known(&self, entry: &Entry, info: GatewayInfo) -> Result<(Connection, GatewayInfo), ClusterError> {
        match Connection::open(&entry.address, info.transport, &self.0.options) {
            Ok((connection, _)) => Ok((connection, info)),
            Err(opening) => {
                if !matches!(opening, Opening::Failed(_) | Opening::Silent) {
                    entry.state().info = None;
                }
                let gateway = entry.address.to_string();
                Err(match opening {
                    Opening::Failed(error) => error,
                    Opening::Silent => ClusterError::Silent { gateway },
                    Opening::Http => ClusterError::Http { gateway },
                    Opening::Closed => ClusterError::Lost {
                        gateway,
                        method: "getThriftServerType",
                        reason: "at once, which means that it is overloaded or was restarted".into(),
                    },
                    Opening::Garbage(reason) => {
                        ClusterError::Protocol { gateway, method: "getThriftServerType", reason }
                    }
                })
            }
        }
    }

    fn probe(&self, entry: &Entry) -> Result<(Connection, GatewayInfo), ClusterError> {
        let gateway = entry.address.to_string();
        let forced = self.0.options.transport.map(|transport| [transport]);
        let candidates = forced.as_ref().map_or(PROBES.as_slice(), |one| one.as_slice());
        for (number, &transport) in candidates.iter().enumerate() {
            match Connection::open(&entry.address, transport, &self.0.options) {
                Ok((connection, found)) => {
                    let info = GatewayInfo { api: service(entry, found, &gateway)?, address: gateway, transport };
                    return Ok((connection, info));
                }
                Err(Opening::Failed(error)) => return Err(error),
                Err(Opening::Http) => return Err(ClusterError::Http { gateway }),
                // Only the first guess tells: a wrong one may be met with silence by a gateway that is well.
                Err(Opening::Silent) if number == 0 => return Err(ClusterError::Silent { gateway }),
                Err(Opening::Closed | Opening::Silent | Opening::Garbage(_)) => {}
            }
        }
        Err(ClusterError::NoTransport { gateway })
    }
}

/// The service of a gateway: what it says, which must be what the address asks for. Gateways before HBase 2.3 do not
/// say; they are taken for what the address asks for, or for Thrift2.
fn service(entry: &Entry, found: ServerType, gateway: &str) -> Result<Api, ClusterError> {
    match (found, entry.address.api) {
        (ServerType::Known(found), Some(needed)) if found != needed => {
            Err(ClusterError::WrongApi { gateway: gateway.to_owned(), found, needed })
        }
        (ServerType::Known(found), _) => Ok(found),
        (ServerType::Unknown, asked) => Ok(asked.unwrap_or(Api::Thrift2)),
    }
}
