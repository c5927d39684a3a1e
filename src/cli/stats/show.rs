//! What a container uses, as a line of `stats`.

use std::fmt::Write as _;

use moat::engine::container::Container;
use moat_protocol::Stats;
use serde_json::{Value, json};

use super::sample::Sample;
use crate::cli::human;

/// Docker's columns.
pub const COLUMNS: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// The columns' names, one for each field of [`object`].
pub fn headers() -> Value {
    json!({
        "Container": "CONTAINER", "Name": "NAME", "ID": "CONTAINER ID", "CPUPerc": "CPU %",
        "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
    })
}

/// Docker's names for what is shown.
pub fn object(container: &Container, sample: &Sample, whole: bool) -> Value {
    let (stats, cpu) = match sample {
        Sample::Numbers(stats, cpu) => (Some(*stats), *cpu),
        Sample::Idle => (Some(Stats::default()), 0.0),
        Sample::Unknown | Sample::Gone => (None, 0.0),
    };
    let id = if whole { container.id().as_str() } else { container.id().short() };
    let show =
        |unknown: &str, text: &dyn Fn(&Stats) -> String| stats.as_ref().map_or(unknown.to_owned(), text);
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

/// `text` over what the terminal shows, in one piece and without clearing first, so that nothing flickers. Lines that
/// have no room would scroll it away.
pub fn frame(text: &str, rows: Option<u16>) -> String {
    let mut frame = String::from("\u{1b}[H");
    for line in text.lines().take(rows.map_or(usize::MAX, |rows| usize::from(rows).saturating_sub(1))) {
        let _ = writeln!(frame, "{line}\u{1b}[K");
    }
    frame + "\u{1b}[J"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::template::Template;
    use crate::cli::testing::container;

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
            object(&one, &Sample::Numbers(stats, 12.345), false),
            object(&one, &Sample::Unknown, false),
            object(&one, &Sample::Idle, false),
        ];
        let text = Template::parse(COLUMNS).unwrap().list(&objects, &headers()).unwrap();
        assert_eq!(
            text,
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O        PIDS\n\
             0123456789ab   web       12.35%    12MiB / 512MiB      2.34%     1.23kB / 0B   5.6MB / 8.19kB   7\n\
             0123456789ab   web       --        -- / --             --        --            --               --\n\
             0123456789ab   web       0.00%     0B / 0B             0.00%     0B / 0B       0B / 0B          0\n"
        );
        let whole = object(&one, &Sample::Idle, true);
        assert_eq!(whole["ID"].as_str().map(str::len), Some(64));
    }

    #[test]
    fn a_frame_fits_the_terminal() {
        assert_eq!(frame("a\nb\n", None), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
        assert_eq!(frame("a\nb\nc\n", Some(3)), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
    }
}
