//! Records of each kind in each format that there has been: this release reads the older ones, and refuses newer ones as
//! newer. `KIND.0.json` is from before records had a format.

#[path = "../../records/tests/support/formats.rs"]
mod formats;

use formats::{read_every_format, refuse_the_next_format};
use moat_network::endpoint::Attachment;
use moat_network::record::Network;

const RECORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records");

#[test]
fn networks_of_every_format_are_read() {
    for network in read_every_format::<Network>(RECORDS, "network") {
        assert_eq!((network.name.as_str(), network.bridge.as_str()), ("shop", "mb-c16541ea9441"));
        refuse_the_next_format(&network);
    }
}

#[test]
fn attachments_of_every_format_are_read() {
    for attachment in read_every_format::<Attachment>(RECORDS, "attached") {
        assert_eq!(attachment.endpoints[0].network_name, "shop");
        assert_eq!(attachment.ports[0].host_port, 8080);
        refuse_the_next_format(&attachment);
    }
}
