//! The host's /etc/resolv.conf (resolv.conf(5)).

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

/// Where it is.
pub const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";

/// How many name servers count, as in the C library.
const MAX_SERVERS: usize = 3;

/// How much of the file is read, in bytes.
const MAX_SIZE: u64 = 64 << 10;

/// The port of name servers.
pub const DNS_PORT: u16 = 53;

/// What such a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The name servers that count.
    pub servers: Vec<SocketAddr>,
    /// The domains that names without a dot are looked for in.
    pub search: Vec<String>,
    /// Words for the C library.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads a file. One that is not there says nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(MAX_SIZE).read_to_end(&mut text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") if found.servers.len() < MAX_SERVERS => {
                    found.servers.extend(words.next().and_then(server));
                }
                // The last one counts.
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                Some("options") => found.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        found
    }
}

/// A name server's address; one that is valid on one link alone has the link's name behind it.
fn server(word: &str) -> Option<SocketAddr> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, DNS_PORT));
    }
    let (address, link) = word.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let index = link.parse().ok().or_else(|| {
        let is_name = !link.is_empty() && !link.contains('/') && link != ".." && link != ".";
        let text = is_name.then(|| fs::read_to_string(format!("/sys/class/net/{link}/ifindex")))?.ok()?;
        text.trim().parse().ok()
    })?;
    Some(SocketAddrV6::new(address, DNS_PORT, 0, index).into())
}

/// Where a program looks when no name server is named.
pub fn fallback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT))
}
