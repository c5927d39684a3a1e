//! Containers that cannot start: the kind for the exit code, and Docker's words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use moat_protocol::{ContainerSpec, GuestMessage, StartFailure};
use moat_test_harness::{Test, tests};
use oci_spec::runtime::{PosixRlimitBuilder, PosixRlimitType};

use crate::machine::{Machine, shell, spec, tmpfs};

pub const TESTS: &[Test] =
    tests![commands_that_cannot_run_are_told_as_docker_tells_them, wrong_requests_say_what_is_wrong];

fn write(root: &Path, name: &str, content: &str, mode: u32) {
    fs::write(root.join(name), content).unwrap();
    fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn prepare(root: &Path) {
    write(root, "bin/text", "hello", 0o644);
    write(root, "bin/garbage", "hello", 0o755);
    write(root, "bin/script", "#!/no/interpreter\n", 0o755);
    write(root, "bin/secret", "#!/bin/sh\n", 0o700);
    write(root, "file", "", 0o644);
}

fn fail(spec: ContainerSpec) -> (StartFailure, String) {
    let mut machine = Machine::boot(prepare);
    let Err(failure) = machine.start(spec) else { panic!("it started") };
    // Nothing else is said about it, and the guest still serves.
    machine.send(&moat_protocol::HostMessage::Start {
        process: crate::machine::PROCESS,
        token: moat_protocol::StreamToken(String::new()),
        spec: Box::new(shell("true")),
    });
    match machine.receive() {
        GuestMessage::StartFailed { message, .. } => assert!(message.contains("started before"), "{message}"),
        other => panic!("{other:?}"),
    }
    machine.shut_down();
    failure
}

fn commands_that_cannot_run_are_told_as_docker_tells_them() {
    use StartFailure::{NotExecutable, NotFound};
    for (command, kind, message) in [
        ("foo", NotFound, "exec: \"foo\": executable file not found in $PATH"),
        ("text", NotFound, "exec: \"text\": executable file not found in $PATH"),
        ("", NotFound, "exec: \"\": executable file not found in $PATH"),
        ("/x", NotFound, "exec: \"/x\": stat /x: no such file or directory"),
        ("/bin/text", NotExecutable, "exec: \"/bin/text\": permission denied"),
        ("/etc", NotExecutable, "exec: \"/etc\": is a directory"),
        ("/file/x", NotFound, "exec: \"/file/x\": not a directory"),
        ("/bin/garbage", NotExecutable, "exec /bin/garbage: exec format error"),
        ("/bin/script", NotFound, "exec /bin/script: no such file or directory"),
    ] {
        assert_eq!(fail(spec(&[command])), (kind, message.to_owned()), "{command:?}");
    }
    // What counts is what the user may do.
    let secret = ContainerSpec { user: "app".to_owned(), ..spec(&["/bin/secret"]) };
    assert_eq!(fail(secret), (NotExecutable, "exec: \"/bin/secret\": permission denied".to_owned()));
}

fn wrong_requests_say_what_is_wrong() {
    let user = |user: &str| ContainerSpec { user: user.to_owned(), ..shell("id") };
    let cwd = |cwd: &str| {
        let mut spec = shell("pwd");
        spec.process.set_cwd(cwd.into());
        spec
    };
    let mounted = |destination: &str, kind: &str, options: &[&str]| {
        let mut mount = tmpfs(destination, options);
        mount.set_typ(Some(kind.to_owned()));
        let mut spec = shell("true");
        spec.mounts.push(mount);
        spec
    };
    let mut limit = shell("true");
    let high = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(2u64).hard(1u64);
    limit.process.set_rlimits(Some(vec![high.build().unwrap()]));
    let mut zero = shell("true");
    zero.process.set_env(Some(vec!["A=\0".to_owned()]));
    for (spec, message) in [
        (user("foo"), "unable to find user foo: no matching entries in passwd file"),
        (user("app:foo"), "unable to find group foo: no matching entries in group file"),
        (user("4294967296"), "uids and gids must be in range 0-2147483647"),
        (cwd("relative"), "must be an absolute path"),
        (cwd("/file"), "cannot use \"/file\" as working directory: not a directory"),
        (mounted("/m", "ext4", &[]), "cannot mount ext4 at /m: the file system must be one of proc, sysfs"),
        (mounted("m", "tmpfs", &[]), "cannot mount tmpfs at m: the destination must be an absolute path"),
        (mounted("/m", "tmpfs", &["bind"]), "mount option \"bind\" is not supported"),
        (
            mounted("/m", "tmpfs", &["nonsense=1"]),
            "cannot mount tmpfs at /m: tmpfs: Unknown parameter 'nonsense'",
        ),
        (mounted("/file", "tmpfs", &[]), "cannot mount tmpfs at /file: not a directory"),
        (limit, "the soft RLIMIT_NOFILE of 2 is above the hard one of 1"),
        (zero, "a zero byte in the environment"),
        (spec(&[]), "no command was given"),
    ] {
        let (kind, found) = fail(spec);
        assert_eq!(kind, StartFailure::Setup, "{found}");
        assert!(found.contains(message), "{found:?} does not say {message:?}");
    }
}
