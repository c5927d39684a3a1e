//! Whose a port is: a container's, or another program's on the host.

use std::fs;
use std::net::SocketAddr;

use super::endpoint::Attachment;
use super::port::{Protocol, clash};

/// Names the container or the process that has `address`, as far as can be told.
pub fn find(address: SocketAddr, protocol: Protocol, containers: &[Attachment]) -> Option<String> {
    let container = containers.iter().find(|attachment| {
        attachment.ports.iter().any(|port| {
            port.protocol == protocol && port.host_port == address.port() && clash(port.host_ip, address.ip())
        })
    });
    match container {
        Some(attachment) => Some(format!("container {}", attachment.name)),
        None => process_with(socket_inode(address.port(), protocol)?),
    }
}

/// The inode of the socket that is bound to a port (proc_net_tcp in the kernel's documentation).
fn socket_inode(port: u16, protocol: Protocol) -> Option<u64> {
    let wanted = format!(":{port:04X}");
    [format!("/proc/net/{protocol}"), format!("/proc/net/{protocol}6")].iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?;
            // Behind the local address: the remote one, the state, two queues, timers, retries, user, timeout.
            let inode: u64 = fields.nth(7)?.parse().ok()?;
            (local.ends_with(&wanted) && inode != 0).then_some(inode)
        })
    })
}

/// The process that has a socket open.
fn process_with(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let files = fs::read_dir(process.path().join("fd")).ok()?;
        let has = files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy() == wanted));
        let name = has.then(|| fs::read_to_string(process.path().join("comm")).ok())??;
        Some(format!("process {pid} ({})", name.trim()))
    })
}
