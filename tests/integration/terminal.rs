//! `-t`: a terminal that works, driven through a real pty.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use nix::pty::{Winsize, openpty};

use crate::support::{PATIENCE, eventually, shared};

nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, Winsize);

/// A `moat run -it` on a terminal of its own.
struct Session {
    master: File,
    child: Child,
    seen: String,
}

fn window(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Session {
    fn start(command: &[&str]) -> Self {
        let words: Vec<_> =
            ["run", "--rm", "-it", "localhost/busybox"].iter().chain(command).copied().collect();
        Self::of(&words)
    }

    /// Any command in the shared root.
    fn of(words: &[&str]) -> Self {
        Self::on_terminal(shared().command(words))
    }

    /// A command that was not started yet, on a terminal of its own.
    fn on_terminal(inner: Command) -> Self {
        let pty = openpty(&window(33, 101), None).expect("a pty");
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        // As in a terminal window: the program leads a session whose terminal this is, so it hears of resizes.
        let mut moat = Command::new("setsid");
        moat.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        moat.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        moat.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
        let child = moat.spawn().expect("moat starts");
        Self { master: pty.master.into(), child, seen: String::new() }
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("typed");
    }

    /// Reads until `wanted` has appeared since the last wait.
    fn expect(&mut self, wanted: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        let mut buffer = [0; 1024];
        while !self.seen.contains(wanted) {
            assert!(std::time::Instant::now() < deadline, "no {wanted:?} in {:?}", self.seen);
            let mut ready = [nix::poll::PollFd::new(
                std::os::fd::AsFd::as_fd(&self.master),
                nix::poll::PollFlags::POLLIN,
            )];
            if nix::poll::poll(&mut ready, 1000_u16).expect("poll") == 0 {
                continue;
            }
            let length = self.master.read(&mut buffer).unwrap_or(0);
            assert_ne!(length, 0, "ended without {wanted:?}: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        let after = self.seen.find(wanted).expect("it is there") + wanted.len();
        self.seen.drain(..after);
    }
}

#[test]
fn a_shell_at_a_terminal() {
    let mut session = Session::start(&["sh"]);
    session.expect("# ");
    session.type_in("tty; stty size; echo $((6 * 7)) $TERM\n");
    session.expect("/dev/pts/");
    session.expect("33 101");
    session.expect("42 xterm");

    // SAFETY: TIOCSWINSZ reads one winsize.
    unsafe { set_window_size(session.master.as_raw_fd(), &window(50, 160)) }.expect("resized");
    session.type_in("sleep 1; stty size\n");
    session.expect("50 160");

    // The key, not a signal to the client: the foreground process ends, the shell stays.
    session.type_in("sleep 1000\n");
    session.expect("sleep 1000");
    std::thread::sleep(std::time::Duration::from_secs(2));
    session.type_in("\x03");
    session.expect("# ");
    session.type_in("exit 5\n");
    session.expect("exit 5");
    assert_eq!(session.child.wait().expect("it ends").code(), Some(5));
}

#[test]
fn a_full_screen_program_draws() {
    let mut session = Session::start(&["vi", "/tmp/poem"]);
    session.expect("/tmp/poem");
    // As a person types: each key after the screen has answered the one before.
    session.type_in("i");
    session.expect("I /tmp/poem");
    session.type_in("roses are red");
    session.expect("red");
    session.type_in("\x1b");
    session.expect("- /tmp/poem");
    session.type_in(":wq\r");
    session.expect("1L");
    assert!(session.child.wait().expect("it ends").success());
}

#[test]
fn a_terminal_can_be_left_and_come_back_to() {
    let moat = shared();
    let mut session = Session::of(&["run", "-it", "--name", "left", "localhost/busybox", "sh"]);
    session.expect("# ");
    session.type_in("X=kept; echo re''ady\n");
    session.expect("ready");
    session.type_in("\x10\x11");
    assert!(session.child.wait().expect("the client ends").success());
    assert!(moat.run(["ps", "--filter", "name=left"]).ok().contains("Up "), "the container goes on");

    let mut session = Session::of(&["attach", "left"]);
    session.type_in("echo $X; stty size\n");
    session.expect("kept");
    session.expect("33 101");
    // A shell beside it, with a terminal of its own.
    let mut beside = Session::of(&["exec", "-it", "left", "sh"]);
    beside.expect("# ");
    beside.type_in("stty size; echo $$; exit 4\n");
    beside.expect("33 101");
    assert_eq!(beside.child.wait().expect("it ends").code(), Some(4));
    session.type_in("exit 6\n");
    assert_eq!(session.child.wait().expect("it ends").code(), Some(6));
    moat.run(["rm", "left"]).ok();
}

#[test]
fn who_comes_back_to_a_terminal_has_it_drawn_again() {
    let moat = shared();
    let script = "trap 'echo drawn' WINCH; echo up; while :; do sleep 0.1; done";
    moat.run(["run", "-dit", "--name", "drawer", "localhost/busybox", "sh", "-c", script]).ok();
    eventually("its trap", || moat.run(["logs", "drawer"]).ok().contains("up"));
    // All of them have the same size, so that only the coming can be what the process hears of.
    for _ in 0..2 {
        let mut session = Session::of(&["attach", "drawer"]);
        session.expect("drawn");
        session.type_in("\x10\x11");
        assert!(session.child.wait().expect("the client ends").success());
    }
    moat.run(["rm", "-f", "drawer"]).ok();
}

#[test]
#[ignore = "a long story"]
fn bash_edits_its_line() {
    let moat = crate::support::Moat::with(&["debian"]);
    moat.run(["run", "-d", "--name", "deb", "localhost/debian", "sleep", "100000"]).ok();
    let mut session = Session::on_terminal(moat.command(["exec", "-it", "deb", "bash"]));
    session.expect("# ");
    // Line editing and history are bash's own: the keys arrive one by one.
    session.type_in("echo wrng\x1b[D\x1b[Do\n");
    session.expect("\rwrong");
    session.type_in("\x1b[A\n");
    session.expect("\rwrong");
    session.type_in("exit 3\n");
    assert_eq!(session.child.wait().expect("it ends").code(), Some(3));
    moat.run(["rm", "-f", "deb"]).ok();
    moat.assert_clean();
}

#[test]
fn a_terminal_needs_a_terminal() {
    shared()
        .run(["run", "--rm", "-it", "localhost/busybox", "sh"])
        .code(125)
        .says(&["stdin is not a terminal"]);
    // Without -i a terminal is possible anywhere: the process has one, we need none.
    assert!(shared().run(["run", "--rm", "-t", "localhost/busybox", "tty"]).ok().contains("/dev/pts/"));
}
