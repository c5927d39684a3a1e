//! Registries that lie: each time a clear error, bounded memory and time, and a store as before.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Client;
use crate::liar::{Image, Liar, Reply, Request, digest, taking, tunnel};
use crate::server::Server;

/// Pulls from a registry that answers as `told`, and asserts that the error has these words in it.
#[track_caller]
fn refused(
    image: Image,
    words: &[&str],
    told: impl Fn(&Request, &Image) -> Reply + Send + Sync + 'static,
) -> Liar {
    let client = Client::new();
    client.configure(&json!({"timeout": 1}));
    let liar = Liar::start(image, told);
    client.run(["pull", &liar.name()]).code(1).says(words);
    assert_eq!(client.run(["images", "-q"]).ok(), "");
    assert_eq!(client.blobs(), Vec::<String>::new());
    client.assert_sound();
    liar
}

/// The same, for a registry that lies about its layer alone.
#[track_caller]
fn refused_layer(words: &[&str], told: impl Fn(&Request, &Image) -> Reply + Send + Sync + 'static) -> Liar {
    let image = Image::new(100_000);
    let layer = format!("layer 1 ({})", digest(&image.layer));
    let words: Vec<&str> = [layer.as_str()].iter().chain(words).copied().collect();
    refused(image, &words, move |request, image| {
        if request.path.ends_with(&digest(&image.layer)) { told(request, image) } else { Reply::Honest }
    })
}

fn raw(write: impl FnOnce(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> Reply {
    Reply::Raw(Box::new(move |stream| drop(write(stream))))
}

#[test]
fn wrong_bytes_are_found_by_their_digest() {
    let liar = refused_layer(&["expected digest", "got sha256:"], |_, image| {
        let mut layer = image.layer.clone();
        let middle = layer.len() / 2;
        layer[middle] ^= 1;
        Reply::Answer(200, vec![], layer)
    });
    assert_eq!(liar.asked_for_layer().len(), 1);
}

#[test]
fn a_short_body_is_asked_for_again_a_few_times() {
    let liar = refused_layer(&["it ends after 1000 of "], |request, image| {
        let (layer, resumed) = (image.layer.clone(), request.headers.contains_key("range"));
        raw(move |stream| {
            let length = layer.len();
            if resumed {
                let range = format!("Content-Range: bytes 1000-{}/{length}", length - 1);
                return write!(
                    stream,
                    "HTTP/1.1 206 OK\r\n{range}\r\nContent-Length: {}\r\n\r\n",
                    length - 1000
                );
            }
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
            stream.write_all(&layer[..1000])
        })
    });
    assert_eq!(liar.asked_for_layer().len(), 5);
}

#[test]
fn an_endless_body_ends_where_the_manifest_says() {
    refused_layer(&["expected digest"], |_, _| {
        raw(|stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "1000\r\n")?;
                stream.write_all(&[b'x'; 0x1000])?;
                write!(stream, "\r\n")?;
            }
        })
    });
}

#[test]
fn a_wrong_length_is_not_read() {
    refused_layer(&["bytes instead of"], |_, image| {
        Reply::Answer(200, vec![], [image.layer.as_slice(), b"more"].concat())
    });
}

#[test]
fn redirects_do_not_go_round_for_ever() {
    let liar = refused_layer(&["redirects more than 5 times"], |request, _| {
        Reply::Answer(307, vec![("Location", request.path.clone())], vec![])
    });
    assert_eq!(liar.asked_for_layer().len(), 6);
}

#[test]
fn who_is_never_satisfied_is_not_asked_for_ever() {
    let liar = refused(Image::new(10), &["pull access denied for app"], |request, _| {
        let bearer = "Bearer realm=\"http://127.0.0.1:9/token\"";
        let basic = vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())];
        match request.path.as_str() {
            "/v2/" => Reply::Answer(401, vec![("WWW-Authenticate", bearer.to_owned())], vec![]),
            _ => Reply::Answer(401, basic, vec![]),
        }
    });
    assert_eq!(liar.asked("manifests").len(), 1);
}

