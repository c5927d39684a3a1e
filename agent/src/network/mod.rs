//! The guest's network is the container's: there is only one, and its namespace is the VM's. The agent gives each device
//! of the VM the name and the addresses that the host has chosen; nothing is asked of a DHCP server or a router.

mod change;
mod links;

use std::fs;

use moat_protocol::{Interface, MAX_ADDRESSES, MAX_INTERFACE_NAME, MAX_INTERFACES, NetworkSpec};

pub use change::{connect, disconnect};

use crate::failure::{Context, Failure};
use crate::kmsg;
use links::Links;

/// What Docker sets in a container's network namespace: ports below 1024 need no privilege, and everyone may ping.
const SYSCTLS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// Makes the network what the specification says.
///
/// # Errors
/// When an interface cannot be set up. Without a loopback device or a parameter most programs run well; that is logged.
pub fn prepare(spec: &NetworkSpec) -> Result<(), Failure> {
    for (path, value) in SYSCTLS {
        if let Err(error) = fs::write(path, value) {
            kmsg::log(format_args!("cannot write {path}: {error}"));
        }
    }
    let links = Links::open().context("cannot speak to the kernel's network")?;
    if let Err(error) = links.loopback_up() {
        kmsg::log(format_args!("cannot bring the loopback interface up: {error}"));
    }
    if spec.interfaces.is_empty() {
        return Ok(());
    }
    if spec.interfaces.len() > MAX_INTERFACES {
        return Err(Failure::setup(format!("more than {MAX_INTERFACES} network interfaces")));
    }
    spec.interfaces.iter().try_for_each(check)?;
    let devices = links.devices().context("cannot list the network devices")?;
    let found = spec.interfaces.iter().map(|interface| {
        let device = devices.iter().find(|device| device.mac == interface.mac);
        let missing =
            || Failure::setup(format!("the guest has no network device with the address {}", interface.mac));
        Ok((interface, device.ok_or_else(missing)?))
    });
    let found: Vec<_> = found.collect::<Result<_, Failure>>()?;
    // A name may be another device's still.
    for (interface, device) in found.iter().filter(|(interface, device)| interface.name != device.name) {
        links
            .rename(device, &format!("moat{}", device.index))
            .context(&format!("cannot rename the network device {} to {}", device.name, interface.name))?;
    }
    found.iter().try_for_each(|(interface, device)| links.configure(device.index, interface))
}

/// Refuses an interface that is not within the protocol's limits.
fn check(interface: &Interface) -> Result<(), Failure> {
    let Interface { name, addresses, .. } = interface;
    let is_name = (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && !matches!(name.as_str(), "." | ".." | "lo")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if !is_name {
        return Err(Failure::setup(format!("\"{name}\" is no name of a network interface")));
    }
    let fits = |address: &moat_protocol::InterfaceAddress| {
        address.prefix <= if address.address.is_ipv4() { 32 } else { 128 }
    };
    if addresses.len() > MAX_ADDRESSES || !addresses.iter().all(fits) {
        return Err(Failure::setup(format!("the addresses of the network interface {name} are not usable")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_protocol::{InterfaceAddress, MacAddress};

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
