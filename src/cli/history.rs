//! `moat history`.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use moat::root::Root;
use moat::store::{Image, ImageStore};
use serde_json::{Value, json};

use super::human;
use super::template::Template;

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

/// What Docker prints for steps that are no image of their own.
const MISSING: &str = "<missing>";

/// How much of a command is shown.
const COMMAND_WIDTH: usize = 45;

/// Prints a line for each step.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let image = ImageStore::open(root)?.resolve(&args.image)?;
    let objects = steps(&image, args, Timestamp::now());
    let default = match (args.quiet, args.human) {
        (true, _) => "{{.ID}}",
        (_, true) => "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        (_, false) => "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    };
    let format = args.format.as_deref().filter(|format| *format != "table").unwrap_or(default);
    let headers = json!({
        "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
        "Comment": "COMMENT",
    });
    let text = Template::parse(format)?.list(&objects, &headers)?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The last step first; its id is the image's.
fn steps(image: &Image, args: &Args, now: Timestamp) -> Vec<Value> {
    let mut layers = image.layers.iter();
    let history = image.document.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut objects: Vec<Value> = Vec::new();
    for step in &history {
        let text = |field: &str| human::harmless(step.get(field).and_then(Value::as_str).unwrap_or_default());
        let is_empty = step.get("empty_layer") == Some(&Value::Bool(true));
        let size = if is_empty { 0 } else { layers.next().map_or(0, |layer| layer.size) };
        objects.push(object(&text("created"), &text("created_by"), &text("comment"), size, args, now));
    }
    // What no history tells of.
    for layer in layers {
        objects.push(object("", "", "", layer.size, args, now));
    }
    objects.reverse();
    if let Some(first) = objects.first_mut() {
        first["ID"] = json!(if args.no_trunc { image.id.to_string() } else { image.id.short() });
    }
    objects
}

fn object(created: &str, by: &str, comment: &str, size: u64, args: &Args, now: Timestamp) -> Value {
    let time: Option<Timestamp> = created.parse().ok();
    // Tabs would be columns.
    let by = by.replace('\t', " ");
    json!({
        "ID": MISSING,
        "CreatedSince": time.map_or_else(|| "N/A".to_owned(), |time| human::ago(time, now)),
        "CreatedAt": time.map_or_else(|| created.to_owned(), |time| time.strftime("%FT%TZ").to_string()),
        "CreatedBy": if args.no_trunc { by } else { human::shorten(&by, COMMAND_WIDTH) },
        "Size": if args.human { human::size(size) } else { size.to_string() },
        "Comment": comment,
    })
}
