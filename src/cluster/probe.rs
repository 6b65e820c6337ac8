//! New connections: what a gateway speaks is found out by talking to it, once.

use std::time::Instant;

use crate::cluster::connection::Connection;
use crate::cluster::gateways::{Entry, closed_at_once};
use crate::cluster::greeting::{self, Foreign, Opening};
use crate::cluster::reply::simple::ServerType;
use crate::cluster::{Api, ClusterError, ClusterIdentity, GatewayInfo, Gateways, Transport, identity};

/// The order of probing: an unframed gateway answers the first at once and leaves the framed ones in silence, every
/// other kind closes the connection at once unless it is spoken to in its own way.
const PROBES: [Transport; 4] = [
    Transport::new(false, false),
    Transport::new(true, false),
    Transport::new(true, true),
    Transport::new(false, true),
];

impl Gateways {
    /// Probes the gateways that are not known yet and not left alone.
    pub(crate) fn ask_the_unknown(&self) {
        for (slot, entry) in self.entries().iter().enumerate() {
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

    /// A new connection, probing what is not known. Its gateway serves the cluster of all others, as far as it says.
    pub(crate) fn open(&self, slot: usize) -> Result<(Connection, GatewayInfo), ClusterError> {
        let entry = self.entry(slot).ok_or(ClusterError::NoGateway)?;
        let known = entry.state().info.clone();
        let is_new = known.is_none();
        let (mut connection, mut info) = match known {
            Some(info) => self.open_known(slot, entry, info)?,
            None => self.probe(entry).map_err(|error| entry.if_known(error))?,
        };
        // A gateway without a cluster id is compared by its namespace region, so with several gateways that is asked for too.
        let thorough = is_new && self.len() > 1;
        info.cluster = identity::ask(&mut connection, info.api, self.options().call_timeout, thorough)?;
        self.check_cluster(&info)?;
        if is_new {
            tracing::info!(gateway = %info, "found");
            if info.api == Api::Thrift2 {
                self.note_thrift2();
            }
            let mut state = entry.state();
            state.info = Some(info.clone());
            state.answered = true;
            state.resting_until = None;
        }
        Ok((connection, info))
    }

    fn open_known(
        &self,
        slot: usize,
        entry: &Entry,
        info: GatewayInfo,
    ) -> Result<(Connection, GatewayInfo), ClusterError> {
        match Connection::open(&entry.slot, info.transport, self.options()) {
            Ok((connection, _)) => Ok((connection, info)),
            Err(opening) => {
                if !matches!(opening, Opening::Failed(_) | Opening::Silent) {
                    self.forget(slot);
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
        let forced = self.options().transport.map(|transport| [transport]);
        let candidates = forced.as_ref().map_or(PROBES.as_slice(), |one| one.as_slice());
        let (mut garbage, mut silence) = (false, false);
        for (number, &transport) in candidates.iter().enumerate() {
            match Connection::open(&entry.slot, transport, self.options()) {
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
        if let Some(asked) = self.options().transport
            && let Some(found) = self.other_transport(entry, asked)
        {
            return Err(ClusterError::WrongTransport { gateway, found, asked });
        }
        let sasl = || silence.then(|| self.ask_aside(entry, &greeting::sasl_start())).flatten();
        if let Some(foreign) = self.ask_aside(entry, &greeting::client_hello()).or_else(sasl) {
            return Err(foreign.into_error(gateway));
        }
        // A gateway without room hangs up before it reads; what reads and then hangs up has understood nothing.
        let reads = || !silence && !entry.state().answered && greeting::waits_to_be_asked(&entry.slot, self.options());
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
            ServerType::Unknown => connection.ask_service(self.options().probe_timeout)?,
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
        others.find(|transport| Connection::open(&entry.slot, *transport, self.options()).is_ok())
    }

    /// Whether a port that never answered as a gateway waits for another protocol. One that did is spared the question: an
    /// old gateway that is merely overloaded would take its bytes for a length, and keep as much memory ready.
    fn ask_aside(&self, entry: &Entry, question: &[u8]) -> Option<Foreign> {
        let answered = entry.state().answered;
        if answered { None } else { greeting::ask_aside(&entry.slot, self.options(), question) }
    }
}

/// The service of a gateway, which must be the one that the address asks for.
fn service(entry: &Entry, found: Api, gateway: &str) -> Result<Api, ClusterError> {
    match entry.slot.address.api {
        Some(needed) if found != needed => Err(ClusterError::WrongApi { gateway: gateway.to_owned(), found, needed }),
        _ => Ok(found),
    }
}
