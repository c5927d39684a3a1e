//! Ways that images take between Moat, skopeo, podman, umoci and registries: the digests are the same at every end.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::Client;
use crate::is_long;
use crate::liar::{Image, Liar, Reply, digest, taking, tunnel};
use crate::server::{Access, Server, run};
use crate::support::{image_archive, names_in};

/// What a registry has under a name, byte for byte.
fn manifest_of(server: &Server, image: &str) -> String {
    run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{}", server.name(image))])
}

/// Has skopeo copy an image.
fn copy(options: &[&str], from: &str, to: &str) {
    let words = ["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
    run("skopeo", &[&words[..], options, &[from, to]].concat());
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A digest of everything in a tree but times, which umoci makes up where the image has none. tar would write attributes in
/// the order in which umoci set them, which is another one each time.
fn tree(directory: &Path) -> String {
    let all = r#"cd "$0"; {
        tar --sort=name --numeric-owner --mtime=@0 --pax-option=delete=atime,delete=ctime,exthdr.name=x -cf - .
        find . -print0 | sort -z | xargs -0r getfattr -hd -m- -ehex
    } | sha256sum"#;
    run("bash", &["-e", "-o", "pipefail", "-c", all, text(directory)])
}

/// Name and content of each index of the store.
fn indexes(client: &Client) -> Vec<(String, Vec<u8>)> {
    let directory = client.moat.root().join("indexes");
    let read = |name: String| (name.clone(), std::fs::read(directory.join(name)).expect("an index"));
    names_in(&directory).into_iter().map(read).collect()
}

#[test]
fn what_skopeo_pushes_is_pulled_and_goes_elsewhere_byte_for_byte() {
    let (first, second) = (Server::start(Access::Open), Server::start(Access::Open));
    let mut images = vec![("busybox", "oci"), ("busybox", "oci-zstd")];
    images.extend(["debian", "nginx", "torture", "many-files"].map(|image| (image, "oci")));
    for (image, format) in images {
        let client = Client::new();
        let name = format!("{format}/{image}:1");
        let archive = format!("oci-archive:{}", text(&image_archive(image, format)));
        copy(&[], &archive, &format!("docker://{}", first.name(&name)));
        let manifest = manifest_of(&first, &name);
        let answer = client.run(["pull", &first.name(&name)]).ok();
        let closing = format!(
            "Digest: {}\nStatus: Downloaded newer image for {1}\n{1}\n",
            digest(manifest.as_bytes()),
            first.name(&name)
        );
        assert!(answer.starts_with(&format!("1: Pulling from {format}/{image}\n")), "{answer}");
        assert!(answer.ends_with(&closing), "{answer}");
        // The disk that a container gets is the one that it has when it is loaded.
        let loaded = Client::new();
        loaded.run(["load", "-qi", text(&image_archive(image, format))]).ok();
        assert!(indexes(&client) == indexes(&loaded), "{image} {format}");
        client.run(["tag", &first.name(&name), &second.name(&name)]).ok();
        // What came from one name goes out by another one after the first is gone.
        client.run(["rmi", &first.name(&name)]).ok();
        client.run(["push", &second.name(&name)]).ok();
        assert_eq!(manifest_of(&second, &name), manifest, "{image} {format}");
        client.assert_sound();
    }
}

#[test]
fn dockers_own_manifests_are_as_good() {
    let (server, client) = (Server::start(Access::Open), Client::new());
    let archive = format!("docker-archive:{}", text(&image_archive("busybox", "docker")));
    copy(&["--format", "v2s2"], &archive, &format!("docker://{}", server.name("busybox:1")));
    let manifest = manifest_of(&server, "busybox:1");
    assert!(manifest.contains("vnd.docker.distribution.manifest.v2"), "{manifest}");
    client.run(["pull", &server.name("busybox:1")]).ok();
    client.run(["tag", &server.name("busybox:1"), &server.name("copy:2")]).ok();
    let answer = client.run(["push", &server.name("copy:2")]).ok();
    assert!(answer.contains("Mounted from busybox"), "{answer}");
    assert_eq!(manifest_of(&server, "copy:2"), manifest);
    assert!(client.run(["push", &server.name("copy:2")]).ok().contains("Layer already exists"));
}

#[test]
fn what_is_loaded_and_pushed_others_pull_and_unpack() {
    let server = Server::start(Access::Open);
    // Unpacking the others takes minutes.
    let long: &[&str] = if is_long() { &["torture", "many-files"] } else { &[] };
    for &image in ["busybox", "debian", "nginx"].iter().chain(long) {
        let client = Client::new();
        client.run(["load", "-qi", text(&image_archive(image, "docker"))]).ok();
        let name = server.name(&format!("team/{image}:1"));
        client.run(["tag", &format!("localhost/{image}"), &name]).ok();
        let answer = client.run(["push", &name]).ok();
        let manifest = manifest_of(&server, &format!("team/{image}:1"));
        let closing = format!("1: digest: {} size: {}\n", digest(manifest.as_bytes()), manifest.len());
        assert!(answer.ends_with(&closing), "{answer}");
        let digests = client.run(["image", "inspect", "-f", "{{json .RepoDigests}}", &name]).ok();
        assert!(digests.contains(&digest(manifest.as_bytes())), "{digests}");
        // Pushed once, it is the same everywhere.
        let other = server.name(&format!("other/{image}:2"));
        client.run(["tag", &name, &other]).ok();
        client.run(["push", "-q", &other]).ok();
        assert_eq!(manifest_of(&server, &format!("other/{image}:2")), manifest);
        let unpacked = tempfile::tempdir().expect("a temporary directory");
        let theirs = unpacked.path().join("theirs");
        copy(&[], &format!("docker://{name}"), &format!("oci:{}:latest", text(&theirs)));
        // umoci checks the digests of what it unpacks.
        let bundle = |layout: &Path, bundle: &str| {
            let bundle = unpacked.path().join(bundle);
            run("umoci", &["unpack", "--image", &format!("{}:latest", text(layout)), text(&bundle)]);
            bundle.join("rootfs")
        };
        let pushed = bundle(&theirs, "pushed");
        let built = bundle(&image_archive(image, "oci-dir"), "built");
        assert_eq!(tree(&pushed), tree(&built), "{image}");
        client.assert_sound();
    }
}

#[test]
fn podman_takes_what_is_pushed_and_gives_what_is_pulled() {
    let (server, client) = (Server::start(Access::Open), Client::new());
    client.run(["load", "-qi", text(&image_archive("busybox", "docker"))]).ok();
    client.run(["tag", "localhost/busybox", &server.name("busybox:1")]).ok();
    client.run(["push", &server.name("busybox:1")]).ok();
    let storage = tempfile::tempdir().expect("a temporary directory");
    let (root, run_root) = (storage.path().join("root"), storage.path().join("run"));
    let places = ["--root", text(&root), "--runroot", text(&run_root), "--storage-driver", "vfs"];
    let podman = |words: &[&str]| run("podman", &[&places[..], words].concat());
    podman(&["pull", "-q", "--tls-verify=false", &server.name("busybox:1")]);
    let theirs = podman(&["image", "inspect", "-f", "{{.Id}}", &server.name("busybox:1")]);
    let ours = client.run(["images", "-q", "--no-trunc"]).ok();
    assert_eq!(format!("sha256:{theirs}"), ours);
    podman(&["push", "-q", "--tls-verify=false", &server.name("busybox:1"), &server.name("podman:1")]);
    client.run(["pull", &server.name("podman:1")]).ok();
    assert_eq!(client.run(["images", "-q", "--no-trunc"]).ok(), ours);
    client.assert_sound();
}

#[test]
fn a_pull_that_brings_nothing_new_says_so() {
    let (client, liar) = (Client::new(), Liar::start(Image::new(10), |_, _| Reply::Honest));
    client.run(["pull", &liar.name()]).ok();
    let answer = client.run(["pull", &liar.name()]).ok();
    assert!(answer.contains(&format!("Status: Image is up to date for {}\n", liar.name())), "{answer}");
    // Another tag of the same image needs none of its bytes.
    let answer = client.run(["pull", &format!("{}/app:2", liar.address)]).ok();
    assert!(answer.contains(": Already exists\n"), "{answer}");
    assert_eq!(liar.asked_for_layer().len(), 1);
    assert_eq!(client.run(["pull", "-q", &liar.name()]).ok(), liar.name() + "\n");
}

#[test]
fn names_lead_to_images_by_tag_and_by_digest() {
    let (client, liar) = (Client::new(), Liar::start(Image::new(10), |_, _| Reply::Honest));
    let by_digest = format!("{}/app@{}", liar.address, digest(&liar.image.manifest));
    client.run(["pull", &liar.name()]).ok();
    let digests =
        client.run(["image", "inspect", "-f", "{{json .RepoDigests}} {{json .RepoTags}}", &by_digest]).ok();
    assert_eq!(digests, format!("[\"{by_digest}\"] [\"{}\"]\n", liar.name()));
    let table = client.run(["images", "--digests", "--format", "{{.Tag}} {{.Digest}}"]).ok();
    assert_eq!(table, format!("1 {}\n", digest(&liar.image.manifest)));
    client.run(["tag", &liar.name(), "kept"]).ok();
    let answer = client.run(["rmi", &by_digest]).ok();
    assert_eq!(answer, format!("Untagged: {}\nUntagged: {by_digest}\n", liar.name()));
    assert_eq!(client.run(["images", "--format", "{{.Repository}}"]).ok(), "kept\n");
    client.run(["rmi", "kept"]).ok();
    assert_eq!(client.blobs(), Vec::<String>::new());
}

/// A repository of one image for two platforms, each with a manifest of its own.
fn two_platforms() -> Liar {
    let image = Image::new(10);
    let mut other: Value = serde_json::from_slice(&image.config).expect("JSON");
    other["architecture"] = json!("arm64");
    let other = other.to_string().into_bytes();
    let manifest = Image::manifest(&other, json!([Image::describe(&image.layer)])).to_string().into_bytes();
    let line = |manifest: &[u8], architecture: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(manifest),
            "size": manifest.len(), "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [line(&manifest, "arm64"), line(&image.manifest, "amd64")],
    });
    let index = index.to_string().into_bytes();
    Liar::start(image, move |request, image| {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let found =
            [&index, &manifest, &other, &image.manifest].into_iter().find(|text| digest(text) == last);
        match found {
            Some(text) => Reply::Answer(200, vec![], text.clone()),
            None if request.path.ends_with("/manifests/1") => Reply::Answer(200, vec![], index.clone()),
            None if request.path.ends_with("/tags/list") => {
                let next = ("Link", "</v2/app/tags/list?last=1>; rel=\"next\"".to_owned());
                Reply::Answer(200, vec![next], br#"{"name": "app", "tags": ["1"]}"#.to_vec())
            }
            None if request.path.ends_with("last=1") => {
                Reply::Answer(200, vec![], br#"{"name": "app", "tags": ["2"]}"#.to_vec())
            }
            None => Reply::Honest,
        }
    })
}

#[test]
fn of_several_platforms_the_right_one_comes() {
    let (client, liar) = (Client::new(), two_platforms());
    let platform = || client.run(["image", "inspect", "-f", "{{.Architecture}}", &liar.name()]).ok();
    client.run(["pull", &liar.name()]).ok();
    assert_eq!(platform(), "amd64\n");
    client.run(["pull", "--platform", "linux/arm64", &liar.name()]).ok();
    assert_eq!(platform(), "arm64\n");
    client.run(["pull", "--platform", "linux/s390x", &liar.name()]).code(1).says(&[
        "no matching manifest for linux/s390x in the manifest list entries",
        "linux/arm64, linux/amd64",
    ]);
    let two = format!("{}/app:2", liar.address);
    client
        .run(["pull", "--platform", "linux/arm64", &two])
        .code(1)
        .says(&["does not match the specified platform"]);
    client.run(["create", &liar.name()]).code(1).says(&["arm64"]);
}

/// A repository of one image, which is for `architecture` going by its config, in an index that says `platform` of it.
fn one_platform(platform: &Value, architecture: &str) -> Liar {
    let mut image = Image::new(10);
    let mut config: Value = serde_json::from_slice(&image.config).expect("JSON");
    config["architecture"] = json!(architecture);
    image.config = config.to_string().into_bytes();
    let layers = json!([Image::describe(&image.layer)]);
    image.manifest = Image::manifest(&image.config, layers).to_string().into_bytes();
    let mut line = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(&image.manifest), "size": image.manifest.len(),
    });
    if !platform.is_null() {
        line["platform"] = platform.clone();
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": [line]}).to_string();
    Liar::start(image, move |request, _| match request.path.as_str() {
        path if path.ends_with("/manifests/1") => Reply::Answer(200, vec![], index.clone().into_bytes()),
        _ => Reply::Honest,
    })
}

