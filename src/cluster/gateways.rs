//! Several gateways of one cluster: which are there, what they speak, and which to leave alone for a while.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::cluster::greeting;
use crate::cluster::identity::Expected;
use crate::cluster::slot::Slot;
use crate::cluster::{Api, ClusterError, ClusterIdentity, GatewayAddress, GatewayOptions, Transport};

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

/// What is known of a gateway now.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What it is.
    pub info: Option<GatewayInfo>,
    /// It was a gateway once, so silence and closed connections are passing troubles.
    pub answered: bool,
    /// It is left alone until then.
    pub resting_until: Option<Instant>,
    /// Methods that it does not know.
    lacks: BTreeSet<&'static str>,
    /// Whether it knows the calls for tables, which came with HBase 2.2, when it was asked.
    manages_tables: Option<bool>,
}

/// One of the gateways.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it is.
    pub slot: Slot,
    state: Mutex<State>,
}

impl Entry {
    /// What is known of it, for as long as the guard lives.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of a failed probe. A gateway that has answered before is busy or restarting, not of the wrong kind.
    pub fn if_known(&self, error: ClusterError) -> ClusterError {
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

/// What a gateway that was one before means by closing a new connection.
pub(super) fn closed_at_once(gateway: String) -> ClusterError {
    let reason = "at once: it is overloaded or was restarted".into();
    ClusterError::Lost { gateway, method: greeting::METHOD, reason, unanswered: false }
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
            let ips: Vec<IpAddr> = match self.0.options.resolver.resolve(host, 0) {
                Ok(ips) => ips.iter().map(SocketAddr::ip).collect(),
                // Asked for again the next time.
                Err(error) => {
                    tracing::debug!(%error, host, "cannot resolve the name of a region server");
                    return Arc::default();
                }
            };
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

    /// A gateway by its number.
    pub(super) fn entry(&self, slot: usize) -> Option<&Entry> {
        self.0.entries.get(slot)
    }

    /// All gateways, by their numbers.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.0.entries
    }

    /// Checks that a gateway serves the same cluster as the others.
    ///
    /// # Errors
    /// [`ClusterError::OtherCluster`].
    pub(super) fn check_cluster(&self, info: &GatewayInfo) -> Result<(), ClusterError> {
        let cluster = &self.0.cluster;
        cluster.lock().unwrap_or_else(PoisonError::into_inner).meet(&info.address, &info.cluster)
    }

    /// Remembers that a gateway speaks Thrift2.
    pub(super) fn note_thrift2(&self) {
        self.0.thrift2.store(true, Ordering::Relaxed);
    }

    /// Whose turn it is to be talked to.
    pub(crate) fn turn(&self) -> usize {
        self.0.next.fetch_add(1, Ordering::Relaxed) % self.len()
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
}
