//! Networks, with containers that are what they seem. Hostile ones are in `tests/network`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
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

fn exec(moat: &Moat, name: &str, script: &str) -> String {
    moat.run(["exec", name, "sh", "-c", script]).ok()
}

/// While it runs: cards come and go, and with them addresses, names and the way out.
#[test]
fn a_running_container_joins_networks_and_leaves_them() {
    let moat = Moat::with(&["busybox"]);
    for network in ["shop", "back"] {
        moat.run(["network", "create", network]).ok();
    }
    server(&moat, &["--name", "web", "--hostname", "web", "--network", "shop", "-p", "18081:80"]);
    moat.sleeper(&["--name", "client"]);
    let fetch = || moat.run(["exec", "client", "wget", "-qO-", "http://web/"]);
    moat.run(["exec", "client", "nslookup", "-type=a", "web"]).code(1);
    assert!(!exec(&moat, "client", "cat /etc/resolv.conf").contains("ndots:0"));
    moat.run(["network", "connect", "--alias", "customer", "shop", "client"]).ok();
    assert!(exec(&moat, "client", "cat /etc/resolv.conf").contains("ndots:0"));
    eventually("the server is found by name", || fetch().text().contains("hello from web"));
    let listed = ["inspect", "-f", "{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{end}}"];
    assert_eq!(moat.run(listed.iter().chain(&["client"])).ok(), "bridge shop \n");
    let interfaces = "cd /sys/class/net; echo *";
    assert_eq!(exec(&moat, "client", interfaces), "eth0 eth1 lo\n");
    let own = exec(&moat, "client", "ip -4 -o addr show eth1 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'");
    assert!(exec(&moat, "client", "cat /etc/hosts").contains(own.trim()), "{own}");
    assert!(exec(&moat, "web", "nslookup -type=a customer").contains(own.trim()), "{own}");
    let again = moat.run(["network", "connect", "shop", "client"]);
    again.code(1).says(&["endpoint with name client already exists in network shop"]);
    // The way out follows.
    let gateway = "ip route | awk '/^default/ { print $3, $5 }'";
    let first = exec(&moat, "client", gateway);
    assert!(first.ends_with(" eth0\n"), "{first}");
    moat.run(["network", "disconnect", "bridge", "client"]).ok();
    let second = exec(&moat, "client", gateway);
    assert!(second.ends_with(" eth1\n") && second != first, "{second}");
    assert!(fetch().ok().contains("hello from web"));
    moat.run(["network", "disconnect", "shop", "client"]).ok();
    assert_eq!(exec(&moat, "client", interfaces), "lo\n");
    assert!(!exec(&moat, "client", "cat /etc/hosts").contains(own.trim()));
    moat.run(["network", "disconnect", "shop", "client"])
        .code(1)
        .says(&["container client is not connected to network shop"]);
    // Every place can be used again, that of the first card too; and what was connected stays so.
    for network in ["back", "shop", "bridge"] {
        moat.run(["network", "connect", network, "client"]).ok();
    }
    assert_eq!(exec(&moat, "client", interfaces), "eth0 eth1 eth2 lo\n");
    assert!(fetch().ok().contains("hello from web"));
    moat.run(["restart", "-t", "0", "client"]).ok();
    assert_eq!(exec(&moat, "client", interfaces), "eth0 eth1 eth2 lo\n");
    assert!(fetch().ok().contains("hello from web"));
    // The server is reached at its published port also after it has moved to another network.
    moat.run(["network", "connect", "back", "web"]).ok();
    moat.run(["network", "disconnect", "shop", "web"]).ok();
    for address in ["127.0.0.1:18081", "[::1]:18081"] {
        assert!(get(address).is_ok_and(|text| text.contains("hello from web")), "{address}");
    }
    moat.run(["pause", "client"]).ok();
    moat.run(["network", "disconnect", "back", "client"]).code(1).says(&["is paused"]);
    moat.run(["rm", "-f", "web", "client"]).ok();
    moat.run(["network", "rm", "shop", "back"]).ok();
    moat.assert_clean();
}