#[test]
fn tokens_that_do_not_help_are_not_asked_for_again() {
    let client = Client::new();
    let liar = Liar::start(Image::new(10), |request, _| match request.path.as_str() {
        path if path.starts_with("/token") => Reply::Answer(200, vec![], br#"{"token": "t"}"#.to_vec()),
        _ => {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.headers["host"]);
            Reply::Answer(401, vec![("WWW-Authenticate", realm)], vec![])
        }
    });
    client.run(["pull", &liar.name()]).code(1).says(&["pull access denied for app", "401"]);
    assert_eq!((liar.asked("/token").len(), liar.asked("manifests").len()), (1, 2));
}

#[test]
fn a_busy_registry_is_waited_for() {
    for status in [429, 503] {
        let (client, busy) = (Client::new(), AtomicUsize::new(0));
        let liar = Liar::start(Image::new(10), move |_, _| {
            if busy.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
                return Reply::Answer(status, vec![("Retry-After", "0".to_owned())], vec![]);
            }
            Reply::Honest
        });
        client.run(["pull", "-q", &liar.name()]).ok();
        client.assert_sound();
    }
    let words = ["answers 429", "try again in 100000 seconds"];
    let liar =
        refused_layer(&words, |_, _| Reply::Answer(429, vec![("Retry-After", "100000".to_owned())], vec![]));
    assert_eq!(liar.asked_for_layer().len(), 1);
    let liar = refused_layer(&["answers 503"], |_, _| Reply::Answer(503, vec![], vec![]));
    assert_eq!(liar.asked_for_layer().len(), 5);
}

#[test]
fn a_first_contact_that_breaks_is_made_again() {
    let (client, liar) = (Client::new(), Liar::start(Image::new(10), |_, _| Reply::Honest));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let name = format!("{}/app:1", listener.local_addr().expect("an address"));
    let address = liar.address.clone();
    std::thread::spawn(move || {
        // The first wants TLS.
        for (count, mut stream) in listener.incoming().flatten().enumerate() {
            let address = address.clone();
            std::thread::spawn(move || match count {
                // The end of a connection with bytes that were not read resets it.
                0..3 => std::thread::sleep(Duration::from_millis(100)),
                _ => tunnel(&mut stream, &address),
            });
        }
    });
    client.run(["pull", "-q", &name]).ok();
}

#[test]
fn who_says_nothing_is_left() {
    refused_layer(&["said nothing for 1 seconds"], |_, _| {
        raw(|_| {
            // As long as the client has patience.
            std::thread::sleep(Duration::from_secs(100));
            Ok(())
        })
    });
}

#[test]
fn who_says_little_is_left() {
    refused_layer(&["too slow"], |_, image| {
        let layer = image.layer.clone();
        raw(move |stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len())?;
            for byte in layer {
                stream.write_all(&[byte])?;
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        })
    });
}

/// Writes a head and then a byte now and then.
fn trickle(status: u16, bytes: Vec<u8>) -> Reply {
    raw(move |stream| {
        write!(stream, "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n", bytes.len())?;
        for byte in bytes {
            stream.write_all(&[byte])?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })
}

#[test]
fn who_says_little_of_an_error_is_left() {
    let begun = Instant::now();
    refused_layer(&["answers 500"], |_, _| trickle(500, vec![b' '; 10_000]));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn who_says_little_of_what_we_have_is_left() {
    let begun = Instant::now();
    refused_layer(&["too slow"], |request, image| {
        let layer = image.layer.clone();
        if request.headers.contains_key("range") {
            return trickle(200, layer);
        }
        raw(move |stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len())?;
            stream.write_all(&layer[..50_000])
        })
    });
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

/// A server that asks for a user name and a password, or a token.
fn curious(challenge: fn(&str) -> String) -> Liar {
    Liar::start(Image::new(10), move |request, _| {
        if request.path.starts_with("/token") {
            return Reply::Answer(200, vec![], br#"{"token": "t"}"#.to_vec());
        }
        let challenge = challenge(&request.headers["host"]);
        Reply::Answer(401, vec![("WWW-Authenticate", challenge)], vec![])
    })
}

/// Ways to ask who we are.
const CURIOUS: [fn(&str) -> String; 2] = [
    |_| "Basic realm=\"x\"".to_owned(),
    |host| format!("Bearer realm=\"http://{host}/token\",service=\"s\""),
];

/// Asserts that a server was asked once, and not told who we are.
#[track_caller]
fn assert_was_told_nothing(elsewhere: &Liar) {
    let asked = elsewhere.asked("");
    assert!(asked.len() == 1 && asked[0].authorization().is_empty(), "{asked:?}");
}

/// A registry that knows alice alone, and for her does as `told`.
fn guarded(image: Image, told: impl Fn(&Request, &Image) -> Reply + Send + Sync + 'static) -> Liar {
    Liar::start(image, move |request, image| {
        if request.authorization() == "Basic YWxpY2U6c2U6Y3JldA==" {
            return told(request, image);
        }
        Reply::Answer(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())], vec![])
    })
}

