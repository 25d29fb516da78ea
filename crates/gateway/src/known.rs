//! Which names an address was told for.
//!
//! It is shown with each connection. Under a list of names a connection is let begin only to an address that was told for a name
//! of the list. This decides nothing more: what is said on the connection must name a host of the list, and that host is looked up again.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Most addresses that are remembered; the oldest are forgotten. A client whose address is, asks again.
const MOST: usize = 4096;

/// Addresses, with the name they were last told for.
#[derive(Debug, Default)]
pub(crate) struct Known {
    names: HashMap<IpAddr, String>,
    order: VecDeque<IpAddr>,
}

impl Known {
    /// These addresses were told for this name.
    pub(crate) fn told(&mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            if self.names.insert(address, name.to_owned()).is_none() {
                self.order.push_back(address);
            }
            if self.order.len() > MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.names.remove(&oldest);
            }
        }
    }

    /// The name that it was told for.
    pub(crate) fn name(&self, address: IpAddr) -> Option<&str> {
        self.names.get(&address).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut known = Known::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        known.told("a.example", (0..5000).map(address));
        known.told("b.example", [address(4999)]);
        assert_eq!((known.names.len(), known.order.len()), (MOST, MOST));
        assert_eq!((known.name(address(0)), known.name(address(4999))), (None, Some("b.example")));
    }
}
