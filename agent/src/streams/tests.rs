use super::*;
use std::io::Read;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::pipe2;

fn sockets() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

/// (the process's ends, the host's end, the relay from the first to the second)
fn output() -> ([OwnedFd; 2], OwnedFd, Relay) {
    let (stdout, out) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (stderr, err) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (host, guest) = sockets();
    let sources = [(output::Source::Stdout, stdout), (output::Source::Stderr, stderr)];
    ([out, err], host, Relay::output(sources, guest).unwrap())
}

/// (the host's end, the process's end, the relay from the first to the second)
fn input() -> (OwnedFd, OwnedFd, Relay) {
    let (read_end, write_end) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (host, guest) = sockets();
    (host, read_end, Relay::new(End::Host(guest), End::Pipe(write_end)).unwrap())
}

/// One turn, as the agent's loop takes it. Says whether the relay goes on.
fn pump(relay: &mut Relay) -> bool {
    let found: Vec<(Option<usize>, Events)> = {
        let (fd, events) = relay.sink_interest();
        let mut watched = vec![(None, poll::Interest::new(fd, events))];
        watched
            .extend(relay.source_interests().map(|(at, fd)| (Some(at), poll::Interest::new(fd, poll::IN))));
        watched
            .into_iter()
            .map(|(part, interest)| {
                let mut interests = [interest];
                poll::wait(&mut interests, Some(std::time::Duration::ZERO)).unwrap();
                (part, interests[0].found())
            })
            .collect()
    };
    let mut buffer = vec![0; BUFFER_SIZE];
    for (part, events) in found.into_iter().filter(|(_, events)| *events != 0) {
        match part {
            None => relay.sink_is_up(events),
            Some(which) => relay.source_is_up(which, &mut buffer),
        }
    }
    !relay.is_over()
}

fn receive(host: &OwnedFd) -> (output::Source, Vec<u8>) {
    let mut host = std::fs::File::from(host.try_clone().unwrap());
    let mut header = [0; OUTPUT_HEADER];
    host.read_exact(&mut header).unwrap();
    let (source, length) = output::parse(header).unwrap();
    let mut bytes = vec![0; length];
    host.read_exact(&mut bytes).unwrap();
    (source, bytes)
}

#[test]
fn output_arrives_in_order_and_ends() {
    let ([out, err], host, mut relay) = output();
    for (pipe, source, text) in [
        (&out, output::Source::Stdout, "one"),
        (&err, output::Source::Stderr, "two"),
        (&err, output::Source::Stderr, "three"),
        (&out, output::Source::Stdout, "four"),
    ] {
        write(pipe, text.as_bytes()).unwrap();
        assert!(pump(&mut relay));
        assert_eq!(receive(&host), (source, text.as_bytes().to_vec()));
    }
    // The end is that of both.
    drop(out);
    assert!(pump(&mut relay));
    write(&err, b"last").unwrap();
    assert!(pump(&mut relay));
    assert_eq!(receive(&host), (output::Source::Stderr, b"last".to_vec()));
    drop(err);
    assert!(!pump(&mut relay));
    assert_eq!(read(&host, &mut [0; 16]).unwrap(), 0);
}

#[test]
fn a_slow_host_holds_the_process_back() {
    let ([process, other], host, mut relay) = output();
    drop(other);
    assert!(pump(&mut relay));
    set_nonblocking(&process).unwrap();
    let chunk = [7; 4096];
    let mut sent = 0;
    for _ in 0..10_000 {
        match write(&process, &chunk) {
            Ok(count) => sent += count,
            Err(Errno::EAGAIN) if relay.source_interests().next().is_none() => break,
            Err(Errno::EAGAIN) => assert!(pump(&mut relay)),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        relay.source_interests().next().is_none(),
        "{sent} bytes were taken and the process still not held back"
    );
    assert!(relay.pending.len() <= BUFFER_SIZE);
    drop(process);
    // Nothing is lost, and the end comes only after the last byte.
    let reader = std::thread::spawn(move || {
        let mut got = 0;
        let mut host = std::fs::File::from(host);
        let mut header = [0; OUTPUT_HEADER];
        while host.read_exact(&mut header).is_ok() {
            let (_, length) = output::parse(header).unwrap();
            host.read_exact(&mut vec![0; length]).unwrap();
            got += length;
        }
        got
    });
    while pump(&mut relay) {}
    drop(relay);
    assert_eq!(reader.join().unwrap(), sent);
}

#[test]
fn a_host_that_closes_output_breaks_both_pipes() {
    let ([out, err], host, mut relay) = output();
    drop(host);
    assert!(!pump(&mut relay));
    drop(relay);
    // The test's runtime ignores SIGPIPE, as the agent does.
    assert_eq!(write(&out, b"x"), Err(Errno::EPIPE));
    assert_eq!(write(&err, b"x"), Err(Errno::EPIPE));
}

#[test]
fn a_host_that_only_stops_sending_still_gets_output() {
    let ([process, _other], host, mut relay) = output();
    shutdown(host.as_raw_fd(), Shutdown::Write).unwrap();
    assert!(pump(&mut relay));
    write(&process, b"still").unwrap();
    assert!(pump(&mut relay));
    assert_eq!(receive(&host).1, b"still");
    assert_eq!(relay.sink_interest().1, 0);
}

#[test]
fn input_arrives_and_its_end_closes_the_pipe() {
    let (host, process, mut relay) = input();
    write(&host, b"typed").unwrap();
    shutdown(host.as_raw_fd(), Shutdown::Write).unwrap();
    assert!(pump(&mut relay));
    assert!(!pump(&mut relay));
    drop(relay);
    let mut got = [0; 16];
    assert_eq!(read(&process, &mut got).unwrap(), 5);
    assert_eq!(read(&process, &mut got).unwrap(), 0);
}

#[test]
fn a_process_that_closes_stdin_is_told_to_the_host() {
    let (host, process, mut relay) = input();
    drop(process);
    assert!(!pump(&mut relay));
    drop(relay);
    assert_eq!(read(&host, &mut [0; 16]).unwrap(), 0);
    assert_eq!(send(host.as_raw_fd(), b"x", MsgFlags::MSG_NOSIGNAL), Err(Errno::EPIPE));
}