#[test]
fn a_redirect_does_not_find_out_who_we_are() {
    for challenge in CURIOUS {
        let (client, elsewhere) = (Client::new(), curious(challenge));
        let there = format!("http://{}/blob", elsewhere.address);
        let liar = guarded(Image::new(10), move |request, image| {
            if request.path.ends_with(&digest(&image.layer)) {
                return Reply::Answer(307, vec![("Location", there.clone())], vec![]);
            }
            Reply::Honest
        });
        client.be_alice(&liar.address);
        let leads = format!("it leads to http://{}, which wants to know who we are", elsewhere.address);
        client.run(["pull", &liar.name()]).code(1).says(&["layer 1", &leads]);
        assert_was_told_nothing(&elsewhere);
        client.assert_sound();
    }
}

/// A client that has an image `REGISTRY/pushed:1`.
fn with_image(registry: &str) -> Client {
    let (client, liar) = (Client::new(), Liar::start(Image::new(10), |_, _| Reply::Honest));
    client.run(["pull", "-q", &liar.name()]).ok();
    client.run(["tag", &liar.name(), &format!("{registry}/pushed:1")]).ok();
    client
}

#[test]
fn an_upload_does_not_find_out_who_we_are() {
    for challenge in CURIOUS {
        let elsewhere = curious(challenge);
        let there = format!("http://{}/upload", elsewhere.address);
        let liar = guarded(Image::new(10), move |request, _| {
            if request.method == "POST" {
                return Reply::Answer(202, vec![("Location", there.clone())], vec![]);
            }
            taking(request)
        });
        let client = with_image(&liar.address);
        client.be_alice(&liar.address);
        let leads = format!("it leads to http://{}, which wants to know who we are", elsewhere.address);
        client.run(["push", &format!("{}/pushed:1", liar.address)]).code(1).says(&["a layer", &leads]);
        assert_was_told_nothing(&elsewhere);
    }
}

#[test]
fn plain_http_is_for_this_machine_alone() {
    let words = ["it leads to http://registry.invalid, and plain http is for this machine alone", "insecure"];
    let elsewhere = |path: &str| ("Location", format!("http://registry.invalid/{path}"));
    refused_layer(&words, move |_, _| Reply::Answer(307, vec![elsewhere("blob")], vec![]));
    let realm = "Bearer realm=\"http://registry.invalid/token\"".to_owned();
    refused(Image::new(10), &["a token", words[0]], move |_, _| {
        Reply::Answer(401, vec![("WWW-Authenticate", realm.clone())], vec![])
    });
    let liar = Liar::start(Image::new(10), move |request, _| match request.method.as_str() {
        "POST" => Reply::Answer(202, vec![elsewhere("upload")], vec![]),
        _ if request.path.ends_with("/tags/list") => {
            let next = ("Link", "<http://registry.invalid/more>; rel=\"next\"".to_owned());
            Reply::Answer(200, vec![next], br#"{"tags": ["1"]}"#.to_vec())
        }
        _ => taking(request),
    });
    let client = with_image(&liar.address);
    client.run(["push", &format!("{}/pushed:1", liar.address)]).code(1).says(&["a layer", words[0]]);
    let repository = format!("{}/app", liar.address);
    client.run(["pull", "-a", &repository]).code(1).says(&["the tags of", words[0]]);
}

#[test]
fn https_does_not_lead_to_plain_http() {
    let elsewhere = Liar::start(Image::new(10), |_, _| Reply::Honest);
    let server = Server::redirecting(&format!("http://{}/", elsewhere.address));
    let client = with_image(&server.address);
    client.configure(&json!({"registries": {&server.address: {"ca": server.authority()}}}));
    client.be_alice(&server.address);
    let name = server.name("pushed:1");
    client.run(["push", &name]).ok();
    client.run(["image", "prune", "-af"]).ok();
    let leads = format!("it leads from https to http://{}, which is less secure", elsewhere.address);
    client.run(["pull", &name]).code(1).says(&["the config of", &leads]);
    assert!(elsewhere.asked("").is_empty());
}

#[test]
fn an_upload_that_breaks_begins_again() {
    let broken = AtomicUsize::new(0);
    let liar = Liar::start(Image::new(10), move |request, _| {
        if request.method == "PATCH" && broken.fetch_add(1, Ordering::Relaxed) == 0 {
            return Reply::Answer(502, vec![], vec![]);
        }
        taking(request)
    });
    let client = with_image(&liar.address);
    client.run(["push", &format!("{}/pushed:1", liar.address)]).ok();
    let asked = liar.asked("/blobs/");
    let methods: Vec<&str> = asked.iter().map(|request| request.method.as_str()).collect();
    // The layer, and then the config.
    let whole = ["POST", "PATCH", "PUT"];
    assert_eq!(methods, [&["HEAD", "POST", "PATCH"], &whole[..], &["HEAD"], &whole].concat());
}

#[test]
fn a_range_that_was_not_asked_for_is_no_answer() {
    refused_layer(&["it was asked for \"bytes 1000-"], |request, image| {
        let layer = image.layer.clone();
        if request.headers.contains_key("range") {
            let range = format!("bytes 0-{}/{}", layer.len() - 1, layer.len());
            return Reply::Answer(206, vec![("Content-Range", range)], layer);
        }
        raw(move |stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len())?;
            stream.write_all(&layer[..1000])
        })
    });
}

