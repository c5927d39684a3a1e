//! `moat history`.

use std::process::ExitCode;

use jiff::Timestamp;
use moat_docker::history::{Shown, headers, rows};
use moat_docker::template::Template;
use moat_engine::{Engine, Root};

/// Show how an image came about, the last step first
///
/// The fields for --format are .ID .CreatedSince .CreatedAt .CreatedBy .Size .Comment.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat history nginx
  moat history --no-trunc nginx
  moat history --format '{{.CreatedBy}}' nginx")]
pub struct Args {
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Sizes and dates for people; with =false in bytes and as timestamps
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    human: bool,
    /// `table TEMPLATE`, a Go template, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name, id, or the beginning of an id
    image: String,
}

/// Prints a line for each step.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let image = Engine::open(root.clone())?.image(&args.image)?;
    let shown = Shown { whole: args.no_trunc, human: args.human };
    let objects = rows(&image, shown, Timestamp::now());
    let format = args.format.as_deref().filter(|format| *format != "table");
    let format = format.unwrap_or(shown.default_format(args.quiet));
    let text = Template::parse(format)?.list(&objects, &headers())?;
    crate::shown::write(&text)?;
    Ok(ExitCode::SUCCESS)
}
