//! `moat network inspect`.

use std::io::{self, Write};
use std::process::ExitCode;

use moat_docker::inspect::array;
use moat_docker::network::inspect::object;
use moat_docker::network::none;
use moat_docker::template::Template;
use moat_engine::{Engine, EngineError, Root};
use serde_json::Value;

/// Show everything about networks
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network inspect shop
  moat network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' shop
  moat network inspect -f '{{range .Containers}}{{.Name}} {{end}}' shop")]
pub struct Args {
    /// A Go template for each, or `json`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// For those who know it from Docker
    #[arg(short, long)]
    verbose: bool,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Prints an array with an object for each network, or what the template makes of each.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let template = format.filter(|format| *format != "json").map(Template::parse).transpose()?;
    let engine = Engine::open(root)?;
    let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for name in &args.networks {
        match find(&engine, name) {
            Ok(network) => found.push(network),
            Err(e) => {
                crate::complain(e);
                code = ExitCode::FAILURE;
            }
        }
    }
    match template {
        None => io::stdout().write_all(&array(&found, format.is_none())?)?,
        Some(template) => {
            for object in &found {
                crate::shown::write(&(template.apply(object)? + "\n"))?;
            }
        }
    }
    Ok(code)
}

/// The network of this name, or with an id that begins so, as it is shown.
///
/// # Errors
/// When there is none, or a record cannot be read.
pub fn find(engine: &Engine, name: &str) -> Result<Value, EngineError> {
    // Looking at the containers repairs what crashes left on networks.
    let containers = engine.list()?;
    if name == none::NAME {
        return Ok(none::object(&containers));
    }
    let networks = engine.networks();
    let network = networks.find(name)?;
    Ok(object(&network, &networks.attachments()?))
}