#[test]
fn platforms_need_not_be_told_in_full() {
    let client = Client::new();
    client.run(["pull", &one_platform(&Value::Null, "amd64").name()]).ok();
    // What the config says still counts.
    let liar = one_platform(&Value::Null, "amd64");
    let pull = |platform: &str, liar: &Liar| client.run(["pull", "--platform", platform, &liar.name()]);
    pull("linux/arm64", &liar).code(1).says(&["does not match the specified platform"]);
    // The config says nothing of the variant.
    let liar = one_platform(&json!({"os": "linux", "architecture": "arm", "variant": "v6"}), "arm");
    pull("linux/arm/v7", &liar).ok();
    pull("linux/arm/v5", &liar).code(1).says(&["no matching manifest for linux/arm/v5"]);
    let liar = two_platforms();
    pull("arm64", &liar).ok();
    assert_eq!(client.run(["image", "inspect", "-f", "{{.Architecture}}", &liar.name()]).ok(), "arm64\n");
    pull("sparcle", &liar).code(1).says(&["\"sparcle\" is not a platform", "linux/amd64"]);
}

#[test]
fn all_tags_come() {
    let (client, liar) = (Client::new(), two_platforms());
    let repository = format!("{}/app", liar.address);
    client.run(["pull", "-a", &repository]).ok();
    let mut tags: Vec<String> =
        client.run(["images", "--format", "{{.Tag}}"]).ok().lines().map(str::to_owned).collect();
    tags.sort();
    assert_eq!(tags, ["1", "2"]);
    client.run(["pull", "-a", &liar.name()]).code(1).says(&["tag can't be used with --all-tags/-a"]);
}