/// Pulls an image with another manifest.
#[track_caller]
fn refused_manifest(manifest: Vec<u8>, words: &[&str]) -> Liar {
    let image = Image { manifest, ..Image::new(10) };
    refused(image, words, |_, _| Reply::Honest)
}

#[test]
fn manifests_are_bounded() {
    let mut huge = br#"{"schemaVersion": 2, "x": ""#.to_vec();
    huge.resize(100 << 20, b'x');
    refused_manifest(huge, &["the manifest of", "longer than"]);
    let image = Image::new(10);
    let many = vec![Image::describe(&image.layer); 10_000];
    let many = Image::manifest(&image.config, json!(many)).to_string();
    refused_manifest(many.into_bytes(), &["it has 10000 layers; the most that Moat takes is 256"]);
}

#[test]
fn sizes_are_checked() {
    let image = Image::new(10);
    for (size, words) in [
        (json!(-1), &["the manifest of", "invalid value"][..]),
        (json!(u64::MAX), &["layer 1", "the most that Moat takes is 64 GiB"]),
        (json!(1_u64 << 35), &["not enough room in"]),
        (json!(image.layer.len() - 1), &["layer 1", "bytes instead of"]),
        (json!("10"), &["the manifest of", "invalid type"]),
    ] {
        let mut layer = Image::describe(&image.layer);
        layer["size"] = size.clone();
        let manifest = Image::manifest(&image.config, json!([layer])).to_string();
        if size == json!(1_u64 << 35) && free_space() > 1 << 35 {
            continue;
        }
        refused_manifest(manifest.into_bytes(), words);
    }
}

fn free_space() -> u64 {
    let figures = nix::sys::statvfs::statvfs(&std::env::temp_dir()).expect("figures");
    figures.blocks_available() * figures.fragment_size()
}

