//! A container as `inspect` shows it, in Docker's shape.

use jiff::Timestamp;
use moat_containers::Container;
use moat_containers::config::{ContainerConfig, DiskLimits, RateLimit, Ulimit};
use moat_containers::health::{Health, HealthCheck};
use moat_containers::log;
use moat_containers::restart::RestartPolicy;
use moat_containers::state::{State, Status};
use moat_network::endpoint::Attachment;
use moat_protocol::defaults;
use moat_records::signal;
use serde_json::{Map, Value, json};

use super::{NEVER, network};
use crate::ps::Sizes;

/// The fields that Docker leaves out of its JSON when they are empty. Templates may still name them.
const OPTIONAL: [&str; 5] =
    ["/SizeRw", "/SizeRootFs", "/State/Health", "/Config/ExposedPorts", "/Config/Healthcheck"];

/// Facts about a container beyond its records.
#[derive(Debug, Default)]
pub struct Facts {
    /// The process id of its virtual machine; 0 when it does not run.
    pub pid: u32,
    /// Its place in its networks, if it runs.
    pub attachment: Option<Attachment>,
    /// The space that it takes on the disk, if the caller shows it.
    pub sizes: Option<Sizes>,
}

/// A container under Docker's names.
pub fn object(container: &Container, facts: &Facts) -> Value {
    let (config, state) = (&container.config, &container.state);
    let (path, args) = config.process.args.split_first().map_or(("", &[][..]), |(p, args)| (p, args));
    json!({
        "Id": config.id.as_str(),
        "Created": config.created.to_string(),
        "Path": path,
        "Args": args,
        "State": state_object(state, facts.pid),
        "Image": config.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": log::path(&container.directory),
        "Name": format!("/{}", config.name),
        "RestartCount": state.restarts,
        "Driver": "moat",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(config),
        "GraphDriver": {"Name": "moat", "Data": {"WritableDisk": container.directory.writable()}},
        "SizeRw": facts.sizes.map(|sizes| sizes.written),
        "SizeRootFs": facts.sizes.map(|sizes| sizes.whole),
        "Mounts": [],
        "Config": config_object(config),
        "NetworkSettings": network::settings(config, facts.attachment.as_ref()),
    })
}

/// Removes the empty fields that Docker leaves out of its JSON.
pub fn leave_out_empty(object: &mut Value) {
    for pointer in OPTIONAL {
        let (parent, field) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        if let Some(Value::Object(fields)) = object.pointer_mut(parent)
            && fields.get(field).is_some_and(Value::is_null)
        {
            fields.remove(field);
        }
    }
}

fn state_object(state: &State, pid: u32) -> Value {
    let time = |time: Option<Timestamp>| time.map_or(NEVER.to_owned(), |time| time.to_string());
    // As with Docker, a paused or restarting container counts as running.
    let runs = state.status.is_live();
    json!({
        "Status": state.status.name(),
        "Running": runs,
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": pid,
        "ExitCode": state.exit_code,
        "Error": state.error.as_deref().unwrap_or_default(),
        "StartedAt": time(state.started),
        "FinishedAt": time(state.finished),
        "Health": state.health.as_ref().map(health),
    })
}

fn health(health: &Health) -> Value {
    let log = health.results.iter().map(|result| {
        json!({
            "Start": result.start.to_string(),
            "End": result.end.to_string(),
            "ExitCode": result.exit_code,
            "Output": result.output,
        })
    });
    json!({
        "Status": health.status.name(),
        "FailingStreak": health.failing_streak,
        "Log": log.collect::<Vec<_>>(),
    })
}

