//! Everything that is decided about a new container: what the user said, the image, and Docker's defaults.

use std::collections::BTreeMap;

use jiff::Timestamp;
use oci_spec::image::Config as ImageConfig;

use moat_containers::config::{
    ContainerConfig, DEFAULT_MEMORY_MIB, DEFAULT_SHM_SIZE, DEFAULT_STOP_TIMEOUT, ProcessConfig, Resources,
};
use moat_containers::environment::merge_env;
use moat_containers::health::HealthCheck;
use moat_containers::log;
use moat_images::config::{object, shell};
use moat_images::store::Image;
use moat_network::port::ContainerPort;
use moat_records::format::Format;
use moat_records::id::{ContainerId, random_name};
use moat_records::signal;

use crate::{CreateOptions, EngineError};

/// Decides everything about container `id`.
///
/// # Errors
/// When what was said makes no sense, or there is no command.
pub(super) fn configure(
    id: ContainerId,
    image: &Image,
    options: CreateOptions,
) -> Result<ContainerConfig, EngineError> {
    let image_config = image.config.config().clone().unwrap_or_default();
    let process = process(&image_config, &options)?;
    let name = match options.name {
        // As Docker writes names.
        Some(name) => name.strip_prefix('/').map_or(name.clone(), str::to_owned),
        None => random_name()
            .map_err(|e| EngineError::Host { action: "choose a container name", source: e.into() })?,
    };
    let healthcheck = image.document.pointer("/config/Healthcheck");
    let mut labels: BTreeMap<String, String> =
        image_config.labels().clone().unwrap_or_default().into_iter().collect();
    labels.extend(options.labels);
    Ok(ContainerConfig {
        format: Format,
        name,
        created: Timestamp::now(),
        image: options.image,
        image_id: image.id.to_string(),
        process,
        hostname: options.hostname.unwrap_or_else(|| id.short().to_owned()),
        domainname: options.domainname,
        groups: options.groups,
        annotations: options.annotations,
        no_shm: options.no_shm,
        no_log: options.no_log,
        resources: Resources {
            memory_mib: options.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB),
            milli_cpus: options.milli_cpus,
            pids_limit: options.pids_limit,
        },
        rates: options.rates,
        read_only: options.read_only,
        tmpfs: options.tmpfs,
        auto_remove: options.auto_remove,
        labels,
        restart: options.restart,
        health: HealthCheck::decide(
            healthcheck,
            &options.health,
            &shell(&object(image.document.get("config").cloned())),
        ),
        log: options.log.unwrap_or(log::DEFAULT_LIMITS),
        security: options.security,
        sysctls: options.sysctls,
        shm_size: options.shm_size.unwrap_or(DEFAULT_SHM_SIZE),
        init: options.init,
        exposed_ports: exposed(image_config.exposed_ports(), &options.expose),
        network: options.network,
        volumes: sorted(image_config.volumes()),
        id,
    })
}

/// The image's ports and the user's.
fn exposed(image: &Option<Vec<String>>, more: &[ContainerPort]) -> Vec<String> {
    let mut ports = image.clone().unwrap_or_default();
    ports.extend(more.iter().map(ToString::to_string));
    ports.sort();
    ports.dedup();
    ports
}

fn sorted(list: &Option<Vec<String>>) -> Vec<String> {
    let mut list = list.clone().unwrap_or_default();
    list.sort();
    list
}

fn process(image: &ImageConfig, options: &CreateOptions) -> Result<ProcessConfig, EngineError> {
    // As Docker has it: an entry point from the command line takes the image's CMD away.
    let (entrypoint, image_cmd) = match &options.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => (Vec::new(), Vec::new()),
        Some(entrypoint) => (vec![entrypoint.clone()], Vec::new()),
        None => (image.entrypoint().clone().unwrap_or_default(), image.cmd().clone().unwrap_or_default()),
    };
    let command = if options.command.is_empty() { image_cmd } else { options.command.clone() };
    let entrypoint_words = entrypoint.len();
    let args: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if args.is_empty() {
        return Err(EngineError::NoCommand);
    }
    let working_dir =
        options.working_dir.clone().or_else(|| image.working_dir().clone()).filter(|path| !path.is_empty());
    let working_dir = working_dir.unwrap_or_else(|| "/".to_owned());
    if !working_dir.starts_with('/') {
        return Err(EngineError::Invalid(format!(
            "the working directory '{working_dir}' is invalid, it needs to be an absolute path"
        )));
    }
    Ok(ProcessConfig {
        args,
        entrypoint: entrypoint_words,
        env: merge_env(image.env().as_deref().unwrap_or_default(), &options.env),
        working_dir,
        user: options.user.clone().or_else(|| image.user().clone()).unwrap_or_default(),
        terminal: options.terminal,
        open_stdin: options.open_stdin,
        stdin_once: options.stdin_once,
        stop_signal: stop_signal(options.stop_signal, image.stop_signal().as_deref())?,
        stop_timeout: options.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
        ulimits: options.ulimits.clone(),
    })
}

fn stop_signal(wanted: Option<i32>, image: Option<&str>) -> Result<i32, EngineError> {
    // The image's is checked even when it is overridden: a broken image is worth knowing about.
    let image = match image.filter(|text| !text.is_empty()) {
        None => signal::TERM,
        Some(text) => signal::parse(text).ok_or_else(|| {
            EngineError::Invalid(format!("the image's stop signal '{text}' is not a signal"))
        })?,
    };
    Ok(wanted.unwrap_or(image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::ConfigBuilder;

    fn image() -> ImageConfig {
        ConfigBuilder::default()
            .entrypoint(vec!["/entry".to_owned()])
            .cmd(vec!["serve".to_owned()])
            .env(vec!["A=1".to_owned(), "B=2".to_owned()])
            .working_dir("/srv")
            .user("app")
            .build()
            .unwrap()
    }

    #[test]
    fn the_command_line_overrides_the_image() {
        let plain = process(&image(), &CreateOptions::default()).unwrap();
        assert_eq!(plain.args, ["/entry", "serve"]);
        assert_eq!((plain.working_dir.as_str(), plain.user.as_str()), ("/srv", "app"));

        let command = CreateOptions { command: vec!["x".to_owned()], ..CreateOptions::default() };
        assert_eq!(process(&image(), &command).unwrap().args, ["/entry", "x"]);

        let entry = CreateOptions { entrypoint: Some("/other".to_owned()), ..CreateOptions::default() };
        assert_eq!(process(&image(), &entry).unwrap().args, ["/other"]);

        let none = CreateOptions { entrypoint: Some(String::new()), ..CreateOptions::default() };
        assert!(matches!(process(&image(), &none), Err(EngineError::NoCommand)));

        let relative = CreateOptions { working_dir: Some("srv".to_owned()), ..CreateOptions::default() };
        assert!(matches!(process(&image(), &relative), Err(EngineError::Invalid(_))));
    }

    #[test]
    fn stop_signals_come_from_the_user_the_image_or_docker() {
        assert_eq!(stop_signal(None, None).unwrap(), 15);
        assert_eq!(stop_signal(None, Some("SIGQUIT")).unwrap(), 3);
        assert_eq!(stop_signal(Some(2), Some("SIGQUIT")).unwrap(), 2);
        assert!(stop_signal(Some(2), Some("SIGNOPE")).is_err());
    }
}
