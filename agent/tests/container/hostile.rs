//! Images and hosts that mean no good.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use moat_protocol::{ContainerSpec, ExitStatus, StartFailure};
use moat_test_harness::{Test, tests};

use crate::machine::{Machine, shell, tmpfs};

pub const TESTS: &[Test] = tests![
    mount_points_that_are_links_stay_in_the_container,
    proc_and_sys_must_be_directories,
    files_of_etc_that_are_links_stay_in_the_container,
    a_working_directory_cannot_be_an_open_file_of_the_agent,
    masked_paths_that_are_links_hide_what_they_point_to,
    a_fifo_for_a_passwd_file_hangs_nobody,
    garbage_from_the_host_ends_the_guest,
    a_lost_host_ends_the_guest,
    a_guest_has_one_container,
];

/// Every mount point of the container leads somewhere else in the image.
fn mount_points_that_are_links_stay_in_the_container() {
    for target in ["/etc", "../../../../../../etc", "/proc/self/cwd", "/proc/1/root", "/nowhere/at/all"] {
        let mut machine = Machine::boot(|root| {
            symlink(target, root.join("dev")).unwrap();
            fs::remove_dir(root.join("tmp")).unwrap();
            symlink(target, root.join("tmp")).unwrap();
        });
        let mut spec = shell("ls /dev/ | wc -l");
        spec.mounts.push(tmpfs("/tmp/sub", &[]));
        // Where it works it works inside; where a link of /proc would be followed, it is refused.
        match machine.start(spec) {
            Ok(_) => drop(machine.exit()),
            Err((kind, message)) => {
                assert_eq!(kind, StartFailure::Setup);
                assert!(target.starts_with("/proc/"), "{target}: {message}");
            }
        }
        assert!(!Path::new("/etc/null").exists() && !Path::new("/etc/sub").exists());
        assert!(!Path::new("/nowhere").exists());
        machine.shut_down();
    }
}

fn proc_and_sys_must_be_directories() {
    for name in ["proc", "sys"] {
        let mut machine = Machine::boot(|root| {
            symlink("/etc", root.join(name)).unwrap();
        });
        let Err((kind, message)) = machine.start(shell("true")) else { panic!("it started") };
        assert_eq!(kind, StartFailure::Setup);
        assert!(message.contains(&format!("at /{name}: the image has something else")), "{message}");
    }
}

fn files_of_etc_that_are_links_stay_in_the_container() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    let mut machine = Machine::boot(|root| {
        symlink(&outside, root.join("etc/hosts")).unwrap();
        symlink("../../../../../../../etc/hostname", root.join("etc/hostname")).unwrap();
    });
    // The second one is a link to itself.
    let Err((_, message)) = machine.start(shell("true")) else { panic!("it started") };
    assert!(message.contains("/etc/hostname"), "{message}");
    let mut machine = Machine::boot(|root| symlink(&outside, root.join("etc/hosts")).unwrap());
    assert_eq!(machine.run(shell("cat /etc/hosts; echo evil >/etc/hosts")).stdout, "127.0.0.1\tlocalhost\n");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
}

fn a_working_directory_cannot_be_an_open_file_of_the_agent() {
    for cwd in ["/proc/self/fd/3", "/proc/self/fd/7/../../..", "/proc/self/cwd", "/proc/1/root/etc", "/link"]
    {
        let mut machine = Machine::boot(|root| symlink("/proc/self/fd/5", root.join("link")).unwrap());
        let mut spec = shell("pwd");
        spec.process.set_cwd(cwd.into());
        let Err((kind, message)) = machine.start(spec) else { panic!("{cwd}: it started") };
        assert_eq!(kind, StartFailure::Setup);
        assert!(message.contains("as working directory"), "{message}");
    }
}

fn masked_paths_that_are_links_hide_what_they_point_to() {
    let mut machine = Machine::boot(|root| {
        fs::write(root.join("secret"), "secret").unwrap();
        symlink("/secret", root.join("link")).unwrap();
    });
    let mut spec = shell("cat /link /secret; ls /etc-link");
    spec.masked_paths.extend(["/link".to_owned(), "/missing/x".to_owned(), "/secret/x".to_owned()]);
    assert_eq!(machine.run(spec).stdout, "");
}

fn a_fifo_for_a_passwd_file_hangs_nobody() {
    let mut machine = Machine::boot(|root| {
        fs::remove_file(root.join("etc/passwd")).unwrap();
        nix::unistd::mkfifo(&root.join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    });
    let Err((_, message)) = machine.start(shell("true")) else { panic!("it started") };
    assert_eq!(message, "cannot read /etc/passwd: it is not a regular file");
}

fn garbage_from_the_host_ends_the_guest() {
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"mo\x02\0\xff\xff\xff\xff",
        b"mo\x01\0\x01\0\0\0x",
        b"mo\x02\0\x02\0\0\0{}",
    ] {
        let mut machine = Machine::boot(|_| {});
        let mut streams = machine.start(shell("echo up; sleep 1000")).unwrap();
        streams.wait_for("up");
        machine.control.write_all(garbage).unwrap();
        machine.expect_the_end();
    }
}

fn a_lost_host_ends_the_guest() {
    let mut machine = Machine::boot(|_| {});
    let mut streams =
        machine.start(shell("trap '' TERM INT HUP; echo up; while :; do sleep 1000; done")).unwrap();
    streams.wait_for("up");
    machine.control.shutdown(std::net::Shutdown::Write).unwrap();
    machine.expect_the_end();
}

fn a_guest_has_one_container() {
    let mut machine = Machine::boot(|_| {});
    let first = ContainerSpec { open_stdin: true, ..shell("cat") };
    let streams = machine.start(first).unwrap();
    machine.send(&moat_protocol::HostMessage::Start {
        process: moat_protocol::ProcessId(4),
        token: moat_protocol::StreamToken(String::new()),
        spec: Box::new(shell("true")),
    });
    let answer = format!("{:?}", machine.receive());
    assert!(answer.contains("ProcessId(4)") && answer.contains("started before"), "{answer}");
    drop(streams);
    assert_eq!(machine.exit(), ExitStatus::Code(0));
}
