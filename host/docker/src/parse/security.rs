//! What `--security-opt` and `--ipc` say.

use super::FlagError;

/// One of the options of a container's security.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityOption {
    /// Whether `execve` may raise privileges.
    NoNewPrivileges(bool),
    /// No path of /proc and /sys is hidden or read-only.
    Unmasked,
    /// It is so anyway.
    Idle,
}

/// `NAME`, `NAME=VALUE`, or as Docker once wrote it, `NAME:VALUE`.
pub fn security_option(text: &str) -> Result<SecurityOption, FlagError> {
    let (name, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
    match (name, value) {
        ("no-new-privileges", "" | "true") => Ok(SecurityOption::NoNewPrivileges(true)),
        ("no-new-privileges", "false") => Ok(SecurityOption::NoNewPrivileges(false)),
        ("systempaths", "unconfined") => Ok(SecurityOption::Unmasked),
        // A guest has a kernel of its own, without profiles for its processes. What Docker's profiles keep from the
        // host, the virtual machine does.
        ("seccomp", "unconfined" | "builtin")
        | ("apparmor", "unconfined" | "docker-default")
        | ("label", _) => Ok(SecurityOption::Idle),
        _ => Err(FlagError::SecurityOption(text.to_owned())),
    }
}

/// Whether a container has a /dev/shm. Its memory is its own, so Docker's other kinds do not exist.
pub fn ipc(text: &str) -> Result<bool, FlagError> {
    match text {
        "" | "private" | "shareable" => Ok(true),
        "none" => Ok(false),
        _ => Err(FlagError::Ipc),
    }
}

/// A stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// What it reads.
    Stdin,
    /// What it writes.
    Stdout,
    /// What it writes about mistakes.
    Stderr,
}

/// A stream's name, in any case.
pub fn stream(text: &str) -> Result<Stream, FlagError> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" => Ok(Stream::Stdin),
        "stdout" => Ok(Stream::Stdout),
        "stderr" => Ok(Stream::Stderr),
        _ => Err(FlagError::Stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options_are_dockers() {
        for (text, option) in [
            ("no-new-privileges", SecurityOption::NoNewPrivileges(true)),
            ("no-new-privileges:true", SecurityOption::NoNewPrivileges(true)),
            ("no-new-privileges=false", SecurityOption::NoNewPrivileges(false)),
            ("systempaths=unconfined", SecurityOption::Unmasked),
            ("seccomp=unconfined", SecurityOption::Idle),
            ("label:disable", SecurityOption::Idle),
        ] {
            assert_eq!(security_option(text), Ok(option), "{text}");
        }
        for text in ["seccomp=/my.json", "apparmor=mine", "systempaths", "nonsense", ""] {
            assert!(security_option(text).is_err(), "{text}");
        }
        assert_eq!((ipc("none"), ipc("private"), ipc("host")), (Ok(false), Ok(true), Err(FlagError::Ipc)));
        assert_eq!((stream("STDOUT"), stream("x")), (Ok(Stream::Stdout), Err(FlagError::Stream)));
    }
}
