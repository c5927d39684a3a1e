//! Several pulls of one layer at the same time.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;
use crate::is_long;
use crate::liar::{Image, Liar, Reply, digest};
use crate::support::{eventually, kill_9};

#[test]
fn pulls_do_not_fail_each_other() {
    let (client, liar) = (Client::new(), Liar::start(Image::new(50_000), |_, _| Reply::Honest));
    for round in 0..10 {
        let names: Vec<String> = (0..4).map(|tag| format!("{}/app:{tag}", liar.address)).collect();
        let start = |args: &[&str]| client.command(args).spawn().expect("moat starts");
        let mut children: Vec<Child> = names.iter().map(|name| start(&["pull", "-q", name])).collect();
        children.extend((0..2).map(|_| start(&["image", "prune", "-f"])));
        for child in children {
            let output = child.wait_with_output().expect("output");
            assert!(output.status.success(), "{round}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(client.run(["images"]).ok().lines().count(), 5);
        client.run(["rmi"].into_iter().chain(names.iter().map(String::as_str))).ok();
        assert_eq!(client.blobs(), Vec::<String>::new());
    }
    client.assert_sound();
}

/// A registry that sends the beginning of its layer and then nothing for a while.
fn stalled() -> Liar {
    Liar::start(Image::new(50_000), |request, image| {
        if !request.path.ends_with(&digest(&image.layer)) {
            return Reply::Honest;
        }
        let layer = image.layer.clone();
        Reply::Raw(Box::new(move |stream| {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len());
            let _ = stream.write_all(&layer[..1000]);
            std::thread::sleep(Duration::from_secs(60));
        }))
    })
}

/// Starts a pull, and waits until it says what is happening to the layer.
fn start(client: &Client, name: &str, state: &str) -> Child {
    let mut child = client.command(["pull", name]).spawn().expect("moat starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with(state)), "it says {state:?}");
    child
}

#[test]
fn who_waits_for_another_pull_says_so_and_can_be_ended() {
    let (client, liar) = (Client::new(), stalled());
    let mut first = start(&client, &format!("{}/app:1", liar.address), ": Pulling fs layer");
    eventually("the first pull to fetch", || !client.partial().is_empty());
    let mut second = start(&client, &format!("{}/app:2", liar.address), ": Waiting for another pull");
    // Not SIGINT, which programs ignore that a shell has started in the background.
    kill(Pid::from_raw(second.id().cast_signed()), Signal::SIGTERM).expect("sent");
    assert_eq!(second.wait().expect("reaped").signal(), Some(Signal::SIGTERM as i32));
    kill_9(first.id().cast_signed());
    first.wait().expect("reaped");
    assert_eq!(liar.asked_for_layer().len(), 1);
}

#[test]
fn a_slow_registry_holds_up_no_pull_from_another() {
    if !is_long() {
        return;
    }
    let client = Client::new();
    let (slow, good) = (stalled(), Liar::start(Image::new(50_000), |_, _| Reply::Honest));
    let mut first = start(&client, &slow.name(), ": Pulling fs layer");
    eventually("the first pull to fetch", || !client.partial().is_empty());
    client.run(["pull", "-q", &good.name()]).ok();
    assert!(first.try_wait().expect("a status").is_none(), "the slow one is at it");
    kill_9(first.id().cast_signed());
    first.wait().expect("reaped");
    client.assert_sound();
}