#[test]
fn containers_get_what_is_missing() {
    let (client, liar) = (Client::new(), Liar::start(Image::new(10), |_, _| Reply::Honest));
    client.run(["create", "--pull", "never", &liar.name()]).code(1).says(&["No such image"]);
    let answer = client.run(["create", "--name", "one", &liar.name()]);
    let missing = format!("Unable to find image '{}' locally\n1: Pulling from app\n", liar.name());
    assert!(answer.stderr.starts_with(&missing), "{}", answer.stderr);
    assert_eq!(answer.ok().lines().count(), 1);
    assert_eq!(client.run(["create", &liar.name()]).code(0).stderr, "");
    let answer = client.run(["create", "--pull", "always", &liar.name()]).code(0);
    assert!(answer.stderr.contains("Status: Image is up to date"), "{}", answer.stderr);
    client.run(["create", &format!("{}/app@sha256:12", liar.address)]).code(1).says(&["64 lower-case"]);
}

#[test]
fn mirrors_are_asked_first() {
    let (client, mirror) = (Client::new(), Liar::start(Image::new(10), |_, _| Reply::Honest));
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    client.configure(&json!({"registries": {"registry.invalid": {"mirrors": [gone, mirror.address]}}}));
    client.run(["pull", "registry.invalid/app:1"]).ok();
    assert_eq!(client.run(["images", "--format", "{{.Repository}}"]).ok(), "registry.invalid/app\n");
    client.configure(&json!({"registries": {"registry.invalid": {"mirror": []}}}));
    client
        .run(["pull", "registry.invalid/app:1"])
        .code(1)
        .says(&["registries.json", "unknown field `mirror`"]);
}

