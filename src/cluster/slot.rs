//! From an address to the gateways behind it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};

use crate::cluster::{GatewayAddress, GatewayOptions, Resolver};

/// One gateway: the name it was given by, and where it is.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Name and port as given.
    pub address: GatewayAddress,
    /// Where it is, the first choice first; empty: the name is looked up at every connection. Changes when the name leads
    /// elsewhere and nothing answers here.
    targets: Mutex<Vec<SocketAddr>>,
    /// Its number among the gateways of the same name; `None` where it is the only one.
    sibling: Option<usize>,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match self.targets().first().filter(|_| self.sibling.is_some()) {
            Some(target) => write!(f, " at {}", target.ip()),
            None => Ok(()),
        }
    }
}

impl Slot {
    /// A gateway whose name is looked up at every connection.
    pub fn unresolved(address: GatewayAddress) -> Self {
        Self { address, targets: Mutex::default(), sibling: None }
    }

    /// The gateways behind a name, which is looked up now. One that is unknown for the moment is one gateway.
    pub fn resolve(address: GatewayAddress, resolver: &Resolver) -> Vec<Self> {
        match resolver.resolve(&address.host, address.port) {
            Ok(found) => Self::behind(address, found),
            Err(error) => {
                tracing::debug!(gateway = %address, %error, "the name is not known");
                vec![Self::unresolved(address)]
            }
        }
    }

    /// A gateway for each address of the name. A host with addresses of both families is one gateway, not two: then
    /// each address of IPv4 is a gateway, and those of IPv6, which are the same hosts, are tried where it refuses. So
    /// are all addresses of this machine itself.
    fn behind(address: GatewayAddress, found: Vec<SocketAddr>) -> Vec<Self> {
        let groups = groups(found);
        let shares_name = groups.len() > 1;
        let slot = |(number, targets): (usize, Vec<SocketAddr>)| Self {
            address: address.clone(),
            targets: Mutex::new(targets),
            sibling: shares_name.then_some(number),
        };
        groups.into_iter().enumerate().map(slot).collect()
    }

    fn targets(&self) -> Vec<SocketAddr> {
        // A list of addresses is valid at any time.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The addresses, as last known.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.targets().iter().map(SocketAddr::ip).collect()
    }

    /// Connects to the first address that takes it. The name is looked up anew where none does: the gateways behind it may
    /// have moved.
    pub fn connect(&self, options: &GatewayOptions) -> io::Result<TcpStream> {
        let targets = self.targets();
        let known = connect(&targets, options);
        if known.is_ok() {
            return known;
        }
        let now = match options.resolver.resolve(&self.address.host, self.address.port) {
            Ok(now) => now,
            Err(error) => return if targets.is_empty() { Err(error) } else { known },
        };
        let mut new = self.moved_to(&targets, now.clone());
        if new.is_empty() && !now.is_empty() {
            return known;
        }
        let (stream, place) = connect_any(&new, options)?;
        if !targets.is_empty() {
            tracing::info!(gateway = %self.address, address = %new.get(place).map_or_else(String::new, ToString::to_string), "moved");
            new.rotate_left(place);
            *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
        Ok(stream)
    }

    /// The addresses that the name has now and had not before. Gateways that share it each begin with another one; one
    /// whose own address the name still has stays where it is.
    fn moved_to(&self, targets: &[SocketAddr], now: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let Some(number) = self.sibling else {
            return now.into_iter().filter(|target| !targets.contains(target)).collect();
        };
        if targets.first().is_some_and(|own| now.contains(own)) {
            return Vec::new();
        }
        let mut groups = groups(now);
        let begin = number % groups.len().max(1);
        groups.rotate_left(begin);
        groups.concat()
    }
}

/// The addresses of each gateway behind a name.
fn groups(mut found: Vec<SocketAddr>) -> Vec<Vec<SocketAddr>> {
    let mut seen = Vec::new();
    found.retain(|target| {
        !seen.contains(target) && {
            seen.push(*target);
            true
        }
    });
    let (four, six): (Vec<_>, Vec<_>) = found.iter().copied().partition(SocketAddr::is_ipv4);
    if found.iter().all(|target| target.ip().is_loopback()) {
        vec![found]
    } else if four.len() == 1 && six.len() == 1 {
        // The resolver knows which of the two is better.
        vec![found]
    } else if four.is_empty() {
        six.into_iter().map(|target| vec![target]).collect()
    } else {
        four.into_iter().map(|target| [&[target], six.as_slice()].concat()).collect()
    }
}

fn connect(targets: &[SocketAddr], options: &GatewayOptions) -> io::Result<TcpStream> {
    connect_any(targets, options).map(|(stream, _)| stream)
}

/// A connection to the first of these that takes it, and which it is.
fn connect_any(targets: &[SocketAddr], options: &GatewayOptions) -> io::Result<(TcpStream, usize)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (place, target) in targets.iter().enumerate() {
        match TcpStream::connect_timeout(target, options.connect_timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(options.write_timeout))?;
                return Ok((stream, place));
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
            assert_eq!(slots[0].ips().len(), 2);
        }
        let slots = behind(&["10.0.0.1:9090", "[fd00::1]:9090", "10.0.0.2:9090", "[fd00::2]:9090"]);
        assert_eq!(slots.len(), 2);
        assert!(slots.iter().all(|slot| slot.ips().len() == 3));
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

    /// Options whose resolver always gives this address.
    fn leading_to(target: SocketAddr) -> GatewayOptions {
        let resolver = Resolver::new(move |_, _| Ok(vec![target]));
        GatewayOptions { resolver, connect_timeout: std::time::Duration::from_millis(100), ..GatewayOptions::default() }
    }

    #[test]
    fn a_host_that_moved_is_found_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let new = listener.local_addr().unwrap();
        let slots = behind(&["127.0.0.9:1"]);
        assert!(slots[0].connect(&leading_to(new)).is_ok());
        assert_eq!(slots[0].targets(), [new]);
    }

    #[test]
    fn all_gateways_of_a_name_that_moved_are_found_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let new = listener.local_addr().unwrap();
        let slots = behind(&["192.0.2.1:1", "192.0.2.2:1"]);
        for slot in &slots {
            assert!(slot.connect(&leading_to(new)).is_ok());
            assert_eq!(slot.to_string(), "gw.example:9090 at 127.0.0.1");
        }
        let still = leading_to("192.0.2.1:1".parse().unwrap());
        assert!(behind(&["192.0.2.1:1", "192.0.2.2:1"])[0].connect(&still).is_err(), "it is down, not gone");
    }

    #[test]
    fn gateways_that_moved_go_to_different_addresses() {
        let slots = behind(&["192.0.2.1:1", "192.0.2.2:1"]);
        let now: Vec<SocketAddr> = ["192.0.2.3:1", "192.0.2.4:1"].map(|text| text.parse().unwrap()).into();
        let first = |slot: &Slot| slot.moved_to(&slot.targets(), now.clone())[0];
        assert_eq!([first(&slots[0]), first(&slots[1])], [now[0], now[1]]);
    }
}
