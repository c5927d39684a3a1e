//! `index LAYER.tar... -o OUT [--dump]`: builds the index of an image and says how long it took.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use moat_rootfs::Tree;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("index: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut layers = Vec::new();
    let mut out = None;
    let mut dump = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-o" => out = arguments.next(),
            "--dump" => dump = true,
            layer => layers.push(File::open(layer).map_err(|error| format!("{layer}: {error}"))?),
        }
    }
    let Some(out) = out.filter(|_| !layers.is_empty()) else {
        return Err("usage: index LAYER.tar... -o OUT [--dump]".into());
    };
    let start = Instant::now();
    let tree = Tree::from_layers(&mut layers)?;
    let merged = start.elapsed();
    let index = tree.index()?;
    index.write_to(&mut File::create(&out)?)?;
    let total = start.elapsed();
    let layer_bytes: u64 = tree.layer_lens().iter().sum();
    println!(
        "{} files in {} layers of {layer_bytes} bytes: index of {} bytes in {:.1} ms (merging {:.1} ms)",
        index.inodes(),
        layers.len(),
        index.bytes().len(),
        total.as_secs_f64() * 1e3,
        merged.as_secs_f64() * 1e3,
    );
    if dump {
        let mut text = String::new();
        tree.dump(&mut text)?;
        std::io::stdout().write_all(text.as_bytes())?;
    }
    Ok(())
}
