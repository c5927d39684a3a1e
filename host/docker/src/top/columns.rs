//! The columns of ps(1).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat_protocol::ProcessInfo;

use crate::human;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Pid,
    Ppid,
    Uid,
    Gid,
    User,
    Tty,
    Time,
    BsdTime,
    Elapsed,
    ElapsedSeconds,
    Start,
    LongStart,
    Cpu,
    CpuPercent,
    MemoryPercent,
    Resident,
    Virtual,
    Stat,
    State,
    Nice,
    Threads,
    Name,
    Command,
}

/// The names of columns with their headers.
const COLUMNS: [(&str, &str, Column); 40] = [
    ("pid", "PID", Column::Pid),
    ("ppid", "PPID", Column::Ppid),
    ("uid", "UID", Column::Uid),
    ("euid", "EUID", Column::Uid),
    ("gid", "GID", Column::Gid),
    ("egid", "EGID", Column::Gid),
    ("user", "USER", Column::User),
    ("euser", "EUSER", Column::User),
    ("tty", "TT", Column::Tty),
    ("tname", "TTY", Column::Tty),
    ("tt", "TT", Column::Tty),
    ("time", "TIME", Column::Time),
    ("cputime", "TIME", Column::Time),
    ("bsdtime", "TIME", Column::BsdTime),
    ("etime", "ELAPSED", Column::Elapsed),
    ("etimes", "ELAPSED", Column::ElapsedSeconds),
    ("stime", "STIME", Column::Start),
    ("start_time", "START", Column::Start),
    ("bsdstart", "START", Column::Start),
    ("lstart", "STARTED", Column::LongStart),
    ("c", "C", Column::Cpu),
    ("pcpu", "%CPU", Column::CpuPercent),
    ("%cpu", "%CPU", Column::CpuPercent),
    ("pmem", "%MEM", Column::MemoryPercent),
    ("%mem", "%MEM", Column::MemoryPercent),
    ("rss", "RSS", Column::Resident),
    ("rssize", "RSS", Column::Resident),
    ("vsz", "VSZ", Column::Virtual),
    ("vsize", "VSZ", Column::Virtual),
    ("stat", "STAT", Column::Stat),
    ("state", "S", Column::State),
    ("s", "S", Column::State),
    ("ni", "NI", Column::Nice),
    ("nice", "NI", Column::Nice),
    ("nlwp", "NLWP", Column::Threads),
    ("comm", "COMMAND", Column::Name),
    ("ucmd", "CMD", Column::Name),
    ("args", "COMMAND", Column::Command),
    ("cmd", "CMD", Column::Command),
    ("command", "COMMAND", Column::Command),
];

impl Column {
    /// The column of this name.
    pub fn named(name: &str) -> Option<Self> {
        COLUMNS.iter().find(|(known, ..)| *known == name).map(|(.., column)| *column)
    }

    /// The header of the column under this name.
    pub fn header(self, name: &str) -> &'static str {
        COLUMNS.iter().find(|(known, ..)| *known == name).map_or("", |(_, header, _)| header)
    }

    /// The names of all columns.
    pub fn names() -> Vec<&'static str> {
        COLUMNS.iter().map(|(name, ..)| *name).collect()
    }
}

/// What the cells are computed with.
pub struct Context {
    /// When the processes were listed.
    pub now: Timestamp,
    /// The time zone of what is printed.
    pub zone: TimeZone,
    /// The memory of the virtual machine.
    pub memory_kib: u64,
}

impl Context {
    /// The text of a cell. Names and commands come from the guest and are made harmless.
    pub(super) fn cell(&self, column: Column, process: &ProcessInfo) -> String {
        match column {
            Column::Pid => process.pid.to_string(),
            Column::Ppid => process.ppid.to_string(),
            Column::Uid => process.uid.to_string(),
            Column::Gid => process.gid.to_string(),
            // Other users have names only inside the container.
            Column::User if process.uid == 0 => "root".to_owned(),
            Column::User => process.uid.to_string(),
            Column::Tty => human::harmless(&process.tty),
            Column::Time => clock(process.cpu_msec / 1000, true),
            Column::BsdTime => {
                let seconds = process.cpu_msec / 1000;
                format!("{}:{:02}", seconds / 60, seconds % 60)
            }
            Column::Elapsed => clock(self.elapsed(process), false),
            Column::ElapsedSeconds => self.elapsed(process).to_string(),
            Column::Start => self.start(process),
            Column::LongStart => self.format(process, "%a %b %e %T %Y"),
            // As in ps, two digits at most.
            Column::Cpu => (self.cpu(process) as u64).min(99).to_string(),
            Column::CpuPercent => format!("{:.1}", self.cpu(process)),
            Column::MemoryPercent => {
                format!("{:.1}", process.rss_kib as f64 * 100.0 / self.memory_kib.max(1) as f64)
            }
            Column::Resident => process.rss_kib.to_string(),
            Column::Virtual => process.vsz_kib.to_string(),
            Column::Stat => stat(process),
            Column::State => human::harmless(&process.state.to_string()),
            Column::Nice => process.nice.to_string(),
            Column::Threads => process.threads.to_string(),
            Column::Name => human::harmless(&process.name),
            Column::Command => human::harmless(&process.command),
        }
    }