#[test]
fn bytes_from_elsewhere_are_not_fetched() {
    let elsewhere = Liar::start(Image::new(10), |_, _| Reply::Honest);
    let image = Image::new(10);
    let mut layer = Image::describe(b"somewhere else");
    layer["urls"] = json!([format!("http://{}/foreign", elsewhere.address)]);
    layer["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    let foreign = Image::manifest(&image.config, json!([layer.clone()])).to_string();
    refused_manifest(foreign.into_bytes(), &["unknown media type"]);
    layer["mediaType"] = json!("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    let foreign = Image::manifest(&image.config, json!([layer])).to_string();
    refused_manifest(foreign.into_bytes(), &["layer 1", "answers 404"]);
    assert!(elsewhere.asked("/foreign").is_empty());
}

#[test]
fn what_is_asked_for_by_digest_has_it() {
    let client = Client::new();
    let liar = Liar::start(Image::new(10), |_, _| Reply::Honest);
    let name = format!("{}/app@{}", liar.address, digest(b"something else"));
    client.run(["pull", &name]).code(1).says(&["expected digest", &digest(&liar.image.manifest)]);
    let name = format!("{}/app@{}", liar.address, digest(&liar.image.manifest));
    assert_eq!(client.run(["pull", "-q", &name]).ok(), format!("{name}\n"));
    assert_eq!(client.run(["images", "-q", "--no-trunc"]).ok(), digest(&liar.image.config) + "\n");
}

#[test]
fn what_a_broken_pull_left_is_gone_on_with() {
    let (client, times) = (Client::new(), AtomicUsize::new(0));
    let liar = Liar::start(Image::new(300_000), move |request, image| {
        if !request.path.ends_with(&digest(&image.layer)) || times.fetch_add(1, Ordering::Relaxed) > 5 {
            return Reply::Honest;
        }
        if request.headers.contains_key("range") {
            return Reply::Answer(500, vec![], vec![]);
        }
        let layer = image.layer.clone();
        raw(move |stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len())?;
            stream.write_all(&layer[..100_000])
        })
    });
    client.run(["pull", &liar.name()]).code(1).says(&["layer 1", "answers 500"]);
    client.assert_sound();
    let kept = client.moat.root().join("partial").join(&digest(&liar.image.layer)[7..]);
    let kept = std::fs::metadata(kept).expect("what came is kept").len();
    assert!(kept > 0 && kept <= 100_000, "{kept}");
    let answer = loop {
        let answer = client.run(["pull", &liar.name()]);
        if answer.code == 0 {
            break answer.ok();
        }
    };
    assert!(answer.contains("Pull complete"), "{answer}");
    let ranges: Vec<_> =
        liar.asked_for_layer().iter().filter_map(|request| request.headers.get("range").cloned()).collect();
    assert_eq!(ranges.last().map(String::as_str), Some(format!("bytes={kept}-").as_str()), "{ranges:?}");
    assert_eq!(client.partial(), Vec::<String>::new());
    client.assert_sound();
}

#[test]
fn a_blob_that_changed_between_two_attempts_is_fetched_anew() {
    let (client, times) = (Client::new(), AtomicUsize::new(0));
    let liar = Liar::start(Image::new(300_000), move |request, image| {
        if !request.path.ends_with(&digest(&image.layer)) {
            return Reply::Honest;
        }
        match times.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let layer = image.layer.clone();
                raw(move |stream| {
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len())?;
                    // Gzip as far as one can see, and wrong.
                    stream.write_all(&layer[..1000])?;
                    stream.write_all(&[0x55; 99_000])
                })
            }
            1 => Reply::Answer(500, vec![], vec![]),
            _ => Reply::Honest,
        }
    });
    client.run(["pull", &liar.name()]).code(1).says(&["layer 1"]);
    client.run(["pull", &liar.name()]).ok();
    client.assert_sound();
    let last = liar.asked_for_layer().pop().expect("it was asked");
    assert!(!last.headers.contains_key("range"), "{last:?}");
}

#[test]
fn two_pulls_share_one_download() {
    let client = Client::new();
    let liar = Liar::start(Image::new(3_000_000), |request, image| {
        if request.path.ends_with(&digest(&image.layer)) {
            let layer = image.layer.clone();
            return raw(move |stream| {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len())?;
                for piece in layer.chunks(100_000) {
                    stream.write_all(piece)?;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            });
        }
        Reply::Honest
    });
    let pulls: Vec<_> = ["1", "2", "3"]
        .map(|tag| {
            client.command(["pull", &format!("{}/app:{tag}", liar.address)]).spawn().expect("moat starts")
        })
        .into_iter()
        .collect();
    for pull in pulls {
        let output = pull.wait_with_output().expect("output");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(liar.asked_for_layer().len(), 1);
    assert_eq!(client.run(["images", "-q"]).ok().lines().count(), 1);
    assert_eq!(client.run(["images"]).ok().lines().count(), 4);
    client.assert_sound();
}
