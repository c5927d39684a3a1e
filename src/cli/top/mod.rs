//! `moat top`.

mod columns;
mod options;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat::engine::Engine;
use moat::engine::state::Verb;
use moat::monitor::wire::{ClientMessage, MonitorMessage};
use moat::root::Root;
use moat_protocol::ProcessInfo;

use self::columns::Context;
use self::options::Layout;
use super::each::{Answered, ask};
use super::template::table::align;

/// Show the processes of a container
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat top web
  moat top web aux
  moat top web -eo pid,user,etime,args

The options are those of ps that choose columns: -ef, aux, and -o with names, each with a header of its own if need be.")]
pub struct Args {
    /// Name, id, or the beginning of an id
    container: String,
    /// Options of ps
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// The least width of a column, Docker's for this table.
const COLUMN: usize = 20;

/// Prints a line for each process.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let layout = Layout::parse(&args.options)?;
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let processes = match ask(&engine, &container, Verb::Top, &ClientMessage::Processes)? {
        Answered::Monitor(MonitorMessage::Processes { processes }) => processes,
        _ => bail!("container {} is not running", container.config.name),
    };
    let context = Context {
        now: Timestamp::now(),
        zone: TimeZone::system(),
        memory_kib: u64::from(container.config.resources.memory_mib) << 10,
    };
    io::stdout().write_all(table(&layout, &processes, &context).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn table(layout: &Layout, processes: &[ProcessInfo], context: &Context) -> String {
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
