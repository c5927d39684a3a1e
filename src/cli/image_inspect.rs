//! `moat image inspect`.

use std::io::{self, Write};
use std::process::ExitCode;

use moat::root::Root;
use moat::store::{Image, ImageStore, Reference};
use serde_json::{Map, Value, json};

use super::template::Template;

/// Show everything about images
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat image inspect nginx
  moat image inspect --format '{{.Id}}' nginx
  moat image inspect --format '{{json .Config.Cmd}}' 1a2b3c4d5e6f")]
pub struct Args {
    /// A Go template for each image, or `json`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// The fields of a config that Docker leaves out of its JSON when they are empty, but that templates may name.
const OPTIONAL: [&str; 6] = ["ExposedPorts", "Healthcheck", "Shell", "StopSignal", "OnBuild", "ArgsEscaped"];

/// Prints an array with an object for each image that there is, or what the template makes of each.
pub fn run(args: Args, root: &Root) -> anyhow::Result<ExitCode> {
    let store = ImageStore::open(root)?;
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let mut code = ExitCode::SUCCESS;
    let mut objects = Vec::new();
    for name in &args.images {
        match store.resolve(name) {
            Ok(image) => objects.push(object(&image)),
            Err(e) => {
                eprintln!("moat: {e}");
                code = ExitCode::FAILURE;
            }
        }
    }
    let mut output = io::stdout().lock();
    match template {
        Some(template) => {
            for object in &objects {
                writeln!(output, "{}", template.apply(object)?)?;
            }
        }
        None => {
            objects.iter_mut().for_each(leave_out_empty);
            serde_json::to_writer_pretty(&mut output, &objects)?;
            writeln!(output)?;
        }
    }
    Ok(code)
}

/// Docker's names for an image's properties.
fn object(image: &Image) -> Value {
    let (pulled, tagged): (Vec<_>, Vec<_>) =
        image.references.iter().partition(|name| name.digest().is_some());
    let familiar = |names: Vec<&Reference>| names.into_iter().map(Reference::familiar).collect::<Vec<_>>();
    let layers: Vec<_> = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": familiar(tagged),
        "RepoDigests": familiar(pulled),
        "Comment": image.document.get("comment").cloned().unwrap_or_else(|| json!("")),
        "Created": text(image.config.created().as_ref()),
        "Author": text(image.config.author().as_ref()),
        "Architecture": image.config.architecture().to_string(),
        "Variant": text(image.config.variant().as_ref()),
        "Os": image.config.os().to_string(),
        "Size": image.size(),
        "Config": config(image),
        "RootFS": {"Type": image.config.rootfs().typ(), "Layers": layers},
    })
}

/// The config as the image has it, and the fields that Docker always has.
fn config(image: &Image) -> Value {
    let mut config = Map::new();
    for (field, empty) in [
        ("User", json!("")),
        ("Env", json!([])),
        ("Cmd", Value::Null),
        ("Entrypoint", Value::Null),
        ("Volumes", Value::Null),
        ("WorkingDir", json!("")),
        ("Labels", Value::Null),
    ] {
        config.insert(field.to_owned(), empty);
    }
    config.extend(OPTIONAL.map(|field| (field.to_owned(), Value::Null)));
    if let Some(Value::Object(own)) = image.document.get("config") {
        config.extend(own.clone());
    }
    Value::Object(config)
}

fn leave_out_empty(object: &mut Value) {
    if let Some(Value::Object(config)) = object.get_mut("Config") {
        config.retain(|field, value| !(value.is_null() && OPTIONAL.contains(&field.as_str())));
    }
    if let Value::Object(fields) = object {
        fields.retain(|field, value| !(field == "Variant" && value.as_str() == Some("")));
    }
}
