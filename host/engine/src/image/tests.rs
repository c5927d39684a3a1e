//! Verbs on images without a command line.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use moat_images::config::{self, Step};
use moat_images::store::{Digest, LoadEvent, Reference, Removed};
use moat_protocol::tar::Writer;
use moat_records::journal::reader::EventLog;
use moat_records::journal::{Event, Kind};
use moat_records::kind::ErrorKind;
use moat_records::root::Root;
use serde_json::{Map, json};

use super::{EnsureRequest, ImportRequest, PullPolicy, PullProgress, PullRequest, PushRequest};
use crate::prune::{PruneRequest, UnusedImages};
use crate::{Engine, EngineError};

/// An engine without images, and its events from now on.
struct Fixture {
    engine: Engine,
    log: EventLog,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(Root::open(directory.path()).unwrap()).unwrap();
        let log = EventLog::from_the_start(engine.root()).unwrap();
        Self { engine, log, _directory: directory }
    }

    /// With one image, whose layer is an empty directory.
    fn with_image(name: Option<&str>) -> (Self, String) {
        let mut fixture = Self::new();
        let request = ImportRequest {
            source: "nowhere".to_owned(),
            name: name.map(reference),
            ..ImportRequest::default()
        };
        let id = fixture.engine.import(archive().as_slice(), request).unwrap().to_string();
        assert_eq!(fixture.events(), [told("import", &id, name.unwrap_or(&id))]);
        (fixture, id)
    }

    /// What has happened since the last call: action, id, name.
    fn events(&mut self) -> Vec<(String, String, String)> {
        let mut seen = Vec::new();
        while let Some(Event { kind, action, id, attributes, .. }) = self.log.read().unwrap() {
            assert_eq!(kind, Kind::Image);
            seen.push((action, id, attributes["name"].clone()));
        }
        seen
    }
}

fn told(action: &str, id: &str, name: &str) -> (String, String, String) {
    (action.to_owned(), id.to_owned(), name.to_owned())
}

fn reference(name: &str) -> Reference {
    name.parse().unwrap()
}

fn archive() -> Vec<u8> {
    Writer::new(Vec::new()).finish().unwrap()
}

#[test]
fn names_come_and_go_with_events() {
    let (mut fixture, id) = Fixture::with_image(Some("app:1"));
    fixture.engine.tag("app:1", &reference("app:2")).unwrap();
    assert_eq!(fixture.events(), [told("tag", &id, "app:2")]);
    let removed = fixture.engine.remove_image("app:1", false).unwrap();
    assert_eq!(removed, [Removed::Untagged(reference("app:1"))]);
    assert_eq!(fixture.events(), [told("untag", &id, &id)]);
    let removed = fixture.engine.remove_image("app:2", false).unwrap();
    assert!(removed.len() > 2, "{removed:?}");
    assert_eq!(fixture.events(), [told("untag", &id, &id), told("delete", &id, &id)]);
    let error = fixture.engine.remove_image("app:2", true).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, "No such image: app:2"));
    assert_eq!(fixture.events(), []);
}

#[test]
fn archives_are_saved_and_loaded_with_events() {
    let (mut fixture, id) = Fixture::with_image(Some("app:1"));
    let mut saved = Vec::new();
    fixture.engine.save(&["app:1".to_owned()], &mut saved).unwrap();
    assert_eq!(fixture.events(), [told("save", &id, &id)]);
    let mut other = Fixture::new();
    let saving = Cell::new(false);
    let seen = |event: LoadEvent<'_>| saving.set(saving.get() || event == LoadEvent::Saving);
    let loaded = other.engine.load(saved.as_slice(), seen).unwrap();
    assert_eq!(loaded.len(), 1);
    assert!(saving.get());
    assert_eq!(other.events(), [told("load", &id, "app:1")]);
    assert_eq!(other.engine.load(&b"nonsense"[..], |_| ()).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(other.events(), []);
}

#[test]
fn prunes_spare_what_has_a_name() {
    let (mut fixture, id) = Fixture::with_image(Some("app:1"));
    let prune = |images| PruneRequest { images: Some(images), ..PruneRequest::default() };
    let pruned = fixture.engine.prune(&prune(UnusedImages::Dangling));
    assert!(pruned.failure.is_none() && pruned.images.is_empty(), "{pruned:?}");
    let used = fixture.engine.disk_usage().unwrap();
    assert_eq!((used.all_images.count, used.all_images.active), (1, 0));
    assert_eq!(used.all_images.reclaimable, used.all_images.bytes);
    let pruned = fixture.engine.prune(&prune(UnusedImages::All));
    assert_eq!(pruned.reclaimed, used.all_images.bytes);
    assert!(pruned.images.contains(&Removed::Untagged(reference("app:1"))), "{pruned:?}");
    assert_eq!(fixture.events(), [told("untag", &id, &id), told("delete", &id, &id)]);
}

#[test]
fn names_by_digest_are_not_given_here() {
    let (mut fixture, id) = Fixture::with_image(None);
    let by_digest = reference(&format!("app@{id}"));
    let error = fixture.engine.tag(&id, &by_digest).unwrap_err();
    assert!(matches!(error, EngineError::TagWithDigest) && error.kind() == ErrorKind::Invalid, "{error}");
    let request = ImportRequest { name: Some(by_digest), ..ImportRequest::default() };
    let error = fixture.engine.import(archive().as_slice(), request).unwrap_err();
    assert!(matches!(error, EngineError::TagWithDigest), "{error}");
    assert_eq!(fixture.events(), []);
}

#[test]
fn an_image_that_is_here_is_not_pulled() {
    let (mut fixture, id) = Fixture::with_image(Some("app:1"));
    let ensure = |image: &str, policy| {
        let request = EnsureRequest { image, policy, platform: None };
        fixture.engine.ensure(&request, &|name, progress| panic!("{name}: {progress:?}"))
    };
    for policy in [PullPolicy::Missing, PullPolicy::Never] {
        assert_eq!(ensure("app:1", policy).unwrap().id.to_string(), id);
        assert_eq!(ensure(&id, policy).unwrap().id.to_string(), id);
    }
    let error = ensure("app:2", PullPolicy::Never).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, "No such image: app:2"));
    assert_eq!(fixture.events(), []);
}

