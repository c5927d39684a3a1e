//! The flags of `run` and `create` about what a new container finds inside, and about its log.

use moat_engine::CreateOptions;

use super::parse::{self, LogOption};

/// The flags.
#[derive(clap::Args)]
pub struct GuestArgs {
    /// The domain that its host name is in
    #[arg(long, value_name = "NAME", value_parser = parse::own_hostname)]
    domainname: Option<String>,
    /// A further group of its processes, by name or number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Say something about the container to who runs it
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = parse::label)]
    annotation: Vec<(String, String)>,
    /// private or shareable, which are the same here, or none for no /dev/shm
    #[arg(long, value_name = "KIND", value_parser = parse::ipc)]
    ipc: Option<bool>,
    /// Who keeps the log: json-file or local, which both stand for Moat; none for no log
    #[arg(long, value_name = "DRIVER", value_parser = parse::log_driver)]
    log_driver: Option<bool>,
    /// Bound the log: max-size=SIZE, max-file=NUMBER
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::log_option)]
    log_opt: Vec<LogOption>,
}

impl GuestArgs {
    /// The other options with what the flags say.
    pub fn add_to(self, options: CreateOptions) -> CreateOptions {
        CreateOptions {
            domainname: self.domainname.unwrap_or_default(),
            groups: self.group_add,
            annotations: self.annotation.into_iter().collect(),
            no_shm: self.ipc == Some(false),
            no_log: self.log_driver == Some(false),
            log: parse::log_limits(&self.log_opt),
            ..options
        }
    }
}
