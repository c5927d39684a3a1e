//! Layers that are small until they are unpacked.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress};
use serde_json::json;

use crate::client::Client;
use crate::liar::{Image, Liar, Reply, digest};

/// What is said about all of them.
const WORDS: [&str; 2] = ["layer 1", "expands to more than 4 GiB and 500 times"];

/// How many zeros are compressed once; the result is repeated.
const PIECE: usize = 16 << 20;

/// How often: for more than 4 GiB.
const TIMES: usize = 270;

/// One gzip member.
fn gzip() -> Vec<u8> {
    let mut deflate = Compress::new(Compression::best(), false);
    let mut piece = Vec::with_capacity(PIECE);
    deflate.compress_vec(&vec![0; PIECE], &mut piece, FlushCompress::Full).expect("deflate");
    // After a full flush, the next piece refers to nothing before it.
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], piece.repeat(TIMES).as_slice()].concat()
}

/// Many of them one after the other.
fn gzip_members() -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    member.write_all(&vec![0; PIECE]).expect("gzip");
    member.finish().expect("gzip").repeat(TIMES)
}

/// One zstd frame, each of whose blocks says: 128 KiB of this one byte.
fn zstd() -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    // A window of 16 MiB, no length, no checksum.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 14 << 3];
    let block = u32::try_from(BLOCK << 3 | 1 << 1).expect("24 bits").to_le_bytes();
    frame.extend([block[0], block[1], block[2], 0].repeat(PIECE / BLOCK * TIMES));
    frame
}

/// An image whose one layer is `layer`, under the digest `name`.
fn image(layer: Vec<u8>, name: &str) -> Image {
    let mut line = Image::describe(&layer);
    line["digest"] = json!(name);
    let config = Image::new(10).config;
    let manifest = Image::manifest(&config, json!([line])).to_string().into_bytes();
    Image { layer, config, manifest }
}

#[test]
fn bombs_are_refused_and_leave_nothing() {
    for bomb in [gzip(), gzip_members(), zstd()] {
        let client = Client::new();
        let name = digest(&bomb);
        let liar = Liar::start(image(bomb, &name), |_, _| Reply::Honest);
        client.run(["pull", &liar.name()]).code(1).says(&WORDS);
        assert_eq!(client.run(["images", "-q"]).ok(), "");
        assert_eq!((client.blobs(), client.partial()), (Vec::new(), Vec::new()));
        client.assert_sound();
    }
}

#[test]
fn a_bomb_under_anothers_digest_harms_no_other() {
    let client = Client::new();
    let good = Liar::start(Image::new(200_000), |_, _| Reply::Honest);
    let (bomb, name) = (zstd(), digest(&good.image.layer));
    assert!(bomb.len() < good.image.layer.len());
    let evil = Liar::start(image(bomb.clone(), &name), move |request, image| {
        if request.path.ends_with(&name) {
            Reply::Answer(200, vec![], image.layer.clone())
        } else {
            Reply::Honest
        }
    });
    client.run(["pull", &evil.name()]).code(1).says(&WORDS);
    assert_eq!(client.partial(), Vec::<String>::new());
    client.run(["pull", &good.name()]).ok();
    client.run(["rmi", &good.name()]).ok();
    // The same when the connection broke before the pull could tell what it was.
    let kept = client.moat.root().join("partial").join(&digest(&good.image.layer)[7..]);
    std::fs::write(kept, bomb).expect("a file");
    client.run(["pull", &good.name()]).ok();
    assert_eq!(client.partial(), Vec::<String>::new());
    let asked = good.asked_for_layer();
    assert!(
        asked.len() == 2 && asked.iter().all(|request| !request.headers.contains_key("range")),
        "{asked:?}"
    );
    client.assert_sound();
}