#[test]
fn a_mirror_that_fails_half_way_is_left() {
    type Failing = fn(&Image, &str) -> bool;
    let config: Failing = |image, path| path.ends_with(&digest(&image.config));
    let layer: Failing = |image, path| path.ends_with(&digest(&image.layer));
    let wrong = || Reply::Answer(200, vec![], b"wrong".to_vec());
    let short = || {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\x1f\x8b\x08\r\n";
        Reply::Raw(Box::new(|stream| drop(stream.write_all(answer))))
    };
    let missing = || Reply::Answer(404, vec![], vec![]);
    let answers: [(Failing, fn() -> Reply); 5] =
        [(config, wrong), (config, missing), (layer, wrong), (layer, missing), (layer, short)];
    for (failing, answer) in answers {
        let (client, liar) = (Client::new(), Liar::start(Image::new(1000), |_, _| Reply::Honest));
        let mirror = Liar::start(Image::new(1000), move |request, image| {
            if failing(image, &request.path) { answer() } else { Reply::Honest }
        });
        client.configure(&json!({"registries": {&liar.address: {"mirrors": [&mirror.address]}}}));
        client.run(["pull", &liar.name()]).ok();
        assert!(liar.asked("manifests").is_empty() && !mirror.asked("manifests").is_empty());
        assert_eq!(liar.asked_for_layer().len(), 1);
        client.assert_sound();
    }
}