#[test]
fn only_what_is_here_is_pushed() {
    let (mut fixture, _) = Fixture::with_image(Some("app:1"));
    for all_tags in [false, true] {
        let request = PushRequest { name: reference("other"), all_tags };
        let error = fixture.engine.push(&request, &|_, _| ()).unwrap_err();
        assert_eq!(error.to_string(), "An image does not exist locally with the tag: other");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert_eq!(fixture.events(), []);
}

#[test]
fn every_image_is_checked() {
    let (fixture, _) = Fixture::with_image(Some("app:1"));
    let checked = fixture.engine.check().unwrap();
    assert_eq!((checked.images, checked.faults.as_slice()), (1, [].as_slice()));
}

#[test]
fn what_is_missing_is_pulled_with_an_event() {
    let mut fixture = Fixture::new();
    let server = registry();
    let image = format!("{server}/app:1");
    let told_of = Mutex::new(Vec::new());
    let seen = |name: &Reference, progress: PullProgress<'_>| {
        let what = match progress {
            PullProgress::Missing => "missing",
            PullProgress::Step(_) => return,
            PullProgress::Done(pulled) if pulled.is_new => "new",
            PullProgress::Done(_) => "known",
        };
        told_of.lock().unwrap().push((name.familiar(), what));
    };
    let ensure = |policy| {
        let request = EnsureRequest { image: &image, policy, platform: None };
        fixture.engine.ensure(&request, &seen).unwrap().id
    };
    let id = ensure(PullPolicy::Missing);
    assert_eq!(ensure(PullPolicy::Missing), id);
    assert_eq!(ensure(PullPolicy::Always), id);
    let told_of = told_of.into_inner().unwrap();
    assert_eq!(told_of, ["missing", "new", "known"].map(|what| (image.clone(), what)));
    let repository = format!("{server}/app");
    assert_eq!(fixture.events(), [told("pull", &image, &repository), told("pull", &image, &repository)]);
}

#[test]
fn a_failed_pull_says_of_what_kind_and_is_no_event() {
    let mut fixture = Fixture::new();
    let image = format!("{}/app:2", registry());
    let request = PullRequest { name: reference(&image), platform: None, all_tags: false };
    let error = fixture.engine.pull(&request, &|_, _| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        format!("cannot pull {image}: manifest for {image} not found: manifest unknown")
    );
    assert_eq!(fixture.events(), []);
}

/// A registry that has `app:1`. It ends with the tests.
fn registry() -> String {
    let layer = archive();
    let step = Step {
        created: "2026-01-02T03:04:05Z".parse().unwrap(),
        created_by: String::new(),
        author: String::new(),
        comment: String::new(),
    };
    let config = config::with_layer(config::empty(), Map::new(), &Digest::of(&layer), &step).to_string();
    let described = |kind: &str, bytes: &[u8]| {
        let media_type = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("config.v1+json", config.as_bytes()),
        "layers": [described("layer.v1.tar", &layer)],
    });
    let blob = |bytes: &[u8]| format!("/v2/app/blobs/{}", Digest::of(bytes));
    let documents = vec![
        ("/v2/".to_owned(), Vec::new()),
        ("/v2/app/manifests/1".to_owned(), manifest.to_string().into_bytes()),
        (blob(config.as_bytes()), config.into_bytes()),
        (blob(&layer), layer),
    ];
    let listener = TcpListener::bind("localhost:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that hangs up has its answer.
            let _ = answer(&stream.unwrap(), &documents);
        }
    });
    format!("localhost:{port}")
}

/// Answers one request. A client that begins with TLS is turned away, and asks again without.
fn answer(mut stream: &TcpStream, documents: &[(String, Vec<u8>)]) -> io::Result<()> {
    let mut first = [0];
    stream.read_exact(&mut first)?;
    if first != *b"G" {
        return Ok(());
    }
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let found = documents.iter().find(|(known, _)| known == path);
    let (status, body) = found.map_or(("404 Not Found", &[][..]), |(_, body)| ("200 OK", body));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}