fn host_config(config: &ContainerConfig) -> Value {
    // As with Docker, nothing is hidden from a privileged container.
    let paths = |paths: &[&str]| if config.security.privileged { Value::Null } else { json!(paths) };
    let tmpfs: Map<String, Value> = config
        .tmpfs
        .iter()
        .map(|tmpfs| (tmpfs.destination.clone(), tmpfs.options.join(",").into()))
        .collect();
    let retries = match config.restart {
        RestartPolicy::OnFailure { retries } => retries.unwrap_or(0),
        _ => 0,
    };
    let mut all = json!({
        "Binds": null,
        "ContainerIDFile": "",
        "LogConfig": {
            "Type": if config.no_log { "none" } else { "moat" },
            "Config": {
                "max-size": config.log.max_size.to_string(),
                "max-file": config.log.max_files.to_string(),
            },
        },
        "NetworkMode": config.network.mode(),
        "PortBindings": network::bindings(&config.network),
        "RestartPolicy": {"Name": config.restart.name(), "MaximumRetryCount": retries},
        "AutoRemove": config.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": capabilities(&config.security.cap_add),
        "CapDrop": capabilities(&config.security.cap_drop),
        "Dns": config.network.dns,
        "DnsOptions": config.network.dns_options,
        "DnsSearch": config.network.dns_search,
        "ExtraHosts": network::extra_hosts(&config.network),
        "Privileged": config.security.privileged,
        "PublishAllPorts": config.network.publish_all,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": config.security.no_new_privileges.then_some(["no-new-privileges"]),
        "Tmpfs": map(tmpfs),
        "MaskedPaths": paths(&defaults::MASKED_PATHS),
        "ReadonlyPaths": paths(&defaults::READ_ONLY_PATHS),
        "ShmSize": config.shm_size,
        "Sysctls": map(config.sysctls.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()),
        "Runtime": "moat",
        "Init": config.init,
    });
    if let Value::Object(all) = &mut all {
        all.extend(resources(config));
        all.extend(unused());
        all.extend(fields(json!({
            "Annotations": config.annotations,
            "GroupAdd": list(&config.groups),
            "IpcMode": if config.no_shm { "none" } else { "private" },
        })));
    }
    all
}

/// The limits in `HostConfig`.
fn resources(config: &ContainerConfig) -> Map<String, Value> {
    let resources = &config.resources;
    let memory = u64::from(resources.memory_mib) << 20;
    fields(json!({
        "Memory": memory,
        // A guest has no swap, so memory and swap together are the memory.
        "MemorySwap": memory,
        "MemoryReservation": 0,
        "MemorySwappiness": null,
        "NanoCpus": resources.milli_cpus.map_or(0, |limit| u64::from(limit.get()) * 1_000_000),
        "CpuShares": 0,
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": "",
        "CpusetMems": "",
        "PidsLimit": resources.pids_limit,
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": rates(config, |disk| disk.read_bytes),
        "BlkioDeviceWriteBps": rates(config, |disk| disk.write_bytes),
        "BlkioDeviceReadIOps": rates(config, |disk| disk.read_operations),
        "BlkioDeviceWriteIOps": rates(config, |disk| disk.write_operations),
        "NetworkRate": config.rates.network.map_or(0, |rate| rate.per_second),
        "Ulimits": config.process.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
    }))
}

/// Fields of `HostConfig` for what Moat does not have, with Docker's empty values. Scripts name these fields for every
/// container.
fn unused() -> Map<String, Value> {
    fields(json!({
        "Cgroup": "",
        "CgroupParent": "",
        "CgroupnsMode": "private",
        "ConsoleSize": [0, 0],
        "CpuCount": 0,
        "CpuPercent": 0,
        "DeviceCgroupRules": null,
        "DeviceRequests": null,
        "Devices": [],
        "GroupAdd": null,
        "IOMaximumBandwidth": 0,
        "IOMaximumIOps": 0,
        "IpcMode": "private",
        "Isolation": "",
        "Links": null,
        "OomKillDisable": false,
        "OomScoreAdj": 0,
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
    }))
}

fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// One kind of limit for each disk that has it, as Docker lists the host's devices.
fn rates(config: &ContainerConfig, of: fn(&DiskLimits) -> Option<RateLimit>) -> Value {
    let disks = [("/dev/vda", &config.rates.image), ("/dev/vdb", &config.rates.writable)];
    let limited = disks.into_iter().filter_map(|(path, disk)| Some((path, of(disk)?.per_second)));
    limited.map(|(path, rate)| json!({ "Path": path, "Rate": rate })).collect()
}

