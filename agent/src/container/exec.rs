//! Finding the command and becoming it, with the errors that Docker's users know.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use moat_protocol::StartFailure;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, execve};

use crate::failure::{Failure, reason};

/// Looks a command up: a path as it is, a name in `path`, the PATH of the container's environment.
///
/// # Errors
/// When there is no such command, or the calling process's user cannot execute it.
pub fn find(command: &str, path: Option<&str>) -> Result<PathBuf, Failure> {
    if command.contains('/') {
        return match executable(Path::new(command)) {
            Ok(()) => Ok(command.into()),
            Err(Errno::ENOENT) => Err(failed(command, &format!("stat {command}: "), Errno::ENOENT)),
            Err(error) => Err(failed(command, "", error)),
        };
    }
    let directories =
        path.unwrap_or_default().split(':').map(|name| if name.is_empty() { "." } else { name });
    let candidates =
        directories.filter(|_| !command.is_empty()).map(|directory| Path::new(directory).join(command));
    match candidates.into_iter().find(|candidate| executable(candidate).is_ok()) {
        Some(found) if found.is_absolute() => Ok(found),
        Some(_) => Err(Failure {
            kind: StartFailure::NotFound,
            message: format!(
                "exec: \"{command}\": cannot run executable found relative to current directory"
            ),
        }),
        None => Err(Failure {
            kind: StartFailure::NotFound,
            message: format!("exec: \"{command}\": executable file not found in $PATH"),
        }),
    }
}

/// Becomes the program. Returns only the reason why that is not possible.
pub fn become_program(program: &Path, arguments: &[CString], environment: &[CString]) -> Failure {
    let path = match CString::new(program.as_os_str().as_bytes()) {
        Ok(path) => path,
        Err(_) => return Failure::setup("a zero byte in the command"),
    };
    let Err(error) = execve(&path, arguments, environment);
    // The program is there: ENOENT means that its interpreter, or that of its script, is missing.
    let message = format!("exec {}: {}", program.display(), reason(error));
    Failure { kind: kind(error), message }
}

/// Checks what execve(2) would.
fn executable(path: &Path) -> Result<(), Errno> {
    let metadata =
        fs::metadata(path).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

fn failed(command: &str, detail: &str, error: Errno) -> Failure {
    Failure { kind: kind(error), message: format!("exec: \"{command}\": {detail}{}", reason(error)) }
}

fn kind(error: Errno) -> StartFailure {
    match error {
        Errno::ENOENT | Errno::ENOTDIR => StartFailure::NotFound,
        _ => StartFailure::NotExecutable,
    }
}

/// The strings of an argument list or an environment as execve(2) takes them.
///
/// # Errors
/// When a string has a zero byte, which would cut it.
pub fn c_strings<S: AsRef<OsStr>>(what: &str, strings: &[S]) -> Result<Vec<CString>, Failure> {
    let convert = |string: &S| CString::new(string.as_ref().as_bytes());
    let converted: Result<Vec<_>, _> = strings.iter().map(convert).collect();
    converted.map_err(|_| Failure::setup(format!("a zero byte in {what}")))
}

/// The value of a variable; the first one counts, as in getenv(3).
pub fn variable<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, mode) in [("tool", 0o755), ("text", 0o644)] {
            fs::write(directory.path().join(name), "garbage").unwrap();
            fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(directory.path().join("sub")).unwrap();
        directory
    }

    fn text(error: Failure) -> (StartFailure, String) {
        (error.kind, error.message)
    }

    #[test]
    fn names_are_looked_up_in_the_path() {
        let directory = directory();
        let here = directory.path().to_str().unwrap();
        let path = format!("/nowhere:{here}:/");
        assert_eq!(find("tool", Some(&path)).unwrap(), directory.path().join("tool"));
        for (command, path) in [
            ("tool", Some("/nowhere")),
            ("text", Some(path.as_str())),
            ("sub", Some(&path)),
            ("tool", None),
            ("", Some(&path)),
        ] {
            let expected = format!("exec: \"{command}\": executable file not found in $PATH");
            assert_eq!(text(find(command, path).unwrap_err()), (StartFailure::NotFound, expected));
        }
    }

    #[test]
    fn paths_are_taken_as_they_are() {
        let directory = directory();
        let path = |name: &str| format!("{}/{name}", directory.path().display());
        assert!(find(&path("tool"), None).is_ok());
        for (name, kind, why) in [
            ("text", StartFailure::NotExecutable, "permission denied"),
            ("sub", StartFailure::NotExecutable, "is a directory"),
            ("text/x", StartFailure::NotFound, "not a directory"),
        ] {
            let expected = format!("exec: \"{}\": {why}", path(name));
            assert_eq!(text(find(&path(name), None).unwrap_err()), (kind, expected));
        }
        let missing = path("missing");
        let expected = format!("exec: \"{missing}\": stat {missing}: no such file or directory");
        assert_eq!(text(find(&missing, None).unwrap_err()), (StartFailure::NotFound, expected));
    }

    #[test]
    fn a_program_in_no_known_format_cannot_be_executed() {
        let directory = directory();
        let tool = directory.path().join("tool");
        let failure = become_program(&tool, &[c"tool".to_owned()], &[]);
        let expected = format!("exec {}: exec format error", tool.display());
        assert_eq!(text(failure), (StartFailure::NotExecutable, expected));
        fs::write(&tool, "#!/no/such/interpreter\n").unwrap();
        let failure = become_program(&tool, &[c"tool".to_owned()], &[]);
        let expected = format!("exec {}: no such file or directory", tool.display());
        assert_eq!(text(failure), (StartFailure::NotFound, expected));
    }

    #[test]
    fn variables_are_found_by_their_whole_name() {
        let environment = ["PATHX=1", "PATH=/bin", "PATH=/sbin", "HOME="].map(str::to_owned);
        assert_eq!(variable(&environment, "PATH"), Some("/bin"));
        assert_eq!(variable(&environment, "HOME"), Some(""));
        assert_eq!(variable(&environment, "HOM"), None);
    }
}
