//! The wire grows by addition. `messages/` keeps what clients and monitors of each release say: the monitor of a container
//! that runs is of the release that started it, and clients of the next one speak to it.

use moat_monitor::wire::{ClientMessage, MonitorMessage};
use moat_records::kind::ErrorKind;
use serde_json::{Value, json};

/// Of release 1, the last one whose monitors refused messages with fields that they did not know.
const CLIENT_1: &str = include_str!("messages/client.1.jsonl");
const MONITOR_1: &str = include_str!("messages/monitor.1.jsonl");

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// This release's clients say no more than those of release 1 did, so monitors of that release understand them.
#[test]
fn requests_of_release_1_are_said_as_they_were() {
    let lines = lines(CLIENT_1);
    assert_eq!(lines.len(), 17);
    for line in lines {
        let message: ClientMessage = serde_json::from_value(line.clone()).expect("a message");
        assert_ne!(message, ClientMessage::Unknown, "{line}");
        assert_eq!(serde_json::to_value(&message).expect("JSON"), line);
    }
}

#[test]
fn answers_of_release_1_are_understood() {
    for line in lines(MONITOR_1) {
        let message: MonitorMessage = serde_json::from_value(line.clone()).expect("a message");
        assert_ne!(message, MonitorMessage::Unknown, "{line}");
        if let MonitorMessage::Refused(refusal) = message {
            assert_eq!(
                (refusal.kind, refusal.state, refusal.names_container),
                (ErrorKind::Host, None, false)
            );
            assert_eq!(refusal.message, "no");
        }
    }
}

/// What the next release adds does not stop this one's monitors and clients.
#[test]
fn additions_are_passed_over_and_unknown_messages_are_known_as_such() {
    for mut line in lines(CLIENT_1) {
        line["what_the_next_release_adds"] = json!([1]);
        let message: ClientMessage = serde_json::from_value(line.clone()).expect("a message");
        assert_ne!(message, ClientMessage::Unknown, "{line}");
    }
    for mut line in lines(MONITOR_1) {
        line["what_the_next_release_adds"] = json!({"a": 1});
        serde_json::from_value::<MonitorMessage>(line).expect("a message");
    }
    let new = json!({"type": "checkpoint", "where": "x"});
    assert_eq!(
        serde_json::from_value::<ClientMessage>(new.clone()).expect("a message"),
        ClientMessage::Unknown
    );
    assert_eq!(serde_json::from_value::<MonitorMessage>(new).expect("a message"), MonitorMessage::Unknown);
    let kind =
        json!({"type": "refused", "message": "no", "kind": "what-the-next-release-adds", "state": null});
    let Ok(MonitorMessage::Refused(refusal)) = serde_json::from_value(kind) else { panic!("a refusal") };
    assert_eq!(refusal.kind, ErrorKind::Host);
}
