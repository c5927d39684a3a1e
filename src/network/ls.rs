//! `moat network ls`.

use std::process::ExitCode;

use jiff::tz::TimeZone;
use moat_docker::network::list::{Selection, headers, object, rows};
use moat_docker::template::Template;
use moat_engine::Engine;
use moat_engine::Root;
use serde_json::Value;

/// List networks
///
/// The fields for --format are .ID .Name .Driver .Scope .IPv4 .IPv6 .Internal .Labels .CreatedAt.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network ls
  moat network ls --filter label=team=web -q
  moat network ls --format '{{.Name}} {{.Internal}}'

The keys for --filter are id, name, label, driver, scope, type (custom or builtin) and dangling (true for networks that
no running container is on).")]
pub struct Args {
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// `table TEMPLATE`, a Go template, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only those with KEY=VALUE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
}

/// Prints a line for each.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let selection = Selection::parse(&args.filter)?;
    let engine = Engine::open(root.clone())?;
    let mut rows = rows(engine.list_networks()?, &engine.networks().attachments()?);
    rows.retain(|row| selection.takes(row));
    let format = match args.format.as_deref() {
        None | Some("table") if args.quiet => "{{.ID}}",
        Some("raw") if args.quiet => "network_id: {{.ID}}",
        Some("raw") => "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
        None | Some("table") => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        Some(format) => format,
    };
    let zone = TimeZone::system();
    let objects: Vec<Value> = rows.iter().map(|row| object(row, args.no_trunc, &zone)).collect();
    crate::shown::write(&Template::parse(format)?.list(&objects, &headers())?)?;
    Ok(ExitCode::SUCCESS)
}
