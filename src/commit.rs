//! `moat commit`.

use std::process::ExitCode;

use moat_engine::archive::CommitRequest;
use moat_engine::image::{Change, Reference};
use moat_engine::{Engine, Root};

/// Make an image from what a container has changed
///
/// The new image has the container's image below it and runs as the container did. What is in volumes and other mounts
/// is not part of it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat commit web localhost/web:patched
  moat commit -m 'with curl' -a 'me@example.com' web localhost/web
  moat commit -c 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' -c 'ENV MODE=fast' web localhost/web")]
pub struct Args {
    /// Who made it
    #[arg(short, long, value_name = "AUTHOR", default_value = "", hide_default_value = true)]
    author: String,
    /// What was done
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// Change the image's config: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// Have the container's processes stand still meanwhile
    #[arg(short, long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pause: bool,
    /// Name, id, or the beginning of an id
    container: String,
    /// The new image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<Reference>,
}

/// Makes the image and prints its id.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let request = CommitRequest {
        name: args.name,
        author: args.author,
        message: args.message,
        changes: args.change,
        pause: args.pause,
    };
    say!("{}", engine.commit(&container, request)?);
    Ok(ExitCode::SUCCESS)
}
