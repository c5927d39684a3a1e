//! Docker's flags that have no effect here.
//!
//! Some cannot matter to a container that is a virtual machine; they are taken and passed over, so that a line from a
//! guide works as it stands. Some would be a lie if they were taken: those say why, and what does what was meant.

/// A flag that has no effect.
#[derive(Debug)]
pub struct Idle {
    /// The verbs that have it. The verb of a program without one, for Docker's global flags, is empty.
    pub verbs: &'static [&'static str],
    /// Its name, without dashes.
    pub long: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// Whether it is true or false rather than a text.
    pub is_switch: bool,
    /// What it is answered with.
    pub answer: Answer,
}

/// What a flag without effect is answered with.
#[derive(Debug)]
pub enum Answer {
    /// It cannot matter.
    Ignored,
    /// These values say what is the case anyway. Any other is refused with the sentence.
    Only(&'static [&'static str], &'static str),
}

impl Idle {
    /// Whether `value` can be passed over, and if not, the sentence that says why.
    ///
    /// # Errors
    /// The sentence.
    pub fn take(&self, value: &str) -> Result<(), &'static str> {
        match self.answer {
            Answer::Only(values, sentence) if !values.contains(&value) => Err(sentence),
            _ => Ok(()),
        }
    }
}

/// The flag `--name` of `verb`, which is named without `container` and in its short form: `rmi`, not `image rm`.
pub fn long(verb: &str, name: &str) -> Option<&'static Idle> {
    FLAGS.iter().find(|flag| flag.long == name && flag.verbs.contains(&verb))
}

/// The flag `-letter` of `verb`, as for [`long`].
pub fn short(verb: &str, letter: char) -> Option<&'static Idle> {
    FLAGS.iter().find(|flag| flag.short == Some(letter) && flag.verbs.contains(&verb))
}

const fn ignored(verbs: &'static [&'static str], long: &'static str) -> Idle {
    Idle { verbs, long, short: None, is_switch: false, answer: Answer::Ignored }
}

const fn only(
    verbs: &'static [&'static str],
    long: &'static str,
    values: &'static [&'static str],
    sentence: &'static str,
) -> Idle {
    Idle { verbs, long, short: None, is_switch: false, answer: Answer::Only(values, sentence) }
}

impl Idle {
    const fn switch(self) -> Self {
        Self { is_switch: true, ..self }
    }

    const fn letter(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }
}

/// The verbs that make a container.
const MAKE: &[&str] = &["run", "create"];
/// Those, and the one that changes what a container may use.
const LIMIT: &[&str] = &["run", "create", "update"];
/// The program itself.
const PROGRAM: &[&str] = &[""];
/// The verbs on images of one platform.
const PLATFORM: &[&str] = &["load", "save", "import", "history", "rmi", "push", "image inspect"];
const NETWORK: &[&str] = &["network create"];
const CONNECT: &[&str] = &["network connect"];

const NO_DAEMON: &str =
    "Moat has no daemon to reach: every command works on the files under --root on this host";
const NO_VOLUMES: &str = "Moat has no volumes yet; 'moat cp' copies files into a container and out of it";
const NO_CHECKPOINTS: &str = "Moat has no checkpoints of processes; a container starts from its files";
const NO_WINDOWS: &str = "it is for containers of Windows, and every guest here runs Linux";
const NO_REAL_TIME: &str =
    "a virtual machine's processors have no real-time share of the host's; --cpus bounds their time";
const NO_DEVICES: &str = "a container is a virtual machine and has none of the host's devices; --privileged shows it all devices of its own";
const NO_SWARM: &str = "Moat has no swarm: its networks are those of one host";
const ONE_PLATFORM: &str =
    "an image has one platform here, and guests are linux/amd64; 'moat pull --platform' fetches another";
const NO_SIGNATURES: &str =
    "Moat does not verify Docker's content trust; name an image by its digest to be sure of it";

