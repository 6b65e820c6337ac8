//! Several gateways of one cluster: which are there, what they speak, and which to leave alone for a while.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::cluster::connection::Connection;
use crate::cluster::greeting::{self, Foreign, Opening};
use crate::cluster::identity::{self, Expected};
use crate::cluster::reply::simple::ServerType;
use crate::cluster::slot::Slot;
use crate::cluster::{Api, Client, ClusterError, ClusterIdentity, GatewayAddress, GatewayOptions, Transport};

/// What probing found out about a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayInfo {
    /// `HOST:PORT`, with its address behind it where one name stands for several gateways.
    pub address: String,
    /// The service it offers.
    pub api: Api,
    /// How it wants its messages.
    pub transport: Transport,
    /// What it says of its cluster.
    pub cluster: ClusterIdentity,
    /// It answers the question for its service, which HBase 2.3 introduced.
    pub names_service: bool,
}

impl GatewayInfo {
    /// The release of HBase, as far as the calls that it knows give it away.
    pub fn release(&self) -> &'static str {
        match (self.cluster.id.is_some(), self.names_service) {
            (true, _) => "HBase 2.5 or later",
            (false, true) => "HBase before 2.5",
            (false, false) => "HBase before 2.3",
        }
    }
}

impl fmt::Display for GatewayInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.address, self.api, self.transport, self.release())
    }
}

#[derive(Debug, Default)]
struct State {
    info: Option<GatewayInfo>,
    /// It was a gateway once, so silence and closed connections are passing troubles.
    answered: bool,
    resting_until: Option<Instant>,
    /// Methods that it does not know.
    lacks: BTreeSet<&'static str>,
    /// Whether it knows the calls for tables, which came with HBase 2.2, when it was asked.
    manages_tables: Option<bool>,
}

#[derive(Debug)]
struct Entry {
    slot: Slot,
    state: Mutex<State>,
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure of a probe, when the gateway is known to be one: it is worth more patience than a port that never
    /// answered.
    fn in_its_light(&self, error: ClusterError) -> ClusterError {
        match error {
            ClusterError::Silent { gateway } if self.state().answered => ClusterError::Busy { gateway },
            ClusterError::NoTransport { gateway } | ClusterError::NotThrift { gateway, .. }
                if self.state().answered =>
            {
                closed_at_once(gateway)
            }
            other => other,
        }
    }
}

