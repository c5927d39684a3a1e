//! `moat run`.

use std::process::ExitCode;

use anyhow::bail;
use moat_engine::Engine;
use moat_engine::Root;
use moat_engine::output::Source;
use moat_engine::session::{AttachOptions, End};

use super::cidfile::CidFile;
use super::container_args::ContainerArgs;
use super::detach_keys::{self, DetachKeys};
use super::parse::Stream;
use super::pull::PullArgs;
use super::session::{self, SessionOptions};
use super::terminal;

/// Create a container from an image and run a command in it
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "moat run [OPTIONS] IMAGE [COMMAND] [ARG]...",
    after_help = "Examples:
  moat run --rm localhost/busybox echo hello
  moat run -it --rm localhost/debian bash
  moat run -d --name web --memory 256m localhost/nginx
  echo data | moat run -i --rm localhost/busybox wc -c

The exit code is the command's own; 125 means that Moat could not run the container, 126 that the
command cannot be executed, 127 that it was not found, and 128+N that signal N ended it."
)]
pub struct Args {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// The keys that leave the container's terminal
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Pass signals on to the command
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    /// Send what the guest's kernel prints on its serial console to stderr (slows the boot)
    #[arg(long)]
    debug_console: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    image: PullArgs,
    #[command(flatten)]
    container: ContainerArgs,
}

/// Docker's exit code for a program that is not there.
const NOT_FOUND: u8 = 127;

/// Runs a container to its end, or starts it in the background.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let Args { detach, debug_console, image, container, .. } = args;
    if container.tty && container.interactive && !detach && !terminal::stdin_is_terminal() {
        bail!("cannot attach stdin to a TTY-enabled container because stdin is not a terminal");
    }
    if detach && !container.attach.is_empty() {
        bail!("conflicting options: cannot specify both --attach and --detach");
    }
    if detach && debug_console {
        bail!("--debug-console prints to this terminal and does not go with --detach");
    }
    let cidfile = CidFile::create(container.cidfile.as_deref())?;
    let engine = Engine::open(root)?;
    // Docker, too, takes the first word after the image for the program.
    let flag = container.program().filter(|program| program.starts_with('-')).map(str::to_owned);
    let name = container.image().to_owned();
    let image = image.ensure(&name, &engine)?;
    let tty = container.tty;
    let wanted = container.attach.clone();
    // Without --attach each of them is.
    let wants = |stream| wanted.is_empty() || wanted.contains(&stream);
    let only = match (wants(Stream::Stdout), wants(Stream::Stderr)) {
        (true, false) => Some(Source::Stdout),
        (false, true) => Some(Source::Stderr),
        _ => None,
    };
    let attach = AttachOptions {
        stdin: container.interactive && !detach && wants(Stream::Stdin),
        output: !detach && (wants(Stream::Stdout) || wants(Stream::Stderr)),
        size: if tty && !detach { terminal::size() } else { None },
    };
    let options =
        SessionOptions { terminal: tty, signals: args.sig_proxy, detach_keys: args.detach_keys, only };
    let mut started = None;
    let attached = engine.run(&image, container.options(!detach)?, &attach, debug_console, |container| {
        let id = container.id().clone();
        cidfile.write(id.as_str())?;
        started = Some((id, session::block_signals(&options)?));
        anyhow::Ok(())
    })?;
    let Some((id, signals)) = started else { bail!("the container was started before it was created") };
    session::pass_signals_on(&attached, signals, &options)?;
    if !detach && !attach.output {
        // As with Docker, one who sees no output is told what runs.
        say!("{id}");
    }
    let end = if detach {
        match attached.started()? {
            // It may be over before its start was heard of.
            None | Some(End::Exited { .. } | End::Detached) => {
                say!("{id}");
                return Ok(ExitCode::SUCCESS);
            }
            Some(failed) => failed,
        }
    } else {
        session::carry(attached, &options)?
    };
    if let (End::Failed { code: NOT_FOUND, .. }, Some(flag)) = (&end, flag) {
        super::complain(format_args!(
            "'{flag}' stands after the image, so it is the program to run; flags of moat come first: moat run {flag} {name}"
        ));
    }
    Ok(session::report(end, format_args!("start container {}", id.short())))
}
