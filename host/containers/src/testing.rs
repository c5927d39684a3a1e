//! A container to show, for the unit tests of this and other packages.

use moat_records::root::Root;
use serde_json::json;

use crate::{Container, Directory};

/// A container that was created on 2 January 2026 and never ran.
pub fn container() -> Container {
    let temporary = tempfile::tempdir().expect("a directory");
    let root = Root::open(temporary.path()).expect("a root");
    let config = json!({
        "id": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "name": "web",
        "created": "2026-01-02T15:04:05Z",
        "image": "busybox",
        "image_id": format!("sha256:{}", "a".repeat(64)),
        "process": {
            "args": ["sh", "-c", "echo \"hello\" world"], "entrypoint": 1, "env": ["PATH=/bin", "A=1"],
            "working_dir": "/srv", "user": "app", "terminal": true, "open_stdin": true, "stdin_once": false,
            "stop_signal": 15, "stop_timeout": 10,
            "ulimits": [{"name": "nofile", "soft": 1024, "hard": u64::MAX}],
        },
        "hostname": "web",
        "resources": {"memory_mib": 256, "milli_cpus": 1500, "pids_limit": 100},
        "read_only": true,
        "tmpfs": [{"destination": "/run", "options": ["size=64m", "ro"]}],
        "auto_remove": false,
        "labels": {"com.example.team": "a", "tier": "1"},
        "restart": {"on-failure": {"retries": 3}},
        "health": null,
        "log": {"max_size": 10 << 20, "max_files": 3},
        "security": {"privileged": false, "cap_add": ["NET_ADMIN"], "cap_drop": [], "no_new_privileges": true},
        "sysctls": {"net.core.somaxconn": "1024"},
        "shm_size": 64 << 20,
        "init": true,
        "exposed_ports": ["80/tcp"],
        "volumes": ["/data"],
    });
    let config: crate::config::ContainerConfig = serde_json::from_value(config).expect("a config");
    let directory = Directory::of(&root, &config.id);
    Container { directory, config, state: crate::state::State::created() }
}