/// All of them.
pub const FLAGS: &[Idle] = &[
    // The program's own.
    ignored(PROGRAM, "debug").switch().letter('D'),
    only(
        PROGRAM,
        "log-level",
        &["debug", "info", "warn", "error", "fatal"],
        "a level is debug, info, warn, error or fatal",
    )
    .letter('l'),
    only(PROGRAM, "host", &[], NO_DAEMON).letter('H'),
    only(PROGRAM, "context", &["default", ""], NO_DAEMON).letter('c'),
    only(PROGRAM, "tls", &["false"], NO_DAEMON).switch(),
    only(PROGRAM, "tlsverify", &["false"], NO_DAEMON).switch(),
    ignored(PROGRAM, "tlscacert"),
    ignored(PROGRAM, "tlscert"),
    ignored(PROGRAM, "tlskey"),
    // Memory: the virtual machine's is the limit, and it has nothing to swap to.
    ignored(LIMIT, "memory-reservation"),
    ignored(LIMIT, "memory-swap"),
    ignored(MAKE, "memory-swappiness"),
    ignored(MAKE, "kernel-memory"),
    only(
        MAKE,
        "oom-kill-disable",
        &["false"],
        "a virtual machine cannot have more memory than it was given: something in it ends when that is used up",
    )
    .switch(),
    ignored(MAKE, "oom-score-adj"),
    // Shares among those who compete for a host's processors and disks.
    ignored(LIMIT, "cpu-shares").letter('c'),
    ignored(LIMIT, "blkio-weight"),
    ignored(MAKE, "blkio-weight-device"),
    only(LIMIT, "cpu-rt-period", &["0"], NO_REAL_TIME),
    only(LIMIT, "cpu-rt-runtime", &["0"], NO_REAL_TIME),
    only(
        LIMIT,
        "cpuset-cpus",
        &[""],
        "a virtual machine's processors are not tied to the host's; --cpus says how many it has, and how much of their time",
    ),
    only(LIMIT, "cpuset-mems", &["", "0"], "a virtual machine's memory is not tied to a node of the host's"),
    only(MAKE, "cpu-count", &["0"], NO_WINDOWS),
    only(MAKE, "cpu-percent", &["0"], NO_WINDOWS),
    only(MAKE, "io-maxbandwidth", &["0"], NO_WINDOWS),
    only(MAKE, "io-maxiops", &["0"], NO_WINDOWS),
    only(MAKE, "isolation", &["", "default"], NO_WINDOWS),
    // Namespaces: a virtual machine has all of its own.
    only(
        MAKE,
        "pid",
        &["", "private"],
        "every container is a machine of its own and cannot see the processes of the host or of another one; \
         'moat exec' runs a command beside its processes",
    ),
    only(
        MAKE,
        "uts",
        &["", "private"],
        "every container is a machine of its own and has a host name of its own, see --hostname",
    ),
    only(MAKE, "userns", &["", "host", "private"], "a virtual machine has the user ids of its own kernel"),
    only(
        MAKE,
        "cgroupns",
        &["", "private"],
        "every container is a machine of its own and cannot see the control groups of the host",
    ),
    ignored(MAKE, "cgroup-parent"),
    // Everything runs in a virtual machine of Moat's.
    only(
        MAKE,
        "runtime",
        &["", "moat", "runc", "io.containerd.runc.v2", "io.containerd.moat.v1"],
        "Moat runs every container in a virtual machine and has no other runtime",
    ),
    only(MAKE, "device", &[], NO_DEVICES),
    only(MAKE, "gpus", &[], NO_DEVICES),
    only(MAKE, "device-cgroup-rule", &[], NO_DEVICES),
    only(
        MAKE,
        "use-api-socket",
        &["false"],
        "Moat has no daemon whose socket a container could have",
    )
    .switch(),
    only(
        MAKE,
        "storage-opt",
        &[],
        "a container's disk has one size for all; --device-write-bps and its family bound how fast it is",
    ),
    // Volumes.
    only(MAKE, "volume", &[], NO_VOLUMES).letter('v'),
    only(MAKE, "mount", &[], "Moat has no volumes and no bind mounts yet; --tmpfs mounts a file system in memory"),
    only(MAKE, "volumes-from", &[], NO_VOLUMES),
    only(MAKE, "volume-driver", &["", "local"], NO_VOLUMES),
    ignored(&["system prune"], "volumes").switch(),
    // Names and addresses.
    only(
        MAKE,
        "link",
        &[],
        "containers of a network of your own find each other by name: 'moat network create NAME', then --network NAME \
         and --network-alias",
    ),
    only(
        CONNECT,
        "link",
        &[],
        "containers of one network find each other by name; --alias gives this one a further name",
    ),
    only(MAKE, "link-local-ip", &[], "a container has the link-local address that its kernel makes"),
    only(CONNECT, "link-local-ip", &[], "a container has the link-local address that its kernel makes"),
    ignored(CONNECT, "driver-opt"),
    only(CONNECT, "gw-priority", &["0"], "the first network that a container joined is its way out"),
    only(&["rm"], "link", &["false"], "Moat has no links that could be removed; containers find each other by name")
        .switch()
        .letter('l'),
    only(NETWORK, "ipam-driver", &["", "default"], "Moat gives out the addresses of networks itself"),
    only(NETWORK, "ipam-opt", &[], "Moat gives out the addresses of networks itself, and takes no options for that"),
    only(NETWORK, "aux-address", &[], "--ip-range leaves the addresses out that containers must not get"),
    only(NETWORK, "config-only", &["false"], NO_SWARM).switch(),
    only(NETWORK, "config-from", &[""], NO_SWARM),
    only(NETWORK, "ingress", &["false"], NO_SWARM).switch(),
    only(NETWORK, "scope", &["", "local"], NO_SWARM),
    only(NETWORK, "ipv4", &["true"], "every network has addresses of IPv4").switch(),
    // Images.
    only(PLATFORM, "platform", &["", "linux/amd64", "linux/x86_64"], ONE_PLATFORM),
    only(&["run", "create", "pull", "push"], "disable-content-trust", &["true"], NO_SIGNATURES).switch(),
    // An image's layers belong to it, and no image without a name is kept for them.
    ignored(&["rmi"], "no-prune").switch(),
    only(&["start"], "checkpoint", &[""], NO_CHECKPOINTS),
    only(&["start"], "checkpoint-dir", &[""], NO_CHECKPOINTS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_belongs_to_its_verbs_once() {
        for (i, flag) in FLAGS.iter().enumerate() {
            let again = |verb: &&&str| {
                FLAGS[i + 1..].iter().any(|other| other.long == flag.long && other.verbs.contains(verb))
            };
            assert!(!flag.verbs.iter().any(|verb| again(&verb)), "{}", flag.long);
        }
        assert!(long("run", "runtime").unwrap().take("runc").is_ok());
        assert!(
            long("run", "runtime").unwrap().take("kata").is_err_and(|why| why.contains("virtual machine"))
        );
        assert!(long("ps", "runtime").is_none());
        assert_eq!(short("update", 'c').unwrap().long, "cpu-shares");
    }
}
