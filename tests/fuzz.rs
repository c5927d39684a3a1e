//! The fuzz targets, without a fuzzer: on their corpus, and on what a fixed sequence of changes makes of it.

use std::path::Path;

#[path = "../fuzz/functions.rs"]
mod functions;

/// How many changed inputs each target gets.
const ROUNDS: usize = 20_000;
/// The longest input that changes may make, in bytes.
const MAX_LENGTH: usize = 64 << 10;

/// Numbers that are the same each time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("48 bits") % limit.max(1)
    }
}

/// What a fuzzer does to its inputs: bits, bytes, pieces out, pieces in, pieces of others.
fn change(input: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    let at = numbers.below(input.len());
    let length = numbers.below(input.len() - at).min(1 + numbers.below(64));
    match numbers.below(6) {
        0 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
        1 if !input.is_empty() => input[at] = [0, 0xff, b'0', b'7', b'/', b':', b'-'][numbers.below(7)],
        2 => drop(input.drain(at..at + length)),
        3 => {
            let piece = input[at..at + length].to_vec();
            input.splice(at..at, piece);
        }
        4 => {
            let from = numbers.below(other.len());
            let piece = &other[from..(from + length).min(other.len())];
            input.splice(at..at, piece.iter().copied());
        }
        _ => input.truncate(at),
    }
    input.truncate(MAX_LENGTH);
}

fn run(target: &str, function: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("an input")).collect();
    corpus.iter().for_each(|input| function(input));
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..ROUNDS {
        let mut input = corpus[numbers.below(corpus.len())].clone();
        for _ in 0..=numbers.below(4) {
            let other = &corpus[numbers.below(corpus.len())];
            change(&mut input, other, &mut numbers);
        }
        function(&input);
    }
}

#[test]
fn layers_become_an_index_or_an_error() {
    run("layer_index", functions::layer_index);
}

#[test]
fn indexes_are_read_or_refused() {
    run("read_index", functions::read_index);
}

#[test]
fn configs_are_read_or_refused() {
    run("image_config", functions::image_config);
}

#[test]
fn names_are_read_or_refused() {
    run("reference", functions::reference);
}
