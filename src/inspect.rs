//! `moat inspect`, `moat container inspect` and `moat image inspect`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::ValueEnum;
use moat_docker::inspect::container::Facts;
use moat_docker::inspect::{array, container, image, mark_durations};
use moat_docker::ps::Sizes;
use moat_docker::template::Template;
use moat_engine::Container;
use moat_engine::Root;
use moat_engine::{Engine, ErrorKind};
use serde_json::Value;

use crate::shown;

/// Show everything about containers, images and networks
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
    Network,
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
    match template {
        Some(template) => {
            let mut text = String::new();
            for (_, object) in &mut found {
                mark_durations(object);
                match template.apply(object) {
                    Ok(line) => text += &(line + "\n"),
                    Err(e) => errors.push(e.into()),
                }
            }
            // Docker's empty line, when there is nothing to say.
            shown::write(if text.is_empty() { "\n" } else { &text })?;
        }
        None => {
            let objects: Vec<Value> =
                found.into_iter().map(|(kind, object)| complete(kind, object)).collect();
            let mut output = io::stdout().lock();
            output.write_all(&array(&objects, format.is_none())?)?;
            output.flush()?;
        }
    }
    errors.iter().for_each(|e| crate::complain(crate::explain(e)));
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As it is in JSON, without what Docker leaves out there.
fn complete(kind: Kind, mut object: Value) -> Value {
    match kind {
        Kind::Container => container::leave_out_empty(&mut object),
        Kind::Image => image::leave_out_empty(&mut object),
        Kind::Network => {}
    }
    object
}

/// The container or, if there is none, the image, or else the network of this name.
fn object(engine: &Engine, name: &str, args: &Args) -> anyhow::Result<(Kind, Value)> {
    if args.kind == Some(Kind::Network) {
        return Ok((Kind::Network, super::network::inspect::find(engine, name)?));
    }
    if args.kind != Some(Kind::Image) {
        match engine.find(name) {
            Ok(container) => {
                let facts = facts(engine, &container, args.size)?;
                return Ok((Kind::Container, container::object(&container, &facts)));
            }
            Err(e) if e.kind() == ErrorKind::NotFound && args.kind.is_none() => {}
            Err(e) => return Err(e.into()),
        }
    }
    let image = if args.kind.is_none() { engine.find_image(name)? } else { Some(engine.image(name)?) };
    if let Some(image) = image {
        return Ok((Kind::Image, image::object(&image)));
    }
    match super::network::inspect::find(engine, name) {
        Ok(network) => Ok((Kind::Network, network)),
        // Of what is none of these, not even its kind is known.
        Err(e) if e.kind() == ErrorKind::NotFound => Err(anyhow!("No such object: {name}")),
        Err(e) => Err(e.into()),
    }
}

/// What is not in the container's records.
fn facts(engine: &Engine, container: &Container, size: bool) -> anyhow::Result<Facts> {
    let sizes = size.then(|| {
        let written = engine.written(container);
        let image = engine.image(&container.config.image_id).map_or(0, |image| image.size());
        Sizes { written, whole: written + image }
    });
    let pid = engine.vm_process(container).unwrap_or(0);
    Ok(Facts { pid, attachment: engine.attachment(container)?, sizes })
}
