//! A pull that is killed at any moment: the store is sound and the next pull completes.

use std::time::Duration;

use crate::client::Client;
use crate::is_long;
use crate::server::{Access, Server, run};
use crate::support::image_archive;

/// How often it is killed; the long tier has a hundred.
fn rounds() -> u32 {
    if is_long() { 100 } else { 20 }
}

#[test]
fn a_killed_pull_is_gone_on_with() {
    let (server, client) = (Server::start(Access::Open), Client::new());
    let archive = image_archive("nginx", "oci");
    let name = server.name("nginx:1");
    let from = format!("oci-archive:{}", archive.display());
    run("skopeo", &["copy", "-q", "--dest-tls-verify=false", &from, &format!("docker://{name}")]);
    for round in 0..rounds() {
        let mut pull = client.command(["pull", "-q", &name]).spawn().expect("moat starts");
        // Moments all over the pull; which one it is does not matter.
        std::thread::sleep(Duration::from_millis(u64::from(round) * 37 % 1500));
        let _ = pull.kill();
        let output = pull.wait_with_output().expect("output");
        if output.status.success() {
            client.run(["rmi", &name]).ok();
        }
        client.assert_sound();
    }
    client.run(["pull", "-q", &name]).ok();
    assert_eq!(client.partial(), Vec::<String>::new());
    client.assert_sound();
}
