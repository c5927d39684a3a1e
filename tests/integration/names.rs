//! Names: containers find each other, and everything else is the host's name servers' to know.

use std::net::UdpSocket;
use std::thread;

use crate::support::Moat;

/// Runs a command in a container and returns what it says.
fn exec(moat: &Moat, name: &str, script: &str) -> String {
    moat.run(["exec", name, "sh", "-c", script]).ok()
}

fn address(moat: &Moat, name: &str) -> String {
    exec(moat, name, "ip -4 -o addr show eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'").trim().to_owned()
}

#[test]
fn containers_find_each_other_and_follow_restarts() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["network", "create", "front"]).ok();
    let id = moat.sleeper(&["--name", "db", "--network", "front", "--network-alias", "database"]);
    moat.sleeper(&["--name", "web", "--network", "front"]);
    for restarted in [false, true] {
        if restarted {
            moat.run(["restart", "-t", "0", "db"]).ok();
        }
        let address = address(&moat, "db");
        for name in ["db", "DB", "database", &id[..12], "db.front"] {
            let answer = exec(&moat, "web", &format!("nslookup -type=a {name}"));
            assert!(answer.contains(&format!("Address: {address}")), "{name}: {address} is not in {answer}");
        }
        assert!(exec(&moat, "web", &format!("nslookup {address}")).contains("db.front"));
        assert!(exec(&moat, "web", "ping -c 1 -w 30 database").contains("1 packets received"));
    }
    moat.run(["rename", "db", "store"]).ok();
    assert!(exec(&moat, "web", "nslookup -type=a store").contains(&address(&moat, "store")));
    moat.run(["exec", "web", "nslookup", "-type=a", "db"]).code(1);
    // It knows itself without asking, and its files are no changes.
    assert!(exec(&moat, "web", "cat /etc/hosts").contains(&address(&moat, "web")));
    let resolv_conf = exec(&moat, "web", "cat /etc/resolv.conf; echo '# mine' >>/etc/resolv.conf");
    assert!(resolv_conf.starts_with("nameserver 127.0.0.11\n"), "{resolv_conf}");
    assert_eq!(moat.run(["diff", "web"]).ok(), "");
    moat.run(["rm", "-f", "store", "web"]).ok();
    moat.run(["network", "rm", "front"]).ok();
    moat.assert_clean();
}

#[test]
fn nobody_has_a_name_on_another_network() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["network", "create", "--internal", "back"]).ok();
    moat.sleeper(&["--name", "db", "--network", "back"]);
    moat.sleeper(&["--name", "usual"]);
    moat.sleeper(&["--name", "alone", "--network", "none"]);
    // No server answers at this address: what is asked of the outside fails soon.
    moat.sleeper(&["--name", "other", "--dns", "127.0.0.153"]);
    for name in ["alone", "other"] {
        moat.run(["exec", name, "nslookup", "-type=a", "db"]).code(1);
        moat.run(["exec", name, "nslookup", "-type=a", "usual"]).code(1);
    }
    // There is no way out of an internal network, not by a question either.
    let failed = moat.run(["exec", "db", "nslookup", "-type=a", "example.org"]).code(1);
    assert!(failed.text().contains("SERVFAIL"), "{failed:?}");
    assert_eq!(exec(&moat, "alone", "cat /etc/resolv.conf; ls /sys/class/net"), "lo\n");
    moat.run(["rm", "-f", "db", "usual", "alone", "other"]).ok();
    moat.run(["network", "rm", "back"]).ok();
}

#[test]
fn everything_else_is_asked_of_name_servers() {
    let moat = Moat::with(&["busybox"]);
    // On the host's loopback, where no container gets to: it is the monitor that asks.
    let server = UdpSocket::bind("127.0.0.154:53").expect("an address of the loopback");
    let serve = thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, from) = server.recv_from(&mut buffer).expect("a query");
        let mut answer = buffer[..length].to_vec();
        answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 77]);
        server.send_to(&answer, from).expect("an answer");
    });
    let args =
        ["run", "--rm", "--dns", "127.0.0.154", "localhost/busybox", "nslookup", "-type=a", "deb.example"];
    let answer = moat.run(args).ok();
    assert!(answer.contains("Address: 192.0.2.77"), "{answer}");
    serve.join().expect("the server");
}
