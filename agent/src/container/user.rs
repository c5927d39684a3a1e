//! Who the process runs as: Docker's `[user][:group]`, resolved against the container's own files.
//!
//! A number is always an id, even when a user has it for a name. Ids go from 0 to 2^31-1; a larger number is an error
//! and never wraps around to 0 (CVE-2024-40635).

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::root::{Root, file_type};

/// The largest passwd or group file that is read, in bytes: far more users than any image has.
const LARGEST_FILE: u64 = 4 << 20;

/// The largest id that can be asked for by number.
const LARGEST_ID: i64 = (1 << 31) - 1;

/// Who the process runs as.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: OsString,
}

/// Why the user or group cannot be found, in Docker's words where it has some.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each says it itself
pub enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    #[error("user \"{0}\": uids and gids must be in range 0-{LARGEST_ID}")]
    Range(String),
    #[error("user \"{user}\": the entry of \"{name}\" in {file} has no valid number")]
    Malformed { user: String, name: String, file: &'static str },
    #[error("cannot read {file}: {why}")]
    Unreadable { file: &'static str, why: String },
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Resolves `user`, who is in the groups `more` as well.
///
/// # Errors
/// When there is no such user or group, or the files cannot be read.
pub fn resolve(root: &Root, user: &str, more: &[String]) -> Result<Identity, UserError> {
    let passwd = read(root, PASSWD)?;
    let group = read(root, GROUP)?;
    let mut identity = resolve_in(&passwd, &group, user)?;
    for name in more {
        let id = find_group(&group, name, name)?;
        if !identity.groups.contains(&id) {
            identity.groups.push(id);
        }
    }
    Ok(identity)
}

/// Reads a file of the image, which may be missing, huge, or no regular file.
fn read(root: &Root, file: &'static str) -> Result<Vec<u8>, UserError> {
    let unreadable = |why: String| UserError::Unreadable { file, why };
    let path = Path::new(file);
    let found = match root.look_up(path, OFlag::O_PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
        other => other.map_err(|error| unreadable(crate::failure::reason(error)))?,
    };
    // Opening a fifo would wait for a writer, and opening a device can have side effects.
    let kind = fstat(&found).map_err(|error| unreadable(crate::failure::reason(error)))?;
    if file_type(&kind) != SFlag::S_IFREG {
        return Err(unreadable("it is not a regular file".to_owned()));
    }
    let file = root
        .look_up(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .map_err(|error| unreadable(crate::failure::reason(error)))?;
    // A running container may have put another file there meanwhile.
    let kind = fstat(&file).map_err(|error| unreadable(crate::failure::reason(error)))?;
    if file_type(&kind) != SFlag::S_IFREG {
        return Err(unreadable("it is not a regular file".to_owned()));
    }
    let mut content = Vec::new();
    let read = std::fs::File::from(file).take(LARGEST_FILE + 1).read_to_end(&mut content);
    match read {
        Ok(length) if length as u64 > LARGEST_FILE => {
            Err(unreadable(format!("it is larger than {LARGEST_FILE} bytes")))
        }
        Ok(_) => Ok(content),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// A name or a number, as it was typed.
enum Wanted<'a> {
    Name(&'a str),
    Number(i64),
}

impl<'a> Wanted<'a> {
    /// A number that does not fit in 64 bits is taken for a name, which no entry has.
    fn parse(text: &'a str) -> Self {
        text.parse().map_or(Self::Name(text), Self::Number)
    }

    fn matches(&self, name: &[u8], id: Option<u32>) -> bool {
        match self {
            Self::Name(wanted) => name == wanted.as_bytes(),
            Self::Number(number) => id.is_some_and(|id| i64::from(id) == *number),
        }
    }

    /// The number itself, for an id that no entry has.
    fn number(&self, user: &str) -> Result<Option<u32>, UserError> {
        match self {
            Self::Name(_) => Ok(None),
            Self::Number(number) if (0..=LARGEST_ID).contains(number) => Ok(u32::try_from(*number).ok()),
            Self::Number(_) => Err(UserError::Range(user.to_owned())),
        }
    }
}

fn resolve_in(passwd: &[u8], group: &[u8], user: &str) -> Result<Identity, UserError> {
    let mut parts = user.split(':');
    let user_part = parts.next().unwrap_or_default();
    let group_part = parts.next().unwrap_or_default();
    let wanted = if user_part.is_empty() { Wanted::Number(0) } else { Wanted::parse(user_part) };
    let entry = entries(passwd).find(|fields| wanted.matches(field(fields, 0), id(fields, 2)));
    let mut identity = Identity { uid: 0, gid: 0, groups: Vec::new(), home: "/".into() };
    let name = match entry {
        Some(fields) => {
            let name = field(&fields, 0);
            let malformed = || UserError::Malformed {
                user: user.to_owned(),
                name: String::from_utf8_lossy(name).into_owned(),
                file: PASSWD,
            };
            identity.uid = id(&fields, 2).ok_or_else(malformed)?;
            identity.gid = id(&fields, 3).ok_or_else(malformed)?;
            let home = field(&fields, 5);
            if !home.is_empty() {
                identity.home = OsString::from_vec(home.to_vec());
            }
            Some(name)
        }
        None => {
            identity.uid = wanted.number(user)?.ok_or_else(|| UserError::NoUser(user_part.to_owned()))?;
            None
        }
    };
    if group_part.is_empty() {
        identity.groups = name.map(|name| groups_of(group, name)).unwrap_or_default();
    } else {
        identity.gid = find_group(group, group_part, user)?;
    }
    // Without this a process could drop the group, and then open files that are closed to the group alone
    // (CVE-2022-36109).
    if !identity.groups.contains(&identity.gid) {
        identity.groups.insert(0, identity.gid);
    }
    Ok(identity)
}

fn find_group(group: &[u8], text: &str, user: &str) -> Result<u32, UserError> {
    let wanted = Wanted::parse(text);
    match entries(group).find(|fields| wanted.matches(field(fields, 0), id(fields, 2))) {
        Some(fields) => id(&fields, 2).ok_or_else(|| UserError::Malformed {
            user: user.to_owned(),
            name: String::from_utf8_lossy(field(&fields, 0)).into_owned(),
            file: GROUP,
        }),
        None => wanted.number(user)?.ok_or_else(|| UserError::NoGroup(text.to_owned())),
    }
}

/// The groups that name a user as their member.
fn groups_of(group: &[u8], name: &[u8]) -> Vec<u32> {
    let is_member =
        |fields: &Vec<&[u8]>| field(fields, 3).split(|byte| *byte == b',').any(|member| member == name);
    entries(group).filter(is_member).filter_map(|fields| id(&fields, 2)).collect()
}

/// The entries of a passwd or group file, as their fields.
fn entries(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(|line| line.split(|byte| *byte == b':').collect())
}

fn field<'a>(fields: &[&'a [u8]], at: usize) -> &'a [u8] {
    fields.get(at).copied().unwrap_or_default()
}

/// An id in a file. The largest number means "no id" to the kernel.
fn id(fields: &[&[u8]], at: usize) -> Option<u32> {
    std::str::from_utf8(field(fields, at)).ok()?.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        app:x:1000:1001:App:/home/app:/bin/sh\n\
        \n\
        1234:x:77:78::/odd:\n\
        nohome:x:5:6:::\n\
        broken:x:99999999999:1::/b:\n\
        short:x\n\
        overflow:x:4294967296:0::/o:\n\
        nfs:x:4294967294:4294967294::/:\n";
    const GROUP: &str =
        "root:x:0:root\nadm:x:4:root,app\napp:x:1001:\nvideo:x:44:app\nbad:x:zz:app\n55:x:66:\n";

    fn find(user: &str) -> Result<Identity, UserError> {
        resolve_in(PASSWD.as_bytes(), GROUP.as_bytes(), user)
    }

    #[test]
    fn users_and_groups_are_found_as_docker_finds_them() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, &[0, 4][..], "/root"),
            ("root", 0, 0, &[0, 4], "/root"),
            ("0", 0, 0, &[0, 4], "/root"),
            ("0:0", 0, 0, &[0], "/root"),
            ("app", 1000, 1001, &[1001, 4, 44], "/home/app"),
            ("1000", 1000, 1001, &[1001, 4, 44], "/home/app"),
            ("app:video", 1000, 44, &[44], "/home/app"),
            ("app:0", 1000, 0, &[0], "/home/app"),
            ("app:", 1000, 1001, &[1001, 4, 44], "/home/app"),
            (":video", 0, 44, &[44], "/root"),
            (":12345", 0, 12345, &[12345], "/root"),
            ("2000", 2000, 0, &[0], "/"),
            ("2000:3000", 2000, 3000, &[3000], "/"),
            ("2147483647:2147483647", 2_147_483_647, 2_147_483_647, &[2_147_483_647], "/"),
            ("0000", 0, 0, &[0, 4], "/root"),
            ("nohome", 5, 6, &[6], "/"),
            // A number is an id, even where a user has it for a name.
            ("1234", 1234, 0, &[0], "/"),
            ("77", 77, 78, &[78], "/odd"),
            ("77:55", 77, 55, &[55], "/odd"),
            ("nfs", 4_294_967_294, 4_294_967_294, &[4_294_967_294], "/"),
        ] {
            let expected = Identity { uid, gid, groups: groups.to_vec(), home: home.into() };
            assert_eq!(find(user), Ok(expected), "{user:?}");
        }
    }

    #[test]
    fn nobody_is_root_by_accident() {
        for user in ["4294967296", "2147483648", "-1", "4294967295", "app:4294967296", "0:-1", "0:2147483648"]
        {
            assert_eq!(find(user), Err(UserError::Range(user.to_owned())), "{user:?}");
        }
        for user in ["99999999999999999999", "foo", "root ", " ", "1e3", "0x0", "Root"] {
            assert_eq!(find(user), Err(UserError::NoUser(user.to_owned())), "{user:?}");
        }
        for user in ["broken", "short", "overflow"] {
            assert!(matches!(find(user), Err(UserError::Malformed { .. })), "{user:?}");
        }
        assert_eq!(find("app:nope"), Err(UserError::NoGroup("nope".to_owned())));
        assert!(matches!(find("app:bad"), Err(UserError::Malformed { .. })));
    }

    #[test]
    fn dockers_words_are_kept() {
        let message = |user| find(user).unwrap_err().to_string();
        assert_eq!(message("foo"), "unable to find user foo: no matching entries in passwd file");
        assert_eq!(message("app:foo"), "unable to find group foo: no matching entries in group file");
        assert_eq!(message("4294967296"), "user \"4294967296\": uids and gids must be in range 0-2147483647");
    }

    #[test]
    fn garbage_in_the_files_is_passed_over() {
        let garbage: Vec<u8> = (0..=255).collect();
        assert_eq!(resolve_in(&garbage, &garbage, "0").unwrap().uid, 0);
        assert_eq!(resolve_in(b"", b"", "").unwrap().groups, [0]);
        assert_eq!(resolve_in(b"\xff\xfe:x:3:3::/\xff:", b"", "3").unwrap().uid, 3);
    }

    #[test]
    fn files_that_are_none_do_not_hang_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert_eq!(resolve(&root, "7", &[]).unwrap().uid, 7);
        fs::create_dir(directory.path().join("etc")).unwrap();
        let passwd = directory.path().join("etc/passwd");
        nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(resolve(&root, "root", &[]).unwrap_err().to_string().contains("not a regular file"));
        fs::remove_file(&passwd).unwrap();
        fs::File::create(&passwd).unwrap().set_len(LARGEST_FILE + 1).unwrap();
        assert!(resolve(&root, "root", &[]).unwrap_err().to_string().contains("larger than"));
        fs::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink("/etc/elsewhere", &passwd).unwrap();
        fs::write(directory.path().join("etc/elsewhere"), "me:x:9:9::/me:").unwrap();
        assert_eq!(resolve(&root, "me", &[]).unwrap().uid, 9);
    }

    #[test]
    fn more_groups_are_names_and_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(directory.path().join("etc/passwd"), PASSWD).unwrap();
        fs::write(directory.path().join("etc/group"), "audio:x:29:\n").unwrap();
        let more = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            resolve(&root, "app", &names).map(|identity| identity.groups)
        };
        assert_eq!(more(&["audio", "777", "29", "1001"]).unwrap(), [1001, 29, 777]);
        let missing = more(&["video"]).unwrap_err().to_string();
        assert_eq!(missing, "unable to find group video: no matching entries in group file");
        assert!(matches!(more(&["4294967296"]), Err(UserError::Range(_))));
    }
}
