//! The guest's network is the container's: there is one network namespace in the VM. The agent gives each device of the
//! VM the name and the addresses that the host has chosen. It asks no DHCP server and no router.

mod change;
mod interface;
mod links;

use std::fs;

use moat_protocol::{MAX_INTERFACES, NetworkSpec};

pub use change::{connect, disconnect};

use crate::failure::{Context, Failure};
use crate::kmsg;
use links::Links;

/// What Docker sets in a container's network namespace: ports below 1024 and ping need no privilege.
const SYSCTLS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// Sets the network up as the specification says.
///
/// # Errors
/// When an interface cannot be set up. A failure of the loopback device or of a parameter is only logged, because most
/// programs run without it.
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
    spec.interfaces.iter().try_for_each(interface::check)?;
    let devices = links.devices().context("cannot list the network devices")?;
    let found = spec.interfaces.iter().map(|interface| {
        let device = devices.iter().find(|device| device.mac == interface.mac);
        let missing =
            || Failure::setup(format!("the guest has no network device with the address {}", interface.mac));
        Ok((interface, device.ok_or_else(missing)?))
    });
    let found: Vec<_> = found.collect::<Result<_, Failure>>()?;
    // Another device may still have the name.
    for (interface, device) in found.iter().filter(|(interface, device)| interface.name != device.name) {
        links
            .rename(device, &format!("moat{}", device.index))
            .context(&format!("cannot rename the network device {} to {}", device.name, interface.name))?;
    }
    found.iter().try_for_each(|(interface, device)| links.configure(device.index, interface))
}
