//! Records of each kind in each format that there has been: this release reads the older ones, and refuses newer ones as
//! newer. `KIND.0.json` is from before records had a format.

#[path = "../../records/tests/support/formats.rs"]
mod formats;

use std::path::Path;

use formats::{read_every_format, refuse_the_next_format};
use moat_containers::config::ContainerConfig;
use moat_containers::state::State;
use moat_containers::users::UsersRecord;
use moat_records::record;

const RECORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records");

#[test]
fn configurations_of_every_format_are_read() {
    for config in read_every_format::<ContainerConfig>(RECORDS, "config") {
        assert_eq!(config.name, "web");
        assert_eq!(config.process.args, ["sh", "-c", "echo hi"]);
        assert_eq!(config.network.networks[0].network, "shop");
        refuse_the_next_format(&config);
    }
}

#[test]
fn states_of_every_format_are_read() {
    for state in read_every_format::<State>(RECORDS, "state") {
        assert_eq!(state, State::created());
        refuse_the_next_format(&state);
    }
}

/// Earlier releases had no such record.
#[test]
fn the_record_of_images_users_is_read() {
    let record = record::read::<UsersRecord>(&Path::new(RECORDS).join("users.1.json")).expect("a record");
    refuse_the_next_format(&record);
}