/// A network to order, and a container that has an address of its own choice on it.
#[test]
fn networks_are_made_to_order_listed_and_pruned() {
    let moat = Moat::with(&["busybox"]);
    let order =
        "--subnet 10.88.7.0/24 --gateway 10.88.7.77 --label tier=front -o com.docker.network.driver.mtu=1400";
    moat.run(["network", "create"].into_iter().chain(order.split(' ')).chain(["front"])).ok();
    moat.run(["network", "create", "--subnet", "10.88.7.128/25", "other"]).code(1).says(&[
        "overlaps",
        "10.88.7.0/24",
        "--subnet",
    ]);
    let listed =
        ["network", "ls", "--filter", "label=tier=front", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"];
    assert_eq!(moat.run(listed).ok(), "front bridge local\n");
    let words = "--network front --ip 10.88.7.9 --mac-address 02:42:0a:58:07:99 --expose 80 -P";
    server(&moat, &["--name", "web"].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
    let taken = ["run", "--rm", "--network", "front", "--ip", "10.88.7.9", "localhost/busybox", "true"];
    moat.run(taken).code(125).says(&["10.88.7.9", "web"]);
    let inside = exec(&moat, "web", "ip -4 addr show eth0; cat /sys/class/net/eth0/address; ip route");
    for expected in ["mtu 1400", "inet 10.88.7.9/24", "02:42:0a:58:07:99", "default via 10.88.7.77"] {
        assert!(inside.contains(expected), "{expected:?} is not in {inside}");
    }
    let shown = "{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.MacAddress}}{{end}}";
    assert_eq!(
        moat.run(["network", "inspect", "-f", shown, "front"]).ok(),
        "web 10.88.7.9/24 02:42:0a:58:07:99\n"
    );
    let port = moat.run(["port", "web", "80"]).ok();
    let port = port.lines().find_map(|line| line.strip_prefix("0.0.0.0:")).expect("a port");
    eventually("it answers", || get(&format!("127.0.0.1:{port}")).is_ok_and(|text| text.contains("hello")));
    moat.run(["network", "rm", "front"]).code(1).says(&["has active endpoints", "web"]);
    moat.run(["network", "rm", "-f", "nobody"]).ok();
    assert!(!moat.run(["network", "prune", "-f"]).ok().contains("front"));
    moat.run(["rm", "-f", "web"]).ok();
    assert!(moat.run(["network", "prune", "-f"]).ok().contains("front"));
    assert_eq!(moat.run(["network", "ls", "-q", "--filter", "type=custom"]).ok(), "");
    moat.assert_clean();
}

/// What is published, and where the world is, follow the networks that lead out, in each family.
#[test]
fn ports_and_ways_out_follow_the_networks() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["network", "create", "--internal", "vault"]).ok();
    for network in ["six1", "six2"] {
        moat.run(["network", "create", "--ipv6", network]).ok();
    }
    server(&moat, &["--name", "web", "--hostname", "web", "--network", "vault", "-p", "18082:80"]);
    assert_eq!(moat.run(["port", "web"]).ok(), "");
    assert!(get("127.0.0.1:18082").is_err());
    moat.run(["network", "connect", "bridge", "web"]).ok();
    assert_eq!(moat.run(["port", "web", "80"]).ok(), "0.0.0.0:18082\n[::]:18082\n");
    for address in ["127.0.0.1:18082", "[::1]:18082"] {
        eventually("the server answers", || get(address).is_ok_and(|text| text.contains("hello from web")));
    }
    moat.run(["network", "disconnect", "bridge", "web"]).ok();
    assert_eq!(moat.run(["port", "web"]).ok(), "");
    // Others can have the port; then the container cannot come back to it, and stays where it is.
    for address in ["127.0.0.1:18082", "[::1]:18082"] {
        let other = TcpListener::bind(address).expect("the port is free");
        let refused = moat.run(["network", "connect", "bridge", "web"]);
        refused.code(1).says(&["18082 failed: port is already allocated"]);
        drop(other);
    }
    assert_eq!(exec(&moat, "web", "cd /sys/class/net; echo *"), "eth0 lo\n");
    let default_v6 = "ip -6 route | awk '/^default/ { print $5 }'";
    for network in ["bridge", "six1", "six2"] {
        moat.run(["network", "connect", network, "web"]).ok();
    }
    assert!(get("127.0.0.1:18082").is_ok());
    assert_eq!(exec(&moat, "web", default_v6), "eth2\n");
    moat.run(["network", "disconnect", "six1", "web"]).ok();
    assert_eq!(exec(&moat, "web", default_v6), "eth3\n");
    assert_eq!(exec(&moat, "web", "ip route | awk '/^default/ { print $5 }'"), "eth1\n");
    moat.run(["rm", "-f", "web"]).ok();
    moat.run(["network", "rm", "vault", "six1", "six2"]).ok();
    moat.assert_clean();
}

