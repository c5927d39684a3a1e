//! Real servers, reached as people reach them: from the host through a published port, from another container by name.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Moat, eventually};

/// Runs a program of the host and returns what it says, both ways; nothing when it fails.
fn host(program: &str, args: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(args).env_remove("http_proxy").output().expect("a program of the host");
    let text = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The number behind `label` in what ab says.
fn figure(text: &str, label: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(label)?.split_whitespace().next()?.parse().ok())
}

/// `run -d --name my-web-server -p 8080:80 nginx`, then `curl http://localhost:8080`.
#[test]
fn nginx_serves_the_world() {
    let moat = Moat::with(&["nginx"]);
    moat.run(["run", "-d", "--name", "my-web-server", "-p", "8080:80", "localhost/nginx"]).ok();
    let mut page = None;
    eventually("nginx answers", || {
        page = host("curl", &["-sf", "--noproxy", "*", "http://localhost:8080"]);
        page.is_some()
    });
    assert!(page.expect("a page").contains("Welcome to nginx in a microVM"));
    for address in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{address}:8080/");
        let text = host("ab", &["-q", "-n", "200", "-c", "8", &url]).expect("ab");
        let figures =
            ["Complete requests:", "Failed requests:", "Non-2xx responses:"].map(|it| figure(&text, it));
        assert_eq!(figures, [Some(200), Some(0), None], "{address}: {text}");
    }
    let logs = moat.run(["logs", "my-web-server"]).ok();
    assert_eq!(logs.matches("\"GET / HTTP/1").count(), 401);
    moat.run(["stop", "my-web-server"]).ok();
    assert!(moat.run(["ps", "-a"]).ok().contains("Exited (0)"));
    moat.run(["rm", "my-web-server"]).ok();
    moat.assert_clean();
}

