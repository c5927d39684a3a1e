//! Starting a container's monitor, the program `moat-monitor`.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use moat_containers::{Directory, socket};
use moat_records::failpoint;
use moat_records::record::Lock;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use crate::artifacts::Artifacts;
use crate::config::{CLIENT_FD, CONFIG_FD, LISTENER_FD, LOCK_FD, MonitorConfig};

/// From which length on a monitor's log begins anew with the next start, in bytes.
const MAX_MONITOR_LOG: u64 = 1 << 20;

/// Starts the monitor that `config` describes and gives it a copy of the container's lock: from here on that copy is what
/// holds the container. Returns the connection of its first client, which speaks [`crate::wire`].
///
/// The process that is started here forks the monitor and ends, and is reaped: a caller that lives long collects no
/// zombies.
///
/// # Errors
/// When the process cannot be started.
pub fn start(config: &MonitorConfig, directory: &Directory, lock: &Lock) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    // Bound before the monitor exists: every process that sees that the container runs can connect.
    let listener = socket::bind(directory)?;
    failpoint::hit("start.bound");
    let program = Artifacts::in_directory(&config.artifacts).monitor();
    let mut command = Command::new(&program);
    // For people who list the host's processes.
    command.arg("--root").arg(&config.root).arg(config.id.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if config.debug_console {
        command.stderr(Stdio::inherit());
    } else {
        command.stderr(log(directory)?);
    }
    let inherited: [(OwnedFd, i32); 4] = [
        (document(config)?.into(), CONFIG_FD),
        (lock.as_fd().try_clone_to_owned()?, LOCK_FD),
        (listener.into(), LISTENER_FD),
        (theirs.into(), CLIENT_FD),
    ];
    // Only the child's descriptors stay open over its exec: another thread that starts a program meanwhile passes none on.
    let mappings = inherited.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.into()).map_err(io::Error::other)?;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", program.display()));
    let status = command.spawn().map_err(named)?.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("moat-monitor ended with {status}")));
    }
    failpoint::hit("start.spawned");
    Ok(ours)
}

/// The configuration as a file in memory.
fn document(config: &MonitorConfig) -> io::Result<File> {
    let mut file = File::from(memfd_create("moat-monitor", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(config)?)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn log(directory: &Directory) -> io::Result<File> {
    let path = directory.path().join("monitor.log");
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    bound_log(&log)?;
    Ok(log)
}

/// Empties a monitor's log, which is written at its end, if it is long. Done before each start of the container: one that
/// starts again and again has the same monitor.
///
/// # Errors
/// When the file cannot be looked at or changed.
pub fn bound_log(log: impl AsFd) -> io::Result<()> {
    let length = fstat(&log)?.st_size;
    if u64::try_from(length).is_ok_and(|length| length > MAX_MONITOR_LOG) {
        ftruncate(&log, 0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_begins_anew() {
        let mut log = tempfile::tempfile().unwrap();
        for (length, left) in [(MAX_MONITOR_LOG, MAX_MONITOR_LOG), (MAX_MONITOR_LOG + 1, 0)] {
            log.set_len(length).unwrap();
            bound_log(&log).unwrap();
            assert_eq!(log.metadata().unwrap().len(), left);
        }
        log.write_all(b"a line").unwrap();
    }
}