    /// Seconds since the start. The guest's clock may be a little ahead.
    fn elapsed(&self, process: &ProcessInfo) -> u64 {
        u64::try_from(self.now.as_second().saturating_sub(process.started)).unwrap_or(0)
    }

    /// The process's share of one processor since its start, in percent.
    fn cpu(&self, process: &ProcessInfo) -> f64 {
        match self.elapsed(process) {
            0 => 0.0,
            seconds => process.cpu_msec as f64 / 10.0 / seconds as f64,
        }
    }

    /// The time of day for the last 24 hours, the day for this year, else the year.
    fn start(&self, process: &ProcessInfo) -> String {
        let year = |text: String| text.chars().take(4).collect::<String>();
        let this_year = self.now.to_zoned(self.zone.clone()).strftime("%Y").to_string();
        match self.elapsed(process) {
            seconds if seconds < 24 * 3600 => self.format(process, "%H:%M"),
            _ if year(self.format(process, "%Y")) == this_year => self.format(process, "%b%d"),
            _ => self.format(process, "%Y"),
        }
    }

    fn format(&self, process: &ProcessInfo, format: &str) -> String {
        let started = Timestamp::from_second(process.started).unwrap_or(Timestamp::UNIX_EPOCH);
        started.to_zoned(self.zone.clone()).strftime(format).to_string()
    }
}

/// `[[DD-]HH:]MM:SS`. With `hours`, the hours are always shown.
fn clock(seconds: u64, hours: bool) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    match (days, hour) {
        (0, 0) if !hours => format!("{minute:02}:{second:02}"),
        (0, _) => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{days}-{hour:02}:{minute:02}:{second:02}"),
    }
}

/// The state with the flags that ps adds: `<` and `N` for the niceness, `l` for threads.
fn stat(process: &ProcessInfo) -> String {
    let mut text = human::harmless(&process.state.to_string());
    match process.nice {
        nice if nice < 0 => text.push('<'),
        nice if nice > 0 => text.push('N'),
        _ => {}
    }
    if process.threads > 1 {
        text.push('l');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_ps() {
        assert_eq!(clock(5, true), "00:00:05");
        assert_eq!(clock(65, false), "01:05");
        assert_eq!(clock(3 * 86_400 + 3661, false), "3-01:01:01");
    }

    #[test]
    fn starts_get_shorter_with_age() {
        let now: Timestamp = "2026-06-02T15:04:05Z".parse().unwrap();
        let context = Context { now, zone: TimeZone::UTC, memory_kib: 1 };
        let mut process = ProcessInfo {
            pid: 1,
            ppid: 0,
            uid: 7,
            gid: 0,
            state: 'R',
            tty: "pts/0".to_owned(),
            nice: -5,
            threads: 1,
            cpu_msec: 0,
            started: now.as_second() - 3600,
            rss_kib: 0,
            vsz_kib: 0,
            name: String::new(),
            command: String::new(),
        };
        let mut start = |started: i64| {
            process.started = started;
            context.cell(Column::Start, &process)
        };
        assert_eq!(start(now.as_second() - 3600), "14:04");
        assert_eq!(start(now.as_second() - 3 * 86_400), "May30");
        assert_eq!(start(now.as_second() - 300 * 86_400), "2025");
        // A hostile guest sends any number.
        assert_eq!(start(i64::MAX), "00:00");
        assert_eq!(start(i64::MIN), "1970");
        assert_eq!(context.cell(Column::Stat, &process), "R<");
        assert_eq!(context.cell(Column::User, &process), "7");
    }
}
