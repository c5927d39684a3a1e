//! Mount options as `mount -o` takes them.

use std::ffi::CString;

use crate::sys::mount::attr;

/// Options, sorted into those of the mount and those of the file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Flags of the mount, of [`attr`].
    pub attributes: u64,
    /// Options of the file system itself.
    pub filesystem: Vec<(CString, Option<CString>)>,
}

/// An option that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("mount option \"{0}\" is not supported")]
pub struct OptionError(String);

/// Reads options; where two contradict each other the later one wins.
///
/// # Errors
/// When an option would need another mount or namespace to mean something.
pub fn parse(options: &[String]) -> Result<Options, OptionError> {
    let mut parsed = Options::default();
    for option in options {
        let (set, clear) = match option.as_str() {
            // No mount of the container is shared, so these change nothing.
            "" | "defaults" | "private" | "rprivate" | "bind-propagation=rprivate" => (0, 0),
            "ro" => (attr::RDONLY, 0),
            "rw" => (0, attr::RDONLY),
            "nosuid" => (attr::NOSUID, 0),
            "suid" => (0, attr::NOSUID),
            "nodev" => (attr::NODEV, 0),
            "dev" => (0, attr::NODEV),
            "noexec" => (attr::NOEXEC, 0),
            "exec" => (0, attr::NOEXEC),
            "noatime" => (attr::NOATIME, attr::ATIME_MASK),
            "strictatime" => (attr::STRICTATIME, attr::ATIME_MASK),
            "atime" | "relatime" | "norelatime" | "nostrictatime" => (0, attr::ATIME_MASK),
            "nodiratime" => (attr::NODIRATIME, 0),
            "diratime" => (0, attr::NODIRATIME),
            "nosymfollow" => (attr::NOSYMFOLLOW, 0),
            "symfollow" => (0, attr::NOSYMFOLLOW),
            "bind" | "rbind" | "remount" | "move" | "shared" | "rshared" | "slave" | "rslave"
            | "unbindable" | "runbindable" => return Err(OptionError(option.clone())),
            _ => {
                parsed.filesystem.push(for_filesystem(option)?);
                continue;
            }
        };
        parsed.attributes = parsed.attributes & !clear | set;
    }
    Ok(parsed)
}

fn for_filesystem(option: &str) -> Result<(CString, Option<CString>), OptionError> {
    let string = |text: &str| CString::new(text).map_err(|_| OptionError(option.to_owned()));
    match option.split_once('=') {
        Some((key, value)) => Ok((string(key)?, Some(string(value)?))),
        None => Ok((string(option)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Options, OptionError> {
        super::parse(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_and_values_are_told_apart() {
        let options = parse(&["nosuid", "noexec", "mode=1777", "size=64m", "newinstance"]).unwrap();
        assert_eq!(options.attributes, attr::NOSUID | attr::NOEXEC);
        let texts: Vec<_> = options
            .filesystem
            .iter()
            .map(|(key, value)| (key.to_str().unwrap(), value.as_ref().map(|value| value.to_str().unwrap())))
            .collect();
        assert_eq!(texts, [("mode", Some("1777")), ("size", Some("64m")), ("newinstance", None)]);
    }

    #[test]
    fn the_last_of_two_wins() {
        assert_eq!(parse(&["ro", "rw"]).unwrap().attributes, 0);
        assert_eq!(parse(&["rw", "ro"]).unwrap().attributes, attr::RDONLY);
        assert_eq!(parse(&["noexec", "nodev", "exec"]).unwrap().attributes, attr::NODEV);
        assert_eq!(parse(&["noatime", "strictatime"]).unwrap().attributes, attr::STRICTATIME);
        assert_eq!(parse(&["strictatime", "relatime"]).unwrap().attributes, 0);
    }

    #[test]
    fn what_means_nothing_here_is_refused() {
        for option in ["bind", "rshared", "remount", "a\0b", "size=1\0"] {
            assert_eq!(parse(&["ro", option]), Err(OptionError(option.to_owned())));
        }
        assert_eq!(parse(&["defaults", "rprivate", ""]), Ok(Options::default()));
    }
}
