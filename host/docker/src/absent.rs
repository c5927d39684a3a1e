//! Docker's verbs that are not here. Each is answered with a sentence that says why, and what there is instead.

const NO_SWARM: &str = "Moat has no swarm: it runs containers on this host, 'moat run' does";
const NO_BUILDS: &str =
    "Moat builds no images yet: build with another tool, then 'moat load' or 'moat pull' the image";

/// Verbs, below the noun that is given first if there is one, with their sentence.
pub const VERBS: &[(&str, &str)] = &[
    ("search", "Moat does not search registries: find the name on the registry's pages, then 'moat pull' it"),
    ("swarm", NO_SWARM),
    ("node", NO_SWARM),
    ("service", NO_SWARM),
    ("stack", NO_SWARM),
    ("secret", NO_SWARM),
    ("config", NO_SWARM),
    ("build", NO_BUILDS),
    ("builder", NO_BUILDS),
    ("buildx", NO_BUILDS),
    ("image build", NO_BUILDS),
    (
        "compose",
        "Moat has no compose: start each service with 'moat run', on a network of 'moat network create'",
    ),
    ("volume", "Moat has no volumes yet: 'moat cp' copies files into a container and out of it"),
    ("context", "Moat has no daemon and so no contexts: it works on the files under --root on this host"),
    (
        "system dial-stdio",
        "Moat has no daemon to speak with: it works on the files under --root on this host",
    ),
    ("plugin", "Moat has no plugins: networks, logs and disks are its own"),
    ("trust", "Moat does not verify Docker's content trust: name an image by its digest to be sure of it"),
    ("manifest", "Moat does not edit lists of platforms: 'moat pull --platform' takes one of a list"),
    ("checkpoint", "Moat has no checkpoints of processes: 'moat pause' has a container stand still"),
];

/// The sentence for `verb`, if it is one of these.
pub fn sentence(verb: &str) -> Option<&'static str> {
    VERBS.iter().find(|(name, _)| *name == verb).map(|(_, sentence)| *sentence)
}
