//! `moat login`.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use moat_engine::login::{LoginRequest, host};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

/// The longest password that is read, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Log in to a registry
///
/// User name and password are kept in Docker's config.json (in $DOCKER_CONFIG or ~/.docker), or by the credential
/// helper that it names, and so are known to Docker, podman and skopeo too.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat login
  moat login -u alice registry.example:5000
  pass registry | moat login -u alice --password-stdin registry.example")]
pub struct Args {
    /// User name
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// Password or token; others on this host can see it
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// HOST or HOST:PORT; docker.io when left out
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Asks for what is missing, tries it, and keeps it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let registry = host(args.registry.as_deref());
    if args.password.is_some() {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask("Username: ", false)?,
    };
    let secret = match &args.password {
        Some(secret) => secret.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            io::stdin().take(MAX_SECRET).read_to_string(&mut text).context("cannot read the password")?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => ask("Password: ", true)?,
    };
    if let Some(file) = (LoginRequest { registry, user, secret }).run()? {
        eprintln!(
            "WARNING! Your password is stored unencrypted in {}; a credential helper (\"credsStore\") would keep it \
             better.",
            file.display()
        );
    }
    say!("Login Succeeded");
    Ok(ExitCode::SUCCESS)
}

/// Asks on the terminal, without echo for what is secret.
fn ask(question: &str, secret: bool) -> anyhow::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!("cannot perform an interactive login from a non TTY device; use -u and --password-stdin");
    }
    let mut error = io::stderr();
    write!(error, "{question}")?;
    error.flush()?;
    let before = tcgetattr(&stdin)?;
    if secret {
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSANOW, &quiet)?;
    }
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    if secret {
        tcsetattr(&stdin, SetArg::TCSANOW, &before)?;
        writeln!(error)?;
    }
    read.context("cannot read the answer")?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}
