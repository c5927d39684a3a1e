//! `moat create`.

use std::process::ExitCode;

use moat_engine::Engine;
use moat_engine::Root;

use super::cidfile::CidFile;
use super::container_args::ContainerArgs;
use super::pull::PullArgs;

/// Create a container that waits to be started
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "moat create [OPTIONS] IMAGE [COMMAND] [ARG]...",
    after_help = "Examples:
  moat create --name web localhost/nginx
  moat start web"
)]
pub struct Args {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    image: PullArgs,
    #[command(flatten)]
    container: ContainerArgs,
}

/// Creates a container and prints its id.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let cidfile = CidFile::create(args.container.cidfile.as_deref())?;
    let engine = Engine::open(root)?;
    let image = args.image.ensure(args.container.image(), &engine)?;
    let container = engine.create(&image, args.container.options(true)?)?;
    cidfile.write(container.id().as_str())?;
    say!("{}", container.id());
    Ok(ExitCode::SUCCESS)
}