#[derive(Debug)]
struct Shared {
    entries: Vec<Entry>,
    options: GatewayOptions,
    stop: Arc<AtomicBool>,
    next: AtomicUsize,
    /// The gateways beside each host that was asked for.
    near: Mutex<HashMap<String, Arc<[usize]>>>,
    /// A gateway that answered speaks Thrift2.
    thrift2: AtomicBool,
    /// The one cluster.
    cluster: Mutex<Expected>,
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
    /// Gateways that all serve the same cluster. Names are looked up now, and one with several addresses is as many
    /// gateways. Raising `stop` ends every wait of their clients.
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
        let slots = addresses.into_iter().flat_map(|address| Slot::resolve(address, &options.resolver));
        let entries = slots.map(|slot| Entry { slot, state: Mutex::default() }).collect();
        Ok(Self(Arc::new(Shared {
            entries,
            options,
            stop,
            next: AtomicUsize::new(0),
            near: Mutex::default(),
            thrift2: AtomicBool::new(false),
            cluster: Mutex::default(),
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

    /// Probes a gateway that is not known yet, for reports and the preflight. Its number goes from 0 to
    /// [`len`](Self::len); one that does not answer is neither tried again nor left alone.
    ///
    /// # Errors
    /// Any [`ClusterError`] of connecting.
    pub fn look_at(&self, gateway: usize) -> Result<GatewayInfo, ClusterError> {
        let entry = self.0.entries.get(gateway).ok_or(ClusterError::NoGateway)?;
        let known = entry.state().info.clone();
        known.map_or_else(|| self.open(gateway).map(|(_, info)| info), Ok)
    }

    /// The addresses of all gateways, by their numbers.
    pub fn addresses(&self) -> Vec<String> {
        self.0.entries.iter().map(|entry| entry.slot.to_string()).collect()
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

    /// Whether there is a gateway that need not be left alone.
    pub(crate) fn one_is_rested(&self) -> bool {
        let now = Instant::now();
        let rested = |entry: &Entry| {
            let state = entry.state();
            let used = !state.info.as_ref().is_some_and(|info| self.passes_over(info.api));
            used && state.resting_until.is_none_or(|until| until <= now)
        };
        self.0.entries.iter().any(rested)
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

    /// Gateways that run on this host: by name, or by one of its addresses. With one gateway there is no choice, and
    /// nothing is looked up.
    pub(crate) fn near(&self, host: &str) -> Arc<[usize]> {
        if self.len() == 1 || host.is_empty() {
            return Arc::default();
        }
        // Held while a name is looked up: others want to know the same.
        let mut near = self.0.near.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = near.get(host) {
            return Arc::clone(slots);
        }
        let slots = || self.0.entries.iter().map(|entry| &entry.slot).enumerate();
        let of = |same: &dyn Fn(&Slot) -> bool| -> Vec<usize> {
            slots().filter(|(_, slot)| same(slot)).map(|(number, _)| number).collect()
        };
        let mut found = of(&|slot| slot.address.host.trim_end_matches('.').eq_ignore_ascii_case(host));
        if found.is_empty() {
            let ips: Vec<IpAddr> = self
                .0
                .options
                .resolver
                .resolve(host, 0)
                .map_or(Vec::new(), |ips| ips.iter().map(SocketAddr::ip).collect());
            found = of(&|slot| slot.ips().iter().any(|ip| ips.contains(ip)));
        }
        let found: Arc<[usize]> = found.into();
        near.insert(host.to_owned(), Arc::clone(&found));
        found
    }

    /// Whether a gateway is left alone now.
    pub(crate) fn rests(&self, slot: usize) -> bool {
        let until = self.0.entries.get(slot).and_then(|entry| entry.state().resting_until);
        until.is_some_and(|until| until > Instant::now())
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
            let mut state = entry.state();
            (state.info, state.manages_tables) = (None, None);
            state.lacks.clear();
        }
    }

    /// Whether a gateway is known not to know a method.
    pub(crate) fn lacks(&self, slot: usize, method: &str) -> bool {
        self.0.entries.get(slot).is_some_and(|entry| entry.state().lacks.contains(method))
    }

    /// Remembers that a gateway does not know a method.
    pub(crate) fn note_lack(&self, slot: usize, method: &'static str) {
        if let Some(entry) = self.0.entries.get(slot) {
            tracing::info!(gateway = %entry.slot, method, "an older gateway, which does not know this call");
            entry.state().lacks.insert(method);
        }
    }

    /// Whether a gateway knows the calls for tables, as far as it was asked.
    pub(crate) fn manages_tables(&self, slot: usize) -> Option<bool> {
        self.0.entries.get(slot).and_then(|entry| entry.state().manages_tables)
    }

    /// Remembers whether a gateway knows the calls for tables.
    pub(crate) fn note_manages_tables(&self, slot: usize, does: bool) {
        if let Some(entry) = self.0.entries.get(slot) {
            entry.state().manages_tables = Some(does);
        }
    }

    /// A new connection, probing what is not known. Its gateway serves the cluster of all others, as far as it says.
    pub(crate) fn open(&self, slot: usize) -> Result<(Connection, GatewayInfo), ClusterError> {
        let entry = self.0.entries.get(slot).ok_or(ClusterError::NoGateway)?;
        let known = entry.state().info.clone();
        let is_new = known.is_none();
        let (mut connection, mut info) = match known {
            Some(info) => self.open_known(entry, info)?,
            None => self.probe(entry).map_err(|error| entry.in_its_light(error))?,
        };
        // What a gateway without an id can be held against has to be known of the others.
        let thorough = is_new && self.len() > 1;
        info.cluster = identity::ask(&mut connection, &info, self.0.options.call_timeout, thorough)?;
        let cluster = &self.0.cluster;
        cluster.lock().unwrap_or_else(PoisonError::into_inner).meet(&info.address, &info.cluster)?;
        if is_new {
            tracing::info!(gateway = %info, "found");
            self.0.thrift2.fetch_or(info.api == Api::Thrift2, Ordering::Relaxed);
            let mut state = entry.state();
            state.info = Some(info.clone());
            state.answered = true;
            state.resting_until = None;
        }
        Ok((connection, info))
    }

    fn open_known(&self, entry: &Entry, info: GatewayInfo) -> Result<(Connection, GatewayInfo), ClusterError> {
        match Connection::open(&entry.slot, info.transport, &self.0.options) {
            Ok((connection, _)) => Ok((connection, info)),
            Err(opening) => {
                if !matches!(opening, Opening::Failed(_) | Opening::Silent) {
                    entry.state().info = None;
                }
                let gateway = entry.slot.to_string();
                Err(match opening {
                    Opening::Failed(error) => error,
                    Opening::Silent => ClusterError::Busy { gateway },
                    Opening::Foreign(foreign) => foreign.into_error(gateway),
                    Opening::Closed => closed_at_once(gateway),
                    Opening::Garbage(reason) => ClusterError::Protocol { gateway, method: greeting::METHOD, reason },
                })
            }
        }
    }

    fn probe(&self, entry: &Entry) -> Result<(Connection, GatewayInfo), ClusterError> {
        let gateway = entry.slot.to_string();
        let forced = self.0.options.transport.map(|transport| [transport]);
        let candidates = forced.as_ref().map_or(PROBES.as_slice(), |one| one.as_slice());
        let (mut garbage, mut silence) = (false, false);
        for (number, &transport) in candidates.iter().enumerate() {
            match Connection::open(&entry.slot, transport, &self.0.options) {
                Ok((connection, found)) => return self.introduced(entry, connection, transport, found),
                Err(Opening::Failed(error)) => return Err(error),
                Err(Opening::Foreign(foreign)) => return Err(foreign.into_error(gateway)),
                Err(Opening::Silent) if forced.is_some() => silence = true,
                // Only the first guess counts: a wrong one may be met with silence by a gateway that is well.
                Err(Opening::Silent) if number == 0 => {
                    let asked = self.ask_aside(entry, &greeting::sasl_start());
                    let silent = || ClusterError::Silent { gateway: gateway.clone() };
                    return Err(asked.map_or_else(silent, |foreign| foreign.into_error(gateway.clone())));
                }
                Err(Opening::Garbage(_)) => garbage = true,
                Err(Opening::Silent) => silence = true,
                Err(Opening::Closed) => {}
            }
        }
        if let Some(asked) = self.0.options.transport
            && let Some(found) = self.other_transport(entry, asked)
        {
            return Err(ClusterError::WrongTransport { gateway, found, asked });
        }
        let sasl = || silence.then(|| self.ask_aside(entry, &greeting::sasl_start())).flatten();
        if let Some(foreign) = self.ask_aside(entry, &greeting::client_hello()).or_else(sasl) {
            return Err(foreign.into_error(gateway));
        }
        // A gateway without room hangs up before it reads; what reads and then hangs up has understood nothing.
        let reads = || !silence && !entry.state().answered && greeting::waits_to_be_asked(&entry.slot, &self.0.options);
        Err(match (garbage, silence) {
            (true, _) => ClusterError::NotThrift { gateway, reason: "its reply is not Thrift" },
            (_, true) if forced.is_some() => ClusterError::Silent { gateway },
            _ if reads() => {
                ClusterError::NotThrift { gateway, reason: "it closes the connection whatever is sent to it" }
            }
            _ => ClusterError::NoTransport { gateway },
        })
    }

    /// A connection whose first question was answered, and what its gateway is.
    fn introduced(
        &self,
        entry: &Entry,
        mut connection: Connection,
        transport: Transport,
        found: ServerType,
    ) -> Result<(Connection, GatewayInfo), ClusterError> {
        let address = entry.slot.to_string();
        let names_service = found != ServerType::Unknown;
        let found = match found {
            ServerType::Known(api) => api,
            ServerType::Unknown => connection.ask_service(self.0.options.probe_timeout)?,
        };
        let (api, cluster) = (service(entry, found, &address)?, ClusterIdentity::default());
        Ok((connection, GatewayInfo { address, api, transport, cluster, names_service }))
    }

    /// What a gateway speaks that does not answer in the transport of the flags. One that did is spared the question, as
    /// it is by [`ask_aside`](Self::ask_aside).
    fn other_transport(&self, entry: &Entry, asked: Transport) -> Option<Transport> {
        if entry.state().answered {
            return None;
        }
        let mut others = PROBES.into_iter().filter(|transport| *transport != asked);
        others.find(|transport| Connection::open(&entry.slot, *transport, &self.0.options).is_ok())
    }

    /// Whether a port that never answered as a gateway waits for another protocol. One that did is spared the question: an
    /// old gateway that is merely overloaded would take its bytes for a length, and keep as much memory ready.
    fn ask_aside(&self, entry: &Entry, question: &[u8]) -> Option<Foreign> {
        let answered = entry.state().answered;
        if answered { None } else { greeting::ask_aside(&entry.slot, &self.0.options, question) }
    }
}

/// What a gateway that was one before means by closing a new connection.
fn closed_at_once(gateway: String) -> ClusterError {
    let reason = "at once: it is overloaded or was restarted".into();
    ClusterError::Lost { gateway, method: greeting::METHOD, reason, unanswered: false }
}

/// The service of a gateway, which must be the one that the address asks for.
fn service(entry: &Entry, found: Api, gateway: &str) -> Result<Api, ClusterError> {
    match entry.slot.address.api {
        Some(needed) if found != needed => Err(ClusterError::WrongApi { gateway: gateway.to_owned(), found, needed }),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(addresses: &[&str]) -> Gateways {
        let addresses = addresses.iter().map(|text| GatewayAddress::parse(text).unwrap()).collect();
        Gateways::new(addresses, GatewayOptions::default(), Arc::default()).unwrap()
    }

    #[test]
    fn gateways_beside_a_host_are_found_by_name_and_by_address() {
        let gateways = gateways(&["127.0.0.2:1", "127.0.0.1:1", "rs1.invalid:1", "rs1.invalid:2"]);
        assert_eq!(*gateways.near("RS1.invalid"), [2, 3]);
        assert_eq!(*gateways.near("localhost"), [1]);
        assert_eq!(*gateways.near("127.0.0.1"), [1]);
        assert_eq!(*gateways.near("127.0.0.2"), [0]);
        assert!(gateways.near("rs2.invalid").is_empty() && gateways.near("").is_empty());
    }

    #[test]
    fn one_gateway_is_near_to_nothing() {
        assert!(gateways(&["127.0.0.1:1"]).near("127.0.0.1").is_empty());
    }

    #[test]
    fn clients_go_where_the_region_is_and_else_in_turn() {
        let gateways = gateways(&["rs1.invalid:1", "rs2.invalid:1", "rs2.invalid:2"]);
        let mut clients: Vec<Client> = (0..6).map(|_| gateways.client()).collect();
        let mut slots = |host: &str| -> Vec<usize> {
            clients
                .iter_mut()
                .map(|client| {
                    client.go_near(host);
                    client.slot()
                })
                .collect()
        };
        assert_eq!(slots("elsewhere.invalid"), [0, 1, 2, 0, 1, 2]);
        assert_eq!(slots("rs1.invalid"), [0; 6]);
        assert_eq!(slots("rs2.invalid"), [1, 2, 1, 1, 2, 1]);
        gateways.rest(1);
        assert_eq!(slots("rs2.invalid"), [2; 6], "one that failed is left alone");
        assert_eq!(slots("rs3.invalid"), [0, 2, 2, 0, 2, 2], "and so it is in turn");
    }
}