#[test]
fn what_is_wrong_everywhere_is_told_once() {
    // The config promises another tar than the one in the layer.
    let image = || {
        let mut image = Image::new(10);
        let mut config: Value = serde_json::from_slice(&image.config).expect("JSON");
        config["rootfs"]["diff_ids"] = json!([digest(b"another tar")]);
        image.config = config.to_string().into_bytes();
        let layers = json!([Image::describe(&image.layer)]);
        image.manifest = Image::manifest(&image.config, layers).to_string().into_bytes();
        image
    };
    let (client, liar) = (Client::new(), Liar::start(image(), |_, _| Reply::Honest));
    let mirror = Liar::start(image(), |_, _| Reply::Honest);
    client.configure(&json!({"registries": {&liar.address: {"mirrors": [&mirror.address]}}}));
    client.run(["pull", &liar.name()]).code(1).says(&["expected diff_id"]);
    assert!(liar.asked("").is_empty());
}

/// A proxy that connects every client to one server, wherever it wants to go.
fn proxy_to(server: &Liar) -> Liar {
    let address = server.address.clone();
    Liar::start(Image::new(10), move |_, _| {
        let address = address.clone();
        Reply::Raw(Box::new(move |stream| {
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").expect("it reads");
            tunnel(stream, &address);
        }))
    })
}

#[test]
fn the_proxy_and_plain_http_are_used_where_the_file_says() {
    let (client, server) = (Client::new(), Liar::start(Image::new(10), |_, _| Reply::Honest));
    let proxy = proxy_to(&server);
    let at = format!("http://{}", proxy.address);
    client.configure(&json!({"proxy": at, "registries": {"registry.invalid": {"insecure": true}}}));
    client.run(["pull", "-q", "registry.invalid/app:1"]).ok();
    assert!(
        !proxy.asked("registry.invalid:443").is_empty() && !proxy.asked("registry.invalid:80").is_empty()
    );
    let plain = server.asked("").len();
    // The configuration does not allow it for this one.
    client
        .run(["pull", "-q", "strict.invalid/app:1"])
        .code(1)
        .says(&["cannot reach registry strict.invalid"]);
    assert!(!proxy.asked("strict.invalid:443").is_empty() && proxy.asked("strict.invalid:80").is_empty());
    assert_eq!(server.asked("").len(), plain);
    // The registry's own proxy goes first, and "none" is none.
    let own =
        json!({"strict.invalid": {"proxy": "none"}, "registry.invalid": {"insecure": true, "proxy": at}});
    client.configure(&json!({"proxy": "http://127.0.0.1:9", "registries": own}));
    client.run(["pull", "-q", "registry.invalid/app:2"]).ok();
    let before = proxy.asked("").len();
    client
        .run(["pull", "-q", "strict.invalid/app:1"])
        .code(1)
        .says(&["cannot reach registry strict.invalid"]);
    assert_eq!(proxy.asked("").len(), before);
}

#[test]
fn a_layer_goes_up_in_one_piece() {
    // More than 64 MiB, which some registries do not take in pieces.
    let (server, client) = (Server::start(Access::Open), Client::new());
    let liar = Liar::start(Image::new(65 << 20), |request, _| taking(request));
    client.run(["pull", "-q", &liar.name()]).ok();
    let (name, other) = (server.name("big:1"), format!("{}/big:1", liar.address));
    for name in [&name, &other] {
        client.run(["tag", &liar.name(), name]).ok();
        client.run(["push", "-q", name]).ok();
    }
    // skopeo checks the digests of what it reads.
    let directory = tempfile::tempdir().expect("a temporary directory");
    copy(&[], &format!("docker://{name}"), &format!("dir:{}", text(directory.path())));
    assert_eq!(manifest_of(&server, "big:1").as_bytes(), liar.image.manifest);
    let pieces: Vec<_> =
        liar.asked("/v2/big/").into_iter().filter(|request| request.body.len() > 1000).collect();
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].method, "PATCH");
    assert!(!pieces[0].headers.contains_key("content-range"), "{:?}", pieces[0].headers);
    assert!(pieces[0].body[..] == liar.image.layer[..]);
    let last =
        liar.asked(&format!("digest=sha256%3A{}", &digest(&liar.image.layer)[7..])).pop().expect("a PUT");
    assert_eq!((last.method.as_str(), last.body.len()), ("PUT", 0));
}