/// `Config`: the settings of the image and the user for the process.
fn config_object(config: &ContainerConfig) -> Value {
    let process = &config.process;
    let (entrypoint, command) = process.args.split_at(process.entrypoint.min(process.args.len()));
    let set =
        |names: &[String]| -> Value { map(names.iter().map(|name| (name.clone(), json!({}))).collect()) };
    json!({
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "User": process.user,
        // The record says only whether stdin was attached at the start. A client attaches all streams or none.
        "AttachStdin": process.stdin_once,
        "AttachStdout": process.stdin_once,
        "AttachStderr": process.stdin_once,
        "ExposedPorts": exposed_ports(config),
        "Tty": process.terminal,
        "OpenStdin": process.open_stdin,
        "StdinOnce": process.stdin_once,
        "Env": process.env,
        "Cmd": list(command),
        "Healthcheck": config.health.as_ref().map(HealthCheck::document),
        "Image": config.image,
        "Volumes": set(&config.volumes),
        "WorkingDir": process.working_dir,
        "Entrypoint": list(entrypoint),
        "Labels": config.labels,
        "OnBuild": null,
        "StopSignal": signal::name(process.stop_signal),
        "StopTimeout": process.stop_timeout,
    })
}

/// The ports that the image or the user exposes, and those that are published.
fn exposed_ports(config: &ContainerConfig) -> Value {
    let published = config.network.ports.iter().map(|port| port.container.to_string());
    let names = config.exposed_ports.iter().cloned().chain(published);
    map(names.map(|name| (name, json!({}))).collect())
}

/// Names of capabilities as Docker writes them, with their prefix.
fn capabilities(names: &[String]) -> Value {
    let whole = |name: &String| if name == "ALL" { name.clone() } else { format!("CAP_{name}") };
    list(&names.iter().map(whole).collect::<Vec<_>>())
}

/// A limit; -1 when there is none.
fn ulimit(limit: &Ulimit) -> Value {
    let number = |limit: u64| i64::try_from(limit).unwrap_or(-1);
    json!({"Name": limit.name, "Hard": number(limit.hard), "Soft": number(limit.soft)})
}

/// A list; null when it is empty, as Go writes a nil slice.
fn list(words: &[String]) -> Value {
    if words.is_empty() { Value::Null } else { json!(words) }
}

