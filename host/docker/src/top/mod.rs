//! A container's processes as `top` lists them, by the columns of ps(1).

mod columns;
mod options;

use moat_protocol::ProcessInfo;

pub use columns::Context;
pub use options::{Layout, LayoutError};

use crate::template::table::align;

/// The least width of a column, Docker's for this table.
const COLUMN: usize = 20;

/// The header, and a line for each process.
pub fn table(layout: &Layout, processes: &[ProcessInfo], context: &Context) -> String {
    let header = layout.columns.iter().map(|(_, header)| header.as_str()).collect::<Vec<_>>().join("\t");
    let rows = processes.iter().map(|process| {
        let cells = layout.columns.iter().map(|(column, _)| context.cell(*column, process));
        cells.collect::<Vec<_>>().join("\t")
    });
    let lines: Vec<String> = std::iter::once(header).chain(rows).collect();
    align(lines.iter(), COLUMN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    #[test]
    fn the_table_is_dockers() {
        let now: Timestamp = "2026-01-02T15:04:05Z".parse().unwrap();
        let process = ProcessInfo {
            pid: 1,
            ppid: 0,
            uid: 0,
            gid: 0,
            state: 'S',
            tty: "?".to_owned(),
            nice: 0,
            threads: 2,
            cpu_msec: 3_725_000,
            started: now.as_second() - 7_450,
            rss_kib: 2048,
            vsz_kib: 4096,
            name: "sh".to_owned(),
            command: "sh -c \u{1b}[31mx\ty".to_owned(),
        };
        let context = Context { now, zone: TimeZone::UTC, memory_kib: 1 << 20 };
        let print = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
            table(&Layout::parse(&options).unwrap(), std::slice::from_ref(&process), &context)
        };
        let row = |cells: &[&str]| {
            let (last, cells) = cells.split_last().unwrap();
            cells.iter().map(|cell| format!("{cell:<20}")).collect::<String>() + last + "\n"
        };
        assert_eq!(
            print(&[]),
            row(&["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"])
                + &row(&["root", "1", "0", "50", "12:59", "?", "01:02:05", "sh -c \u{fffd}[31mx\u{fffd}y"])
        );
        let user = ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"];
        let expected = row(&user)
            + &row(&[
                "root",
                "1",
                "50.0",
                "0.2",
                "4096",
                "2048",
                "?",
                "Sl",
                "12:59",
                "62:05",
                "sh -c \u{fffd}[31mx\u{fffd}y",
            ]);
        assert_eq!(print(&["aux"]), expected);
        assert_eq!(print(&["-aux"]), expected);
        assert_eq!(
            print(&["-eo", "pid,etime,comm=PROGRAM"]),
            row(&["PID", "ELAPSED", "PROGRAM"]) + &row(&["1", "02:04:10", "sh"])
        );
    }
}
