//! What networks need of the host.

use std::fs::{self, File};

use moat_network::firewall::Firewall;

use super::{Finding, wrong};

/// Taps are made through this device.
const TUN: &str = "/dev/net/tun";

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Whether taps can be made.
pub fn taps() -> Finding {
    match File::options().read(true).write(true).open(TUN) {
        Ok(_) => Ok(TUN.to_owned()),
        Err(e) => wrong(
            format!("{TUN}: {e}"),
            "Load the kernel module tun (modprobe tun); without it containers run with --network none.",
        ),
    }
}

/// Whether the kernel has the firewall that keeps containers apart.
pub fn firewall() -> Finding {
    match Firewall::open().and_then(|firewall| firewall.probe()) {
        Ok(()) => Ok("nf_tables".to_owned()),
        Err(e) => wrong(
            format!("nf_tables: {e}"),
            "Load the kernel module nf_tables (modprobe nf_tables), as root; without it containers run with \
             --network none.",
        ),
    }
}

/// Whether the host passes packets on, and no other firewall drops those of containers.
pub fn forwarding() -> Finding {
    let on = match fs::read_to_string(FORWARD) {
        Ok(value) => value.trim() != "0",
        Err(e) => return wrong(format!("{FORWARD}: {e}"), "Mount /proc."),
    };
    let droppers = Firewall::open().and_then(|firewall| firewall.droppers()).unwrap_or_default();
    if let Some(table) = droppers.first() {
        return wrong(
            format!(
                "the firewall table {table} drops what the host passes on, so containers may not reach the world"
            ),
            "Let it pass what comes from and goes to Moat's bridges: iptables -I FORWARD -i moat0 -j ACCEPT; iptables \
             -I FORWARD -o moat0 -j ACCEPT (with Docker on the host: in the chain DOCKER-USER), and the same for mb-+.",
        );
    }
    Ok(if on { "on" } else { "off; the first container with a network turns net.ipv4.ip_forward on" }
        .to_owned())
}