fn map(all: Map<String, Value>) -> Value {
    if all.is_empty() { Value::Null } else { Value::Object(all) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;
    use moat_containers::testing::container;

    #[test]
    fn properties_have_dockers_names() {
        let facts = Facts { sizes: Some(Sizes { written: 10, whole: 30 }), ..Facts::default() };
        let object = object(&container(), &facts);
        for (pointer, expected) in [
            ("/Id", json!("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")),
            ("/Created", json!("2026-01-02T15:04:05Z")),
            ("/Path", json!("sh")),
            ("/Args", json!(["-c", "echo \"hello\" world"])),
            ("/Name", json!("/web")),
            ("/State/Status", json!("created")),
            ("/State/Running", json!(false)),
            ("/State/Pid", json!(0)),
            ("/State/StartedAt", json!("0001-01-01T00:00:00Z")),
            ("/HostConfig/Memory", json!(268_435_456)),
            ("/HostConfig/MemorySwap", json!(268_435_456)),
            ("/HostConfig/MemoryReservation", json!(0)),
            ("/HostConfig/CpuShares", json!(0)),
            ("/HostConfig/CpuQuota", json!(0)),
            ("/HostConfig/CpusetCpus", json!("")),
            ("/HostConfig/PidMode", json!("")),
            ("/HostConfig/IpcMode", json!("private")),
            ("/HostConfig/Devices", json!([])),
            ("/HostConfig/GroupAdd", json!(null)),
            ("/HostConfig/OomKillDisable", json!(false)),
            ("/HostConfig/ReadonlyPaths/0", json!("/proc/bus")),
            ("/HostConfig/MaskedPaths/0", json!("/proc/acpi")),
            ("/Config/OnBuild", json!(null)),
            ("/HostConfig/NanoCpus", json!(1_500_000_000)),
            ("/HostConfig/PidsLimit", json!(100)),
            ("/HostConfig/RestartPolicy", json!({"Name": "on-failure", "MaximumRetryCount": 3})),
            ("/HostConfig/CapAdd", json!(["CAP_NET_ADMIN"])),
            ("/HostConfig/CapDrop", json!(null)),
            ("/HostConfig/Tmpfs", json!({"/run": "size=64m,ro"})),
            ("/HostConfig/Ulimits", json!([{"Name": "nofile", "Hard": -1, "Soft": 1024}])),
            ("/HostConfig/Sysctls", json!({"net.core.somaxconn": "1024"})),
            ("/HostConfig/SecurityOpt", json!(["no-new-privileges"])),
            ("/HostConfig/ShmSize", json!(67_108_864)),
            ("/HostConfig/LogConfig/Config", json!({"max-size": "10485760", "max-file": "3"})),
            ("/Config/Entrypoint", json!(["sh"])),
            ("/Config/Cmd", json!(["-c", "echo \"hello\" world"])),
            ("/Config/ExposedPorts", json!({"80/tcp": {}})),
            ("/Config/Volumes", json!({"/data": {}})),
            ("/Config/StopSignal", json!("SIGTERM")),
            ("/Config/StopTimeout", json!(10)),
            ("/Config/Labels", json!({"com.example.team": "a", "tier": "1"})),
            ("/NetworkSettings/Ports", json!({})),
            ("/SizeRw", json!(10)),
            ("/SizeRootFs", json!(30)),
        ] {
            assert_eq!(object.pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn a_life_is_told() {
        let mut one = container();
        let end: Timestamp = "2026-01-02T16:00:00.5Z".parse().unwrap();
        one.state.status = Status::Restarting;
        one.state.exit_code = 7;
        one.state.finished = Some(end);
        one.state.error = Some("no".to_owned());
        let mut health = Health::starting();
        let check = HealthCheck::decide(
            Some(&json!({"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000u64})),
            &moat_containers::health::HealthOptions::default(),
            &["/bin/sh".to_owned(), "-c".to_owned()],
        );
        let result =
            moat_containers::health::HealthResult { start: end, end, exit_code: 0, output: "ok".to_owned() };
        health.record(check.as_ref().unwrap(), result, false);
        one.state.health = Some(health);
        one.config.health = check;
        let object = object(&one, &Facts { pid: 42, ..Facts::default() });
        assert_eq!(object["State"]["Pid"], 42);
        assert_eq!(object["State"]["Running"], true);
        assert_eq!(object["State"]["Restarting"], true);
        assert_eq!(object["State"]["FinishedAt"], "2026-01-02T16:00:00.5Z");
        assert_eq!(object["State"]["Health"]["Status"], "healthy");
        assert_eq!(object["State"]["Health"]["Log"][0]["Output"], "ok");
        assert_eq!(object["Config"]["Healthcheck"]["Test"], json!(["CMD-SHELL", "true"]));
        assert_eq!(object["Config"]["Healthcheck"]["Interval"], 5_000_000_000u64);
    }

    #[test]
    fn what_is_not_there_is_null_for_templates_and_absent_in_json() {
        let mut object = object(&container(), &Facts::default());
        let template =
            Template::parse("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}").unwrap();
        assert_eq!(template.apply(&object).unwrap(), "none");
        leave_out_empty(&mut object);
        assert!(object.pointer("/State/Health").is_none() && object.pointer("/SizeRw").is_none());
        assert!(object.pointer("/Config/ExposedPorts").is_some());
    }
}
