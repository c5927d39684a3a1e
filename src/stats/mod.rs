//! `moat stats`.

mod frame;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use moat_docker::stats::{COLUMNS, Usage, headers, object};
use moat_docker::template::Template;
use moat_engine::Container;
use moat_engine::Root;
use moat_engine::{Engine, EngineError};
use serde_json::Value;

use self::frame::frame;
use super::terminal;
use moat_engine::stats::{Sample, Sampler};

/// Show what containers use
///
/// The fields for --format are .Container .Name .ID .CPUPerc .MemUsage .MemPerc .NetIO .BlockIO .PIDs.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat stats
  moat stats --no-stream web db
  moat stats --format '{{.Name}}: {{.CPUPerc}} {{.MemUsage}}'

A CPU % of 100 is one processor; the limit of memory is the virtual machine's.")]
pub struct Args {
    /// Also containers that do not run
    #[arg(short, long)]
    all: bool,
    /// `table TEMPLATE`, a Go template, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show once and end
    #[arg(long)]
    no_stream: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Names, ids, or the beginnings of ids; all that run when there are none
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prints a line for each container, once or again every second.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let template = Template::parse(match args.format.as_deref() {
        None | Some("" | "table") => COLUMNS,
        Some(format) => format,
    })?;
    let engine = Engine::open(root)?;
    // What is named must be there in the beginning; later it may go.
    let named =
        args.containers.iter().map(|name| engine.find(name)).collect::<Result<Vec<_>, EngineError>>()?;
    let live = !args.no_stream && io::stdout().is_terminal();
    let mut sampler = Sampler::new(&engine);
    sampler.look(&args.present(&engine, &named)?);
    let mut next = Instant::now() + INTERVAL;
    loop {
        sleep(next.saturating_duration_since(Instant::now()));
        next = Instant::now() + INTERVAL;
        let containers = args.present(&engine, &named)?;
        if containers.is_empty() && !named.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let objects = args.objects(&containers, &sampler.look(&containers));
        let text = template.list(&objects, &headers())?;
        let text = if live { frame(&text, terminal::size().map(|size| size.rows)) } else { text };
        let mut output = io::stdout().lock();
        output.write_all(text.as_bytes())?;
        output.flush()?;
        if args.no_stream {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

impl Args {
    /// The containers that are shown, as they are now.
    fn present(&self, engine: &Engine, named: &[Container]) -> anyhow::Result<Vec<Container>> {
        if named.is_empty() {
            let mut containers = engine.list()?;
            containers.retain(|container| self.all || container.state.status.is_live());
            return Ok(containers);
        }
        let mut containers = Vec::new();
        for container in named {
            containers.extend(engine.refresh(container)?);
        }
        Ok(containers)
    }

    fn objects(&self, containers: &[Container], samples: &[Sample]) -> Vec<Value> {
        let lines = containers.iter().zip(samples).filter(|(_, sample)| **sample != Sample::Gone);
        lines.map(|(container, sample)| object(container, usage(sample).as_ref(), self.no_trunc)).collect()
    }
}

/// What is shown of a sample; nothing when the container cannot tell.
fn usage(sample: &Sample) -> Option<Usage> {
    match *sample {
        Sample::Numbers(stats, cpu_percent) => Some(Usage { stats, cpu_percent }),
        Sample::Idle => Some(Usage::default()),
        Sample::Unknown | Sample::Gone => None,
    }
}
