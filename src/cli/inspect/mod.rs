//! `moat inspect`, `moat container inspect` and `moat image inspect`.

mod container;
mod image;
mod network;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::ValueEnum;
use moat::engine::container::Container;
use moat::engine::{Engine, EngineError};
use moat::root::Root;
use moat::store::StoreError;
use serde_json::Value;

use super::template::Template;

/// Show everything about containers and images
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat inspect web
  moat inspect --type image nginx
  moat inspect -f '{{.State.Status}} {{.State.ExitCode}}' web
  moat inspect -f '{{range $name, $value := .Config.Labels}}{{$name}}={{$value}} {{end}}' web")]
pub struct Args {
    /// A Go template for each, or `json`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show how much containers have written
    #[arg(short, long)]
    size: bool,
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Show everything about containers
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat container inspect web
  moat container inspect -f '{{json .State}}' web")]
pub struct ContainerArgs {
    /// A Go template for each, or `json`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show how much they have written
    #[arg(short, long)]
    size: bool,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Show everything about images
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat image inspect nginx
  moat image inspect --format '{{.Id}}' nginx
  moat image inspect --format '{{json .Config.Cmd}}' 1a2b3c4d5e6f")]
pub struct ImageArgs {
    /// A Go template for each image, or `json`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// What can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
}

impl From<ContainerArgs> for Args {
    fn from(args: ContainerArgs) -> Self {
        Self { format: args.format, size: args.size, kind: Some(Kind::Container), names: args.containers }
    }
}

impl From<ImageArgs> for Args {
    fn from(args: ImageArgs) -> Self {
        Self { format: args.format, size: false, kind: Some(Kind::Image), names: args.images }
    }
}

/// Prints an array with an object for each name, or what the template makes of each. What is not there is an error, and
/// the others are printed all the same.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let template = format.filter(|format| *format != "json").map(Template::parse).transpose()?;
    let engine = Engine::open(root)?;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in &args.names {
        match object(&engine, name, &args) {
            Ok(object) => found.push(object),
            Err(e) => errors.push(e),
        }
    }
    let mut output = io::stdout().lock();
    match template {
        Some(template) => {
            let mut text = String::new();
            for (_, object) in &found {
                match template.apply(object) {
                    Ok(line) => text += &(line + "\n"),
                    Err(e) => errors.push(e),
                }
            }
            // Docker's empty line, when there is nothing to say.
            output.write_all(if text.is_empty() { "\n" } else { &text }.as_bytes())?;
        }
        None => {
            let objects: Vec<Value> =
                found.into_iter().map(|(kind, object)| complete(kind, object)).collect();
            output.write_all(list(&objects, format.is_none())?.as_bytes())?;
        }
    }
    output.flush()?;
    errors.iter().for_each(|e| crate::cli::complain(crate::cli::explain(e)));
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As it is in JSON, without what Docker leaves out there.
fn complete(kind: Kind, mut object: Value) -> Value {
    match kind {
        Kind::Container => container::leave_out_empty(&mut object),
        Kind::Image => image::leave_out_empty(&mut object),
    }
    object
}

/// A JSON array, by Docker's four blanks or without any.
pub fn list(objects: &[Value], indented: bool) -> anyhow::Result<String> {
    use serde::Serialize as _;
    let mut text = Vec::new();
    if indented {
        let layout = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        objects.serialize(&mut serde_json::Serializer::with_formatter(&mut text, layout))?;
    } else {
        serde_json::to_writer(&mut text, objects)?;
    }
    text.push(b'\n');
    Ok(String::from_utf8(text)?)
}

/// The container or, if there is none, the image of this name.
fn object(engine: &Engine, name: &str, args: &Args) -> anyhow::Result<(Kind, Value)> {
    if args.kind != Some(Kind::Image) {
        match engine.find(name.strip_prefix('/').unwrap_or(name)) {
            Ok(container) => {
                let sizes = args.size.then(|| sizes(engine, &container));
                let live = container.state.status.is_live();
                let attachment = if live { engine.networks().attachment(container.id())? } else { None };
                return Ok((Kind::Container, container::object(&container, attachment.as_ref(), sizes)));
            }
            Err(EngineError::NotFound(_)) if args.kind.is_none() => {}
            Err(e) => return Err(e.into()),
        }
    }
    match engine.store().resolve(name) {
        Ok(image) => Ok((Kind::Image, image::object(&image))),
        // Of what is neither, not even its kind is known.
        Err(StoreError::NoSuchImage(_) | StoreError::Reference(_)) if args.kind.is_none() => {
            Err(anyhow!("No such object: {name}"))
        }
        Err(e) => Err(e.into()),
    }
}

/// What a container has written, and that with its image.
fn sizes(engine: &Engine, container: &Container) -> (u64, u64) {
    let written = engine.written(container);
    let image = engine.store().resolve(&container.config.image_id).map_or(0, |image| image.size());
    (written, written + image)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn lists_are_indented_as_dockers() {
        let objects = [json!({"A": 1, "B": []})];
        assert_eq!(super::list(&[], true).unwrap(), "[]\n");
        assert_eq!(super::list(&objects, false).unwrap(), "[{\"A\":1,\"B\":[]}]\n");
        let expected = "[\n    {\n        \"A\": 1,\n        \"B\": []\n    }\n]\n";
        assert_eq!(super::list(&objects, true).unwrap(), expected);
    }
}