/// A virtual machine has so many places for cards, and one without networks has none.
#[test]
fn there_are_so_many_places_for_cards() {
    let moat = Moat::with(&["busybox"]);
    let names = ["n1", "n2", "n3", "n4", "n5"];
    for name in names {
        moat.run(["network", "create", name]).ok();
    }
    moat.sleeper(&["--name", "box", "--network", "n1"]);
    moat.sleeper(&["--name", "alone", "--network", "none"]);
    for name in &names[1..] {
        moat.run(["network", "connect", name, "box"]).ok();
    }
    let full = moat.run(["network", "connect", "bridge", "box"]);
    full.code(1).says(&["no room for another network card while it runs", "start it again"]);
    assert_eq!(exec(&moat, "box", "ls /sys/class/net | wc -l"), "6\n");
    moat.run(["network", "connect", "n1", "alone"]).code(1).says(&["was started without networks"]);
    moat.run(["rm", "-f", "box", "alone"]).ok();
    moat.run(["network", "rm"].iter().chain(&names)).ok();
    moat.assert_clean();
}

/// Containers come and go, one is killed and swept away: a connection with another one goes on.
#[test]
fn connections_of_others_never_notice() {
    let moat = Moat::with(&["busybox"]);
    let echo = [
        "run",
        "-d",
        "--name",
        "echo",
        "-p",
        "18082:7",
        "localhost/busybox",
        "nc",
        "-ll",
        "-p",
        "7",
        "-e",
        "cat",
    ];
    moat.run(echo).ok();
    let mut connection = None;
    eventually("the server takes a connection", || {
        connection = TcpStream::connect("127.0.0.1:18082").ok();
        connection.is_some()
    });
    let mut connection = connection.expect("a connection");
    connection.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut alive = |when: &str| {
        connection.write_all(when.as_bytes()).expect("sent");
        let mut answer = vec![0; when.len()];
        connection.read_exact(&mut answer).expect(when);
        assert_eq!(answer, when.as_bytes());
    };
    let id = server(&moat, &["--name", "other", "-p", "18083:80"]);
    alive("one more runs");
    kill_9(monitor_of(&id));
    moat.run(["run", "--rm", "-p", "18083:80", "localhost/busybox", "true"]).ok();
    alive("it was swept, and another one came and went");
    moat.run(["network", "create", "side"]).ok();
    moat.run(["network", "connect", "side", "echo"]).ok();
    alive("it joined a network");
    moat.run(["network", "disconnect", "side", "echo"]).ok();
    alive("it left it");
    moat.run(["rm", "-f", "echo", "other"]).ok();
    moat.run(["network", "rm", "side"]).ok();
    moat.assert_clean();
}
