//! The name server of a container, the host's half: what its programs ask at 127.0.0.11 arrives here over vsock.
//!
//! ```text
//! directory     who is on the container's networks, by which names
//! message       a query read, an answer written
//! upstream      everything else, asked of the host's own name servers
//! resolv_conf   which those are
//! ```
//! Queries come from the guest and answers from the network: both are hostile. Nothing listens on the host.

mod directory;
mod message;
mod resolv_conf;
mod upstream;

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use moat_protocol::names::Transport;

pub use directory::{Directory, Endpoint, Network};
pub use resolv_conf::{DNS_PORT, HOST_RESOLV_CONF, ResolvConf};
pub use upstream::{Servers, Upstream};

use directory::Found;
use message::Request;

/// Answers the queries of one container.
pub struct Resolver<D> {
    directory: D,
    upstream: Upstream,
}

impl<D: Directory> Resolver<D> {
    /// Answers from `directory`, and what is not in it with what `servers` say.
    pub fn new(directory: D, servers: Servers) -> Self {
        Self { directory, upstream: Upstream::new(servers) }
    }

    /// Answers one query within the limits of [`Upstream`]. One that makes no sense gets an answer too.
    pub async fn answer(&self, query: &[u8], transport: Transport) -> Vec<u8> {
        let request = match Request::parse(query, transport) {
            Ok(request) => request,
            Err(refusal) => return refusal,
        };
        let networks = self.directory.networks();
        match directory::look_up(&networks, &request) {
            Found::Records(records) => request.answer(records),
            Found::Nothing => request.answer(Vec::new()),
            // A container that is on internal networks alone has no way out, and a query is one.
            Found::Unknown if networks.iter().all(|network| network.internal) => {
                request.failure(ResponseCode::ServFail)
            }
            Found::Unknown => match self.upstream.ask(&request).await {
                Some(answer) => request.pass_on(answer),
                None => request.failure(ResponseCode::ServFail),
            },
        }
    }
}

/// What a container's /etc/resolv.conf says when the agent is its name server. What was asked for on the command line
/// (`--dns-search`, `--dns-option`) takes the place of what the host has; `user_defined` is whether it is on a network on
/// which containers have names.
pub fn shown(
    host: &ResolvConf,
    search: &[String],
    options: &[String],
    user_defined: bool,
) -> moat_protocol::Dns {
    let search = if search.is_empty() { &host.search } else { search };
    // Docker's: a lone `.` means none.
    let search = search.iter().filter(|domain| *domain != ".").cloned().collect();
    let mut options = if options.is_empty() { host.options.clone() } else { options.to_vec() };
    // A name without a dot is a container's first, and only then one of a search domain.
    if user_defined && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    let most = |mut words: Vec<String>| {
        words.truncate(moat_protocol::MAX_DNS_ENTRIES);
        words
    };
    moat_protocol::Dns {
        servers: vec![IpAddr::V4(moat_protocol::RESOLVER)],
        search: most(search),
        options: most(options),
    }
}

#[cfg(test)]
mod tests;
