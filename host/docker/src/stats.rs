//! What a container uses, as a line of `stats`.

use moat_containers::Container;
use moat_protocol::Stats;
use serde_json::{Value, json};

use crate::human;

/// Docker's columns.
pub const COLUMNS: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// The columns' names, one for each field of [`object`].
pub fn headers() -> Value {
    json!({
        "Container": "CONTAINER", "Name": "NAME", "ID": "CONTAINER ID", "CPUPerc": "CPU %",
        "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
    })
}

/// What a container uses. The default is that of a container that does not run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// The numbers that the guest reports.
    pub stats: Stats,
    /// The processor time since the sample before, in percent of one processor.
    pub cpu_percent: f64,
}

/// A row under Docker's names. `usage` is missing when the container does not answer. `whole` shows the full id.
pub fn object(container: &Container, usage: Option<&Usage>, whole: bool) -> Value {
    let id = if whole { container.id().as_str() } else { container.id().short() };
    let show = |unknown: &str, text: &dyn Fn(&Stats) -> String| {
        usage.map_or(unknown.to_owned(), |usage| text(&usage.stats))
    };
    let cpu = usage.map_or(0.0, |usage| usage.cpu_percent);
    let pair = |a: u64, b: u64| format!("{} / {}", human::size(a), human::size(b));
    json!({
        "Container": id,
        "Name": container.config.name,
        "ID": id,
        "CPUPerc": show("--", &|_| format!("{cpu:.2}%")),
        "MemUsage": show("-- / --", &|s| format!("{} / {}", human::memory(s.memory), human::memory(s.memory_limit))),
        "MemPerc": show("--", &|s| format!("{:.2}%", percent(s.memory, s.memory_limit))),
        "NetIO": show("--", &|s| pair(s.net_received, s.net_sent)),
        "BlockIO": show("--", &|s| pair(s.block_read, s.block_written)),
        "PIDs": show("--", &|s| s.pids.to_string()),
    })
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;
    use moat_containers::testing::container;

    #[test]
    fn the_table_is_dockers() {
        let stats = Stats {
            memory: 12 << 20,
            memory_limit: 512 << 20,
            net_received: 1_234,
            net_sent: 0,
            block_read: 5_600_000,
            block_written: 8_192,
            pids: 7,
            ..Stats::default()
        };
        let one = container();
        let objects = [
            object(&one, Some(&Usage { stats, cpu_percent: 12.345 }), false),
            object(&one, None, false),
            object(&one, Some(&Usage::default()), false),
        ];
        let text = Template::parse(COLUMNS).unwrap().list(&objects, &headers()).unwrap();
        assert_eq!(
            text,
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O        PIDS\n\
             0123456789ab   web       12.35%    12MiB / 512MiB      2.34%     1.23kB / 0B   5.6MB / 8.19kB   7\n\
             0123456789ab   web       --        -- / --             --        --            --               --\n\
             0123456789ab   web       0.00%     0B / 0B             0.00%     0B / 0B       0B / 0B          0\n"
        );
        let whole = object(&one, None, true);
        assert_eq!(whole["ID"].as_str().map(str::len), Some(64));
    }
}
