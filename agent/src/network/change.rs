//! Interfaces that come and go while the container runs. The VM has spare devices, and a driver is bound to one or
//! unbound from it. The kernel makes the caller wait for that, so this runs in a child of the agent.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use moat_netlink::Socket;
use moat_protocol::{HostsEntry, Interface, MacAddress};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::interface;
use super::links::{Device, Links};
use crate::container::hosts_lines;
use crate::failure::{Context, Failure};
use crate::sys::mount::NewFilesystem;
use crate::sys::poll::{self, Interest};

/// How long a device may take to become an interface.
const LIMIT: Duration = Duration::from_secs(10);

/// Takes a device of the VM into use; `hosts_file` is the container's /etc/hosts. An interface that is there already
/// only gets its gateways.
///
/// # Errors
/// When the interface is not within the protocol's limits, or the kernel refuses.
pub fn connect(
    device: &str,
    interface: &Interface,
    hosts: &[HostsEntry],
    hosts_file: &Path,
) -> Result<(), Failure> {
    interface::check(interface)?;
    let lines = hosts_lines(hosts)?;
    // The subscription comes before the driver is bound, so that no event is missed.
    let news = Socket::link_news().context("cannot hear of network devices")?;
    let links = Links::open().context("cannot speak to the kernel's network")?;
    let found = match find(&links, interface.mac)? {
        // It is in use already.
        Some(found) if found.name == interface.name => return links.lead_out(found.index, interface),
        Some(found) => found,
        None => {
            tell_driver("bind", device)?;
            wait_for(&links, &news, interface.mac)?
        }
    };
    links.configure(found.index, interface)?;
    let what = "cannot add to /etc/hosts";
    let mut file = File::options().append(true).open(hosts_file).context(what)?;
    file.write_all(lines.as_bytes()).context(what)
}

/// Takes a device of the VM out of use.
///
/// # Errors
/// When the kernel refuses.
pub fn disconnect(device: &str, mac: MacAddress, hosts_file: &Path) -> Result<(), Failure> {
    let links = Links::open().context("cannot speak to the kernel's network")?;
    let Some(found) = find(&links, mac)? else { return Ok(()) };
    let addresses =
        links.addresses(found.index).context("cannot list the addresses of a network interface")?;
    tell_driver("unbind", device)?;
    let what = "cannot remove lines from /etc/hosts";
    // As bytes: the container may have written anything to its file.
    let text = fs::read(hosts_file).context(what)?;
    let kept = without(&text, |word| {
        std::str::from_utf8(word)
            .ok()
            .and_then(|word| word.parse().ok())
            .is_some_and(|it| addresses.contains(&it))
    });
    if kept.len() != text.len() {
        // In place, because it is mounted over the container's.
        fs::write(hosts_file, kept).context(what)?;
    }
    Ok(())
}

fn find(links: &Links, mac: MacAddress) -> Result<Option<Device>, Failure> {
    let devices = links.devices().context("cannot list the network devices")?;
    Ok(devices.into_iter().find(|device| device.mac == mac))
}

fn wait_for(links: &Links, news: &Socket, mac: MacAddress) -> Result<Device, Failure> {
    let deadline = Instant::now() + LIMIT;
    loop {
        news.discard().context("cannot hear of network devices")?;
        if let Some(found) = find(links, mac)? {
            return Ok(found);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message =
                format!("no network device with the address {mac} came up within {} s", LIMIT.as_secs());
            return Err(Failure::setup(message));
        }
        poll::wait(&mut [Interest::new(news.as_fd(), poll::IN)], Some(left))
            .context("cannot wait for a network device")?;
    }
}

/// Writes the device's name to a file of the driver. The agent itself has no sysfs, so one is mounted for this.
fn tell_driver(verb: &str, device: &str) -> Result<(), Failure> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if device.is_empty() || device.len() > 64 || !device.bytes().all(allowed) {
        return Err(Failure::setup(format!("\"{device}\" is not the name of a device")));
    }
    let what = format!("cannot {verb} the device {device}");
    let sysfs = NewFilesystem::open(c"sysfs").and_then(|it| it.mount(0)).context(&what)?;
    let path = format!("bus/platform/drivers/virtio-mmio/{verb}");
    let file =
        openat(&sysfs, path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).context(&what)?;
    match File::from(file).write_all(device.as_bytes()) {
        // It has no driver already.
        Err(error) if verb == "unbind" && error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other.context(&what),
    }
}

/// The text without the lines whose first word is `unwanted`.
fn without(text: &[u8], unwanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let first_word = |line: &[u8]| -> Vec<u8> {
        let line = line.trim_ascii_start();
        line.iter().copied().take_while(|byte| !byte.is_ascii_whitespace()).collect()
    };
    text.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !unwanted(&first_word(line)))
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_address_go() {
        let text = b"127.0.0.1\tlocalhost\n10.0.0.2\tbox\n 10.0.0.2 again\n10.0.0.20 other\n#10.0.0.2\n\xff";
        let kept = without(text, |word| word == b"10.0.0.2");
        assert_eq!(kept, b"127.0.0.1\tlocalhost\n10.0.0.20 other\n#10.0.0.2\n\xff");
    }

    #[test]
    fn devices_have_simple_names() {
        for name in ["", "../x", "a/b", "a\n", &"x".repeat(65)] {
            assert!(tell_driver("bind", name).unwrap_err().message.contains("is not the name"), "{name}");
        }
    }
}
