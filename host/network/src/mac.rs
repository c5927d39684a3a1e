//! Hardware addresses of network interfaces.

use std::net::{Ipv4Addr, Ipv6Addr};

pub use moat_protocol::MacAddress;
use thiserror::Error;

/// The text is no address that an interface can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid MAC address: {0}: it has to look like 02:42:ac:11:00:02")]
pub struct MacError(String);

/// The address of an interface that has the address `ip`, as Docker derives it.
pub fn derived(ip: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = ip.octets();
    MacAddress([0x02, 0x42, a, b, c, d])
}

/// The link-local address that the kernel gives an interface of this hardware address (RFC 4291, appendix A).
pub fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Reads an address that an interface can have: neither that of a group nor all zeros.
///
/// # Errors
/// In Docker's words.
pub fn parse(text: &str) -> Result<MacAddress, MacError> {
    let mac = text.replace('-', ":").parse::<MacAddress>().ok();
    mac.filter(|mac| mac.0[0] & 1 == 0 && mac.0 != [0; 6]).ok_or_else(|| MacError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_dockers() {
        let mac = derived(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(parse("02-42-AC-11-00-02").unwrap(), mac);
        assert_eq!(link_local(mac).to_string(), "fe80::42:acff:fe11:2");
        for wrong in ["", "02:42:ac:11:00", "03:42:ac:11:00:02", "00:00:00:00:00:00"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
