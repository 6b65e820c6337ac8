//! From an address to the gateways behind it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};

use crate::cluster::{GatewayAddress, GatewayOptions};

/// One gateway: the name it was given by, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Name and port as given; the name is what a certificate would have.
    pub address: GatewayAddress,
    /// Where it is, the first choice first; empty: the name is looked up at every connection.
    targets: Vec<SocketAddr>,
    /// Other gateways have the same name.
    shared_name: bool,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match self.targets.first().filter(|_| self.shared_name) {
            Some(target) => write!(f, " at {}", target.ip()),
            None => Ok(()),
        }
    }
}

impl Slot {
    /// A gateway whose name is looked up at every connection.
    pub fn unresolved(address: GatewayAddress) -> Self {
        Self { address, targets: Vec::new(), shared_name: false }
    }

    /// The gateways behind a name, which is looked up now. One that is unknown for the moment is one gateway.
    pub fn resolve(address: GatewayAddress) -> Vec<Self> {
        match (address.host.as_str(), address.port).to_socket_addrs() {
            Ok(found) => Self::behind(address, found.collect()),
            Err(error) => {
                tracing::debug!(gateway = %address, %error, "the name is not known");
                vec![Self::unresolved(address)]
            }
        }
    }

    /// A gateway for each address of the name. A host with addresses of both families is one gateway, not two: then
    /// each address of IPv4 is a gateway, and those of IPv6, which are the same hosts, are tried where it refuses. So
    /// are all addresses of this machine itself.
    fn behind(address: GatewayAddress, mut found: Vec<SocketAddr>) -> Vec<Self> {
        let mut seen = Vec::new();
        found.retain(|target| {
            !seen.contains(target) && {
                seen.push(*target);
                true
            }
        });
        let (four, six): (Vec<_>, Vec<_>) = found.iter().copied().partition(SocketAddr::is_ipv4);
        let groups: Vec<Vec<SocketAddr>> = if found.iter().all(|target| target.ip().is_loopback()) {
            vec![found]
        } else if four.len() == 1 && six.len() == 1 {
            // The resolver knows which of the two is better.
            vec![found]
        } else if four.is_empty() {
            six.into_iter().map(|target| vec![target]).collect()
        } else {
            four.into_iter().map(|target| [&[target], six.as_slice()].concat()).collect()
        };
        let shared_name = groups.len() > 1;
        groups.into_iter().map(|targets| Self { address: address.clone(), targets, shared_name }).collect()
    }

    /// The addresses, as known from the start.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.targets.iter().map(SocketAddr::ip)
    }

    /// Connects to the first address that takes it. The name is looked up anew where none does: it may have moved.
    pub fn connect(&self, options: &GatewayOptions) -> io::Result<TcpStream> {
        let known = connect(&self.targets, options);
        if known.is_ok() || self.shared_name {
            return known;
        }
        let now: Vec<SocketAddr> = match (self.address.host.as_str(), self.address.port).to_socket_addrs() {
            Ok(now) => now.collect(),
            Err(error) => return if self.targets.is_empty() { Err(error) } else { known },
        };
        let new: Vec<SocketAddr> = now.iter().copied().filter(|target| !self.targets.contains(target)).collect();
        match known {
            Err(error) if new.is_empty() && !now.is_empty() => Err(error),
            _ => connect(&new, options),
        }
    }
}

fn connect(targets: &[SocketAddr], options: &GatewayOptions) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in targets {
        match TcpStream::connect_timeout(target, options.connect_timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(options.write_timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn behind(found: &[&str]) -> Vec<Slot> {
        let address = GatewayAddress::parse("gw.example:9090").unwrap();
        Slot::behind(address, found.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn texts(slots: &[Slot]) -> Vec<String> {
        slots.iter().map(Slot::to_string).collect()
    }

    #[test]
    fn a_name_with_many_addresses_is_many_gateways() {
        let slots = behind(&["10.0.0.1:9090", "10.0.0.2:9090", "10.0.0.1:9090"]);
        assert_eq!(texts(&slots), ["gw.example:9090 at 10.0.0.1", "gw.example:9090 at 10.0.0.2"]);
        assert_eq!(texts(&behind(&["[fd00::1]:9090", "[fd00::2]:9090"])).len(), 2);
        assert_eq!(texts(&behind(&["10.0.0.1:9090"])), ["gw.example:9090"]);
    }

    #[test]
    fn both_families_of_a_host_are_one_gateway() {
        for found in [&["[::1]:9090", "127.0.0.1:9090"][..], &["[fd00::1]:9090", "10.0.0.1:9090"]] {
            let slots = behind(found);
            assert_eq!(texts(&slots), ["gw.example:9090"]);
            assert_eq!(slots[0].ips().count(), 2);
        }
        let slots = behind(&["10.0.0.1:9090", "[fd00::1]:9090", "10.0.0.2:9090", "[fd00::2]:9090"]);
        assert_eq!(slots.len(), 2);
        assert!(slots.iter().all(|slot| slot.ips().count() == 3));
    }

    #[test]
    fn an_address_that_refuses_does_not_matter_when_another_takes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = GatewayAddress { host: "localhost".into(), port, api: None };
        let targets = vec![SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)), listener.local_addr().unwrap()];
        let slots = Slot::behind(address, targets);
        assert_eq!(slots.len(), 1);
        assert!(slots[0].connect(&GatewayOptions::default()).is_ok());
    }

    #[test]
    fn a_host_that_moved_is_found_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = GatewayAddress { host: "127.0.0.1".into(), port, api: None };
        let gone = Slot { address, targets: vec![SocketAddr::from(([127, 0, 0, 9], port))], shared_name: false };
        assert!(gone.connect(&GatewayOptions::default()).is_ok());
    }
}
