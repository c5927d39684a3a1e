//! Networks, with containers that are what they seem. Hostile ones are in `tests/network`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{Moat, eventually, kill_9, monitor_of};

/// How long an answer may take in a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a web server of busybox runs.
const SERVE: [&str; 3] =
    ["sh", "-c", "mkdir /www; echo hello from $(hostname) > /www/index.html; exec httpd -f -p 80 -h /www"];

fn get(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn server(moat: &Moat, options: &[&str]) -> String {
    let words = ["run", "-d"].iter().chain(options).chain(&["localhost/busybox"]).chain(&SERVE);
    moat.run(words).ok().trim().to_owned()
}

/// `-p 8080:80`, and the whole world knows.
#[test]
fn a_published_port_answers_until_its_container_ends() {
    let moat = Moat::with(&["busybox"]);
    let id = server(&moat, &["--name", "web", "--hostname", "web", "-p", "18080:80"]);
    for address in ["127.0.0.1:18080", "[::1]:18080"] {
        eventually("the server answers", || get(address).is_ok_and(|text| text.contains("hello from web")));
    }
    let ports = "0.0.0.0:18080->80/tcp, [::]:18080->80/tcp";
    assert_eq!(moat.run(["ps", "--format", "{{.Ports}} {{.Networks}}"]).ok(), format!("{ports} bridge\n"));
    assert_eq!(moat.run(["port", "web", "80"]).ok(), "0.0.0.0:18080\n[::]:18080\n");
    let taken = ["run", "--rm", "-p", "18080:80", "localhost/busybox", "true"];
    moat.run(taken).code(125).says(&["Bind for 0.0.0.0:18080 failed: port is already allocated", "web"]);
    // Killed with no chance to clean up: the next command does.
    kill_9(monitor_of(&id));
    eventually("its end is seen", || {
        moat.run(["inspect", "-f", "{{.State.Running}}", "web"]).ok() == "false\n"
    });
    assert!(get("127.0.0.1:18080").is_err());
    moat.run(["start", "web"]).ok();
    eventually("the server answers again", || get("127.0.0.1:18080").is_ok());
    moat.run(["rm", "-f", "web"]).ok();
    assert!(get("127.0.0.1:18080").is_err());
    moat.assert_clean();
}

/// Two containers of one network, by name.
#[test]
fn containers_of_a_network_find_each_other() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["network", "create", "shop"]).ok();
    server(&moat, &["--name", "web", "--network", "shop", "--network-alias", "www"]);
    let fetch = |name: &str| {
        let url = format!("http://{name}/");
        moat.run(["run", "--rm", "--network", "shop", "localhost/busybox", "wget", "-qO-", &url])
    };
    for name in ["web", "www"] {
        let mut answer = String::new();
        eventually("the server answers", || {
            let fetched = fetch(name);
            answer = fetched.text().to_owned();
            answer.contains("hello from")
        });
        assert!(answer.contains("hello from"), "{answer}");
    }
    moat.run(["network", "rm", "shop"]).code(1).says(&["has active endpoints", "web"]);
    moat.run(["rm", "-f", "web"]).ok();
    moat.run(["network", "rm", "shop"]).ok();
    moat.assert_clean();
}

/// `--network none` is no device at all.
#[test]
fn without_a_network_there_is_no_device() {
    let moat = Moat::with(&["busybox"]);
    let devices = ["run", "--rm", "--network", "none", "localhost/busybox", "ls", "/sys/class/net"];
    assert_eq!(moat.run(devices).ok(), "lo\n");
}
