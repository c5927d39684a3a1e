//! What networks need of the host.

use std::fs::{self, File};

use moat::network::firewall::Firewall;

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

/// Whether the host passes packets on, and nobody else's firewall drops those of containers.
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

#[cfg(test)]
mod tests {
    use super::*;
    use moat_netlink::{CREATE, Messages, Socket};

    /// A table of another program whose chain drops what the host passes on.
    fn drop_everything() {
        let mut messages = Messages::default();
        messages.add(0x10, 0, &[0, 0, 0, 10], |_| {});
        // A table of IPv4 and in it a chain at the hook for what is passed on, whose policy is to drop.
        messages.add(10 << 8, CREATE, &[2, 0, 0, 0], |a| a.text(1, "strict"));
        messages.add(10 << 8 | 3, CREATE, &[2, 0, 0, 0], |a| {
            a.text(1, "strict");
            a.text(3, "forward");
            a.nest(4, |hook| {
                hook.number_be(1, 2);
                hook.number_be(2, 0);
            });
            a.number_be(5, 0);
            a.text(7, "filter");
        });
        messages.ask_for_answer();
        messages.add(0x11, 0, &[0, 0, 0, 10], |_| {});
        Socket::netfilter().unwrap().obey(&messages).unwrap();
    }

    fn check() {
        assert_eq!(taps().unwrap(), TUN);
        assert_eq!(firewall().unwrap(), "nf_tables");
        fs::write(FORWARD, "0").unwrap();
        assert!(forwarding().unwrap().starts_with("off; the first container"));
        fs::write(FORWARD, "1").unwrap();
        assert_eq!(forwarding().unwrap(), "on");
        drop_everything();
        let wrong = format!("{:?}", forwarding().unwrap_err());
        assert!(wrong.contains("the firewall table strict drops what the host passes on"), "{wrong}");
    }

    #[test]
    fn the_host_is_judged_as_it_is() {
        if !nix::unistd::geteuid().is_root() {
            assert!(
                std::env::var_os("MOAT_TEST_WITHOUT_ROOT").is_some(),
                "this test makes a network namespace and needs root; MOAT_TEST_WITHOUT_ROOT=1 leaves it out"
            );
            eprintln!("not run: it needs root");
            return;
        }
        let thread = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            check();
        });
        thread.join().unwrap();
    }
}