/// As much as the machine can, one way and the other.
#[test]
fn iperf3_both_ways() {
    let moat = Moat::with(&["iperf"]);
    moat.run(["network", "create", "lab"]).ok();
    let ports = ["-p", "5201:5201", "-p", "5201:5201/udp"];
    moat.run(
        ["run", "-d", "--name", "server", "--network", "lab"]
            .iter()
            .chain(&ports)
            .chain(&["localhost/iperf"]),
    )
    .ok();
    let client = ["-t", "2", "-J", "-c"];
    eventually("iperf3 answers", || host("iperf3", &["-n", "1", "-c", "127.0.0.1"]).is_some());
    // From ::1 it is the monitor that passes on what arrives.
    for (to, way) in [
        ("127.0.0.1", &[][..]),
        ("127.0.0.1", &["-R"]),
        ("127.0.0.1", &["-u", "-b", "1M"]),
        ("127.0.0.1", &["-u", "-b", "1M", "-R"]),
        ("::1", &["-u", "-b", "1M"]),
        ("::1", &["-u", "-b", "1M", "-R"]),
    ] {
        let args: Vec<&str> = client.iter().chain(&[to]).chain(way).copied().collect();
        let report = host("iperf3", &args).unwrap_or_else(|| panic!("{to} {way:?}"));
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let end = &report["end"];
        let bytes = if way.contains(&"-u") { &end["sum"]["bytes"] } else { &end["sum_received"]["bytes"] };
        assert!(bytes.as_u64().is_some_and(|bytes| bytes > 100_000), "{to} {way:?}: {end}");
        // The receiver's word for it.
        let lost = way.contains(&"-u").then(|| end["sum"]["lost_percent"].as_f64().expect("a number"));
        assert!(lost.is_none_or(|lost| lost < 50.0), "{to} {way:?}: {end}");
    }
    // Between containers, by name.
    let args = ["run", "--rm", "--network", "lab", "localhost/iperf", "-t", "1", "-J", "-c", "server"];
    let report: serde_json::Value = serde_json::from_str(&moat.run(args).ok()).expect("JSON");
    assert!(report["end"]["sum_received"]["bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{report}");
    moat.run(["rm", "-f", "server"]).ok();
    moat.run(["network", "rm", "lab"]).ok();
    moat.assert_clean();
}

/// A program that ends with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Debian mirror with one package, which says hello.
fn mirror(place: &Path) {
    let package = place.join("package");
    std::fs::create_dir_all(package.join("DEBIAN")).expect("made");
    std::fs::create_dir_all(package.join("usr/bin")).expect("made");
    let control = "Package: moat-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
                   Description: says hello\n";
    std::fs::write(package.join("DEBIAN/control"), control).expect("written");
    std::fs::write(package.join("usr/bin/moat-hello"), "#!/bin/sh\necho hello from a package\n")
        .expect("written");
    let script = "chmod 755 package/usr/bin/moat-hello && mkdir site && dpkg-deb --root-owner-group -b package site/moat-hello.deb >/dev/null \
                  && cd site && dpkg-scanpackages -m . >Packages";
    let made = Command::new("sh").args(["-c", script]).current_dir(place).output().expect("sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// `apt-get update` and `apt-get install` in a container, from a mirror on the host.
#[test]
fn packages_are_fetched_from_a_mirror_on_the_host() {
    let moat = Moat::with(&["debian"]);
    let place = tempfile::tempdir().expect("a directory");
    mirror(place.path());
    let mut serve = Command::new("python3");
    serve.args(["-m", "http.server", "18099", "--directory"]).arg(place.path().join("site"));
    let _served = Served(serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3"));
    let list = "http://127.0.0.1:18099/Packages";
    eventually("the mirror answers", || host("curl", &["-sf", "--noproxy", "*", list]).is_some());
    let script = "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* \
                  && echo 'deb [trusted=yes] http://mirror:18099/ ./' >/etc/apt/sources.list \
                  && apt-get update >/dev/null && apt-get install -y moat-hello >/dev/null && moat-hello";
    let run = ["run", "--rm", "--add-host", "mirror:host-gateway", "localhost/debian", "sh", "-c", script];
    assert_eq!(moat.run(run).code(0).text(), "hello from a package\n");
    // Without that line the host is out of reach, also at the gateway's address.
    let gateway = moat.run(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"]).ok();
    let knock = format!("exec 3<>/dev/tcp/{}/18099", gateway.trim());
    moat.run(["run", "--rm", "localhost/debian", "timeout", "10", "bash", "-c", &knock]).code(124);
    moat.assert_clean();
}

/// `run -d --name my-database -e MYSQL_ROOT_PASSWORD=secret -e MYSQL_DATABASE=myapp -p 3306:3306 mysql`, then clients.
#[test]
#[ignore = "a long story"]
fn mariadb_has_clients_on_the_host_and_in_containers() {
    let moat = Moat::with(&["mariadb"]);
    moat.run(["network", "create", "backend"]).ok();
    let settings = ["-e", "MYSQL_ROOT_PASSWORD=secret", "-e", "MYSQL_DATABASE=myapp", "-p", "3306:3306"];
    let place = ["--network", "backend", "--network-alias", "db", "--memory", "512m"];
    moat.run(
        ["run", "-d", "--name", "my-database"]
            .iter()
            .chain(&settings)
            .chain(&place)
            .chain(&["localhost/mariadb"]),
    )
    .ok();
    let login = ["-u", "root", "-psecret", "myapp", "-BN", "-e"];
    let from_host = |statement: &str| {
        let args: Vec<&str> = ["-h", "127.0.0.1"].iter().chain(&login).copied().chain([statement]).collect();
        host("mariadb", &args)
    };
    eventually("the database", || from_host("create table if not exists t (n int)").is_some());
    from_host("insert into t values (42)").expect("a row");
    let client =
        ["run", "--rm", "--network", "backend", "--entrypoint", "mariadb", "localhost/mariadb", "-h", "db"];
    let select = "select n, substring_index(user(), '@', -1) like '%.%' from t";
    assert_eq!(moat.run(client.iter().chain(&login).chain(&[select])).ok(), "42\t1\n");
    moat.run(["stop", "-t", "100", "my-database"]).ok();
    moat.run(["rm", "my-database"]).ok();
    moat.run(["network", "rm", "backend"]).ok();
    moat.assert_clean();
}

/// A program of one's own on Node.js: it serves, and its exit code is the command's.
#[test]
#[ignore = "a long story"]
fn node_serves_and_ends_as_told() {
    let moat = Moat::with(&["node"]);
    let program = "require('http').createServer((_, answer) => answer.end('hello from node')).listen(3000)";
    moat.run(["run", "-d", "--name", "node-dev", "-p", "3000:3000", "localhost/node", "node", "-e", program])
        .ok();
    let mut page = None;
    eventually("node answers", || {
        page = host("curl", &["-sf", "--noproxy", "*", "http://localhost:3000"]);
        page.is_some()
    });
    assert_eq!(page.as_deref(), Some("hello from node"));
    let failing = ["run", "--rm", "-w", "/tmp", "localhost/node", "node", "-e", "process.exit(7)"];
    moat.run(failing).code(7);
    moat.run(["rm", "-f", "node-dev"]).ok();
    moat.assert_clean();
}
