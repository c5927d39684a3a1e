//! A registry of one image that does as it is told, also wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Arc<[u8]>,
}

impl Request {
    /// Its `Authorization` header.
    pub fn authorization(&self) -> &str {
        self.headers.get("authorization").map(String::as_str).unwrap_or_default()
    }
}

/// What is answered.
pub enum Reply {
    /// What an honest registry would.
    Honest,
    /// A status, headers and a body, with the right length.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// What this writes.
    Raw(Box<dyn FnOnce(&mut TcpStream) + Send>),
}

/// The image.
#[derive(Debug, Clone)]
pub struct Image {
    pub layer: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

/// The registry. Its threads end with the test program.
pub struct Liar {
    /// `127.0.0.1:PORT`.
    pub address: String,
    pub image: Image,
    asked: Arc<Mutex<Vec<Request>>>,
}

/// `sha256:` and the digits.
pub fn digest(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// What a registry answers that has no blob and takes each.
pub fn taking(request: &Request) -> Reply {
    let at =
        vec![("Location", format!("{}1?state=x", request.path.split("uploads/").next().unwrap_or_default()))];
    match request.method.as_str() {
        "HEAD" => Reply::Answer(404, vec![], vec![]),
        "POST" | "PATCH" => Reply::Answer(202, at, vec![]),
        "PUT" => Reply::Answer(201, vec![], vec![]),
        _ => Reply::Honest,
    }
}

/// Carries everything between `stream` and a server, until one of them has had enough.
pub fn tunnel(stream: &mut TcpStream, address: &str) {
    let mut there = TcpStream::connect(address).expect("the server listens");
    let (mut asked, mut wanted) =
        (stream.try_clone().expect("a stream"), there.try_clone().expect("a stream"));
    thread::spawn(move || std::io::copy(&mut asked, &mut wanted));
    let _ = std::io::copy(&mut there, stream);
    let _ = stream.shutdown(Shutdown::Both);
}

impl Image {
    /// An image whose layer has `size` bytes that no compression makes smaller.
    pub fn new(size: usize) -> Self {
        let mut state = 1_u64;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(size)
        .collect();
        let mut header = tar::Header::new_ustar();
        header.set_size(size as u64);
        header.set_mode(0o644);
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_data(&mut header, "file", &content[..]).expect("a tar");
        let tar = tar.into_inner().expect("a tar");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).expect("gzip");
        let layer = gzip.finish().expect("gzip");
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]},
        });
        let config = config.to_string().into_bytes();
        let manifest = Self::manifest(&config, json!([Self::describe(&layer)])).to_string().into_bytes();
        Self { layer, config, manifest }
    }

    /// A layer's line in the manifest.
    pub fn describe(layer: &[u8]) -> Value {
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest(layer), "size": layer.len(),
        })
    }

    /// A manifest with these layers.
    pub fn manifest(config: &[u8], layers: Value) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(config), "size": config.len(),
            },
            "layers": layers,
        })
    }

    fn honest(&self, request: &Request) -> Reply {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let blob = [&self.layer, &self.config].into_iter().find(|blob| digest(blob) == last);
        if request.path == "/v2/" {
            return Reply::Answer(200, vec![], vec![]);
        }
        if request.path.contains("/manifests/") {
            let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
            return Reply::Answer(200, vec![("Content-Type", kind)], self.manifest.clone());
        }
        let Some(blob) = blob else { return Reply::Answer(404, vec![], b"{}".to_vec()) };
        let offset = request
            .headers
            .get("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        match offset {
            None => Reply::Answer(200, vec![], blob.clone()),
            Some(offset) => {
                let range = format!("bytes {offset}-{}/{}", blob.len() - 1, blob.len());
                Reply::Answer(206, vec![("Content-Range", range)], blob[offset..].to_vec())
            }
        }
    }
}

impl Liar {
    /// Starts one that answers as `told`.
    pub fn start(image: Image, told: impl Fn(&Request, &Image) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (told, log, served) = (Arc::new(told), Arc::clone(&asked), image.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (told, log, image) = (Arc::clone(&told), Arc::clone(&log), served.clone());
                thread::spawn(move || {
                    // A client that hangs up is the client's business.
                    let _ = serve(stream, &image, &*told, &log);
                });
            }
        });
        Self { address, image, asked }
    }

    /// A name of its image.
    pub fn name(&self) -> String {
        format!("{}/app:1", self.address)
    }

    /// What it was asked whose path has `part`.
    pub fn asked(&self, part: &str) -> Vec<Request> {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().filter(|request| request.path.contains(part)).cloned().collect()
    }

    /// What it was asked for its layer.
    pub fn asked_for_layer(&self) -> Vec<Request> {
        self.asked(&digest(&self.image.layer))
    }
}

fn serve(
    mut stream: TcpStream,
    image: &Image,
    told: &(dyn Fn(&Request, &Image) -> Reply + Send + Sync),
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    (&mut reader).take(8 << 10).read_line(&mut line)?;
    // A client that tries TLS first hears what it would hear from any such server: nothing it understands.
    let mut words = line.split(' ');
    let (Some(method), Some(path), Some(_)) = (words.next(), words.next(), words.next()) else {
        return Ok(());
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut request = Request { method, path, headers: BTreeMap::new(), body: Arc::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    let length = request.headers.get("content-length").and_then(|length| length.parse().ok());
    reader.take(length.unwrap_or(0)).read_to_end(&mut body)?;
    request.body = body.into();
    log.lock().expect("no panic").push(request.clone());
    let reply = match told(&request, image) {
        Reply::Honest => image.honest(&request),
        other => other,
    };
    match reply {
        Reply::Answer(status, headers, body) => {
            write!(
                stream,
                "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {}\r\n",
                body.len()
            )?;
            for (name, value) in headers {
                write!(stream, "{name}: {value}\r\n")?;
            }
            stream.write_all(b"\r\n")?;
            stream.write_all(&body)
        }
        Reply::Raw(write) => {
            write(&mut stream);
            Ok(())
        }
        Reply::Honest => Ok(()),
    }
}
