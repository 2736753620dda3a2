//! The number of connections of each client, so that one client cannot take all places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections of one listener, by client. Has no more entries than there are connections.
#[derive(Debug, Default)]
pub(crate) struct ClientConnections(Mutex<HashMap<IpAddr, usize>>);

/// The place of one connection among those of its client; left when dropped.
#[derive(Debug)]
pub(crate) struct ClientPlace {
    clients: Arc<ClientConnections>,
    client: IpAddr,
}

// === impl ClientConnections ===

impl ClientConnections {
    /// Returns a place for a connection of this client; `None` when it has `max` already.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<ClientPlace> {
        let client = client_of(address);
        let mut counts = self.lock();
        let count = counts.get(&client).copied().unwrap_or_default();
        if count >= max {
            return None;
        }
        counts.insert(client, count.saturating_add(1));
        let clients = Arc::clone(self);
        Some(ClientPlace { clients, client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ClientPlace ===

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut counts = self.clients.lock();
        let count = counts.get(&self.client);
        let rest = count.map_or(0, |count| count.saturating_sub(1));
        if rest == 0 {
            counts.remove(&self.client);
        } else {
            counts.insert(self.client, rest);
        }
    }
}

/// Returns the address that stands for a client: of IPv6 the network of 64 bits, within which a
/// host may use any address (RFC 4291, section 2.5.4).
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_has_a_limit_of_its_own_and_gets_its_places_back() {
        let clients = Arc::new(ClientConnections::default());
        let enter = |address: &str| clients.enter(address.parse().unwrap(), 2);
        let mut places = vec![enter("2001:db8::1").unwrap()];
        places.push(enter("2001:db8::2").unwrap());
        assert!(enter("2001:db8::3").is_none(), "the same network");
        places.push(enter("2001:db8:0:1::1").unwrap());
        places.push(enter("::ffff:192.0.2.1").unwrap());
        places.push(enter("192.0.2.1").unwrap());
        assert!(enter("192.0.2.1").is_none(), "the same address");
        drop(places.remove(0));
        assert!(enter("2001:db8::3").is_some());
        drop(places);
        assert!(clients.lock().is_empty());
    }
}
