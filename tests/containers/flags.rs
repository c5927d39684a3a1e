//! What people type at Docker's client, and what they are told when that cannot be.

use super::{create, inspect, lines, root};
use crate::support::Moat;

/// What Docker's client answers with for the same lines: 125 for a mistake in a flag that the client reads, 1 for one
/// that the engine finds, for a wrong number of arguments and for a verb that is not there, 0 for a noun alone.
#[test]
fn mistakes_have_dockers_words_and_exit_codes() {
    let moat = Moat::empty();
    for (line, code, words) in [
        ("ps --bad", 125, "unknown flag: --bad\n\nUsage: moat ps"),
        ("ps -n x", 125, "invalid argument \"x\" for \"-n, --last\" flag: "),
        ("rm -z web", 125, "unknown shorthand flag: 'z' in -z"),
        ("logs --tail", 125, "flag needs an argument: --tail"),
        ("stop --time=soon web", 125, "invalid argument \"soon\" for \"-t, --time\" flag: "),
        ("create --memory x img", 125, "invalid argument \"x\" for \"-m, --memory\" flag: "),
        ("image ls --digests=maybe", 125, "strconv.ParseBool: parsing \"maybe\": invalid syntax"),
        ("create --pid host img", 125, "every container is a machine of its own"),
        ("create --cpus 1 --cpu-quota 50000 img", 125, "cannot be used with"),
        ("events --since yesterday", 1, "invalid argument \"yesterday\" for \"--since\" flag: "),
        ("kill -s NOPE web", 1, "invalid argument \"NOPE\" for \"-s, --signal\" flag: "),
        ("create --stop-signal NOPE img", 125, "invalid argument \"NOPE\" for \"--stop-signal\" flag: "),
        ("port web x/y", 1, "invalid"),
        ("run", 1, "IMAGE"),
        ("rm", 1, "CONTAINER"),
        ("ps extra", 1, "extra"),
        ("nosuch", 1, "unknown command: moat nosuch"),
        ("search nginx", 1, "does not search registries"),
        ("service ls", 1, "Moat has no swarm"),
    ] {
        moat.run(line.split(' ')).code(code).says(&[words]);
    }
    for line in ["image", "container", "network", "system", "help", "help run", "run --help", "ps -h", "-D"] {
        assert!(moat.run(line.split(' ')).ok().contains("Usage: moat"), "{line}");
    }
    assert!(moat.run(["-v"]).ok().starts_with("moat "));
    assert_eq!(moat.run(["-D", "-l", "debug", "ps", "-q=false", "--quiet"]).ok(), "");
}

#[test]
fn values_begin_with_dashes_and_the_last_one_wins() {
    let moat = root();
    let line = "create --name one --name web -m 1g -m=256m -e -x=1 -it=false --rm=0 --read-only=true --health-cmd -x \
                --runtime runc --memory-swap -1 --oom-score-adj -5 localhost/busybox -d --name other";
    moat.run(line.split_whitespace()).ok();
    let web = inspect(&moat, "/web");
    assert_eq!((&web["Config"]["OpenStdin"], &web["Config"]["Tty"]), (&true.into(), &false.into()));
    assert_eq!(web["HostConfig"]["Memory"], 256 << 20);
    assert_eq!(
        (&web["HostConfig"]["AutoRemove"], &web["HostConfig"]["ReadonlyRootfs"]),
        (&false.into(), &true.into())
    );
    assert_eq!(web["Config"]["Healthcheck"]["Test"][1], "-x");
    let env = web["Config"]["Env"].as_array().expect("variables");
    assert!(env.contains(&"-x=1".into()), "{env:?}");
    assert_eq!(web["Config"]["Cmd"], serde_json::json!(["-d", "--name", "other"]));
}

#[test]
fn what_a_guest_is_given_is_kept() {
    let moat = root();
    let options = "--name web --group-add audio --group-add 7 --domainname example.org -h box --ipc none --log-driver none \
                   --log-opt mode=non-blocking --annotation a=b --cpu-period 50000 --cpu-quota 25000 --shm-size 0 -m 6m \
                   --security-opt seccomp=unconfined --security-opt no-new-privileges=false";
    create(&moat, &options.split_whitespace().collect::<Vec<_>>());
    let web = inspect(&moat, "web");
    let host = &web["HostConfig"];
    assert_eq!((&host["GroupAdd"][0], &host["GroupAdd"][1]), (&"audio".into(), &"7".into()));
    assert_eq!((&host["IpcMode"], &host["LogConfig"]["Type"]), (&"none".into(), &"none".into()));
    assert_eq!((&host["NanoCpus"], &host["ShmSize"]), (&500_000_000.into(), &(64 << 20).into()));
    assert_eq!(host["Annotations"]["a"], "b");
    assert_eq!(
        (&web["Config"]["Domainname"], &web["Config"]["Hostname"]),
        (&"example.org".into(), &"box".into())
    );
    moat.run(["logs", "web"]).code(1).says(&["configured logging driver does not support reading"]);
}

#[test]
fn names_have_dockers_forms() {
    let moat = root();
    create(&moat, &["--name", "/box"]);
    assert_eq!(lines(&moat, &["inspect", "-f", "{{.Name}}", "/box"]), ["/box"]);
    moat.run(["rename", "/box", "/crate"]).ok();
    assert_eq!(lines(&moat, &["ps", "-a", "--filter", "name=^/crate$", "--format", "{{.Names}}"]), ["crate"]);
    moat.run(["network", "create", "n"]).ok();
    assert_eq!(lines(&moat, &["inspect", "-f", "{{.Name}} {{.Driver}}", "n"]), ["n bridge"]);
    assert_eq!(lines(&moat, &["inspect", "--type", "network", "-f", "{{.Scope}}", "bridge"]), ["local"]);
    moat.run(["inspect", "--type", "network", "crate"]).code(1).says(&["crate"]);
    assert_eq!(lines(&moat, &["images", "-q", "--filter", "until=1980-01-01"]), Vec::<String>::new());
    assert_eq!(lines(&moat, &["ps", "-aq", "--filter", "volume=/nowhere"]), Vec::<String>::new());
    assert_eq!(lines(&moat, &["ps", "-aq", "--filter", "is-task=false"]).len(), 1);
    assert!(moat.run(["prune", "-f"]).ok().contains("Deleted Containers:"));
    moat.run(["rm", "/crate"]).code(1).says(&["No such container: /crate"]);
}
