//! What `doctor` says about a host whose networks are as the test wants them. Needs root.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::process::ExitCode;

use moat_engine::doctor::{Problem, check_networks};
use moat_netlink::{CREATE, Messages, Socket};
use moat_test_harness::{Test, tests};
use nix::sched::{CloneFlags, unshare};

const TESTS: &[Test] = tests![networks_are_judged_as_they_are];

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

fn main() -> ExitCode {
    moat_test_harness::run("makes a network namespace", &[TESTS])
}

/// What the check of this name finds.
fn finding(name: &str) -> Result<String, Problem> {
    check_networks().into_iter().find(|check| check.name == name).unwrap().finding
}

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

fn networks_are_judged_as_they_are() {
    // The namespace of this thread goes away with it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    assert_eq!(finding("taps").unwrap(), "/dev/net/tun");
    assert_eq!(finding("firewall").unwrap(), "nf_tables");
    fs::write(FORWARD, "0").unwrap();
    assert!(finding("forwarding").unwrap().starts_with("off; the first container"));
    fs::write(FORWARD, "1").unwrap();
    assert_eq!(finding("forwarding").unwrap(), "on");
    drop_everything();
    let wrong = format!("{:?}", finding("forwarding").unwrap_err());
    assert!(wrong.contains("the firewall table strict drops what the host passes on"), "{wrong}");
}
