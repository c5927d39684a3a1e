//! What an interface of the container may be called, and which addresses it may have.

use moat_protocol::{Interface, InterfaceAddress, MAX_ADDRESSES, MAX_INTERFACE_NAME};

use crate::failure::Failure;

/// Refuses an interface that is not within the protocol's limits.
///
/// # Errors
/// When its name or one of its addresses cannot be used.
pub fn check(interface: &Interface) -> Result<(), Failure> {
    let Interface { name, addresses, .. } = interface;
    let is_name = (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && !matches!(name.as_str(), "." | ".." | "lo")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if !is_name {
        return Err(Failure::setup(format!("\"{name}\" is not the name of a network interface")));
    }
    let fits =
        |address: &InterfaceAddress| address.prefix <= if address.address.is_ipv4() { 32 } else { 128 };
    if addresses.len() > MAX_ADDRESSES || !addresses.iter().all(fits) {
        return Err(Failure::setup(format!("the addresses of the network interface {name} are not usable")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_protocol::MacAddress;

    fn interface(name: &str, prefix: u8) -> Interface {
        Interface {
            mac: MacAddress([2; 6]),
            name: name.to_owned(),
            mtu: 1500,
            addresses: vec![InterfaceAddress { address: [10, 0, 0, 2].into(), prefix }],
            gateway_v4: None,
            gateway_v6: None,
        }
    }

    #[test]
    fn interfaces_are_within_limits() {
        assert!(check(&interface("eth0", 32)).is_ok());
        for name in ["", "lo", "..", "a/b", "a b", "a:1", "sixteen-letters-", "a\n"] {
            assert!(check(&interface(name, 24)).is_err(), "{name:?}");
        }
        assert!(check(&interface("eth0", 33)).is_err());
        let mut many = interface("eth0", 24);
        many.addresses = vec![many.addresses[0]; MAX_ADDRESSES + 1];
        assert!(check(&many).is_err());
    }
}
