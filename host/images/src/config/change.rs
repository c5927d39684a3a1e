//! `-c 'INSTRUCTION ...'`: what `commit` and `import` change in a config, in a Dockerfile's words.

use std::str::FromStr;

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::words::{self, Variables, WordsError};
use super::{set, shell, strings};
use moat_records::signal;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    instruction: Instruction,
    arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Label,
    OnBuild,
    StopSignal,
    User,
    Volume,
    Workdir,
}

/// An instruction that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{instruction}: {problem}")]
pub struct ChangeError {
    instruction: String,
    problem: Problem,
}

/// What is wrong with an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum Problem {
    #[error(
        "not a change that can be made; there are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, \
         VOLUME and WORKDIR"
    )]
    Unknown,
    #[error("it needs an argument")]
    NoArgument,
    #[error(transparent)]
    Words(#[from] WordsError),
    #[error("{0:?} is not a signal")]
    Signal(String),
    #[error("{0} has no value; write {0}=VALUE")]
    NoValue(String),
    #[error("{0:?} is not NAME=VALUE")]
    Pair(String),
    #[error("{0:?} is not a port, such as 80, 53/udp or 8000-8010")]
    Port(String),
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let (name, arguments) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let fault = |problem| ChangeError { instruction: name.to_owned(), problem };
        let instruction = match name.to_ascii_uppercase().as_str() {
            "CMD" => Instruction::Cmd,
            "ENTRYPOINT" => Instruction::Entrypoint,
            "ENV" => Instruction::Env,
            "EXPOSE" => Instruction::Expose,
            "LABEL" => Instruction::Label,
            "ONBUILD" => Instruction::OnBuild,
            "STOPSIGNAL" => Instruction::StopSignal,
            "USER" => Instruction::User,
            "VOLUME" => Instruction::Volume,
            "WORKDIR" => Instruction::Workdir,
            _ => return Err(fault(Problem::Unknown)),
        };
        let arguments = arguments.trim().to_owned();
        // No command at all is one, as Docker has it.
        if arguments.is_empty() && !matches!(instruction, Instruction::Cmd | Instruction::Entrypoint) {
            return Err(fault(Problem::NoArgument));
        }
        Ok(Self { instruction, arguments })
    }
}

/// The config after all changes, in their order.
///
/// # Errors
/// When a change's arguments make no sense.
pub fn changed(
    mut config: Map<String, Value>,
    changes: &[Change],
) -> Result<Map<String, Value>, ChangeError> {
    let has_cmd = changes.iter().any(|change| change.instruction == Instruction::Cmd);
    for change in changes {
        change.apply(&mut config, has_cmd).map_err(|problem| ChangeError {
            instruction: format!("{:?}", change.instruction).to_ascii_uppercase(),
            problem,
        })?;
    }
    Ok(config)
}

impl Change {
    fn apply(&self, config: &mut Map<String, Value>, has_cmd: bool) -> Result<(), Problem> {
        let env = strings(config.get("Env"));
        let variables = |name: &str| {
            env.iter()
                .find_map(|variable| Some(variable.split_once('=').filter(|(n, _)| *n == name)?.1.to_owned()))
        };
        let arguments = self.arguments.as_str();
        match self.instruction {
            Instruction::Cmd => set(config, "Cmd", command(arguments, config)),
            Instruction::Entrypoint => {
                set(config, "Entrypoint", command(arguments, config));
                // The image's arguments were for another program.
                if !has_cmd {
                    config.remove("Cmd");
                }
            }
            Instruction::Env => {
                let mut env = env.clone();
                for (name, value) in pairs(arguments, &variables)? {
                    let same =
                        |other: &String| other.split_once('=').map_or(other.as_str(), |(n, _)| n) == name;
                    let variable = format!("{name}={value}");
                    match env.iter().position(same) {
                        Some(at) => env[at] = variable,
                        None => env.push(variable),
                    }
                }
                set(config, "Env", json!(env));
            }
            Instruction::Expose => {
                for word in words::split(arguments, &variables)? {
                    for port in ports(&word)? {
                        member(config, "ExposedPorts", port, json!({}));
                    }
                }
            }
            Instruction::Label => {
                for (name, value) in pairs(arguments, &variables)? {
                    member(config, "Labels", name, json!(value));
                }
            }
            Instruction::OnBuild => {
                let mut lines = strings(config.get("OnBuild"));
                lines.push(arguments.to_owned());
                set(config, "OnBuild", json!(lines));
            }
            Instruction::StopSignal => {
                let name = words::whole(arguments, &variables)?;
                signal::parse(&name).ok_or_else(|| Problem::Signal(name.clone()))?;
                set(config, "StopSignal", json!(name));
            }
            Instruction::User => set(config, "User", json!(words::whole(arguments, &variables)?)),
            Instruction::Volume => {
                let paths = match list(arguments) {
                    Some(paths) => paths,
                    None => words::split(arguments, &variables)?,
                };
                for path in paths {
                    member(config, "Volumes", path, json!({}));
                }
            }
            Instruction::Workdir => {
                let path = words::whole(arguments, &variables)?;
                let now = config.get("WorkingDir").and_then(Value::as_str).unwrap_or_default();
                set(config, "WorkingDir", json!(inside(now, &path)));
            }
        }
        Ok(())
    }
}

/// A list of words in JSON, or a line for the shell; nothing for none.
fn command(arguments: &str, config: &Map<String, Value>) -> Value {
    match list(arguments) {
        Some(words) if words.is_empty() => Value::Null,
        Some(words) => json!(words),
        None if arguments.is_empty() => Value::Null,
        None => {
            let mut words = shell(config);
            words.push(arguments.to_owned());
            json!(words)
        }
    }
}

/// A list of strings in JSON. Anything else is no list, as Docker has it.
fn list(arguments: &str) -> Option<Vec<String>> {
    serde_json::from_str(arguments).ok()
}

/// `NAME=VALUE ...`, or `NAME VALUE` where the value is all of the rest.
fn pairs(arguments: &str, variables: Variables<'_>) -> Result<Vec<(String, String)>, Problem> {
    let (first, rest) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    if !first.contains('=') {
        if rest.trim().is_empty() {
            return Err(Problem::NoValue(first.to_owned()));
        }
        return Ok(vec![(words::whole(first, variables)?, words::whole(rest, variables)?)]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Problem::Pair(word.clone())),
    };
    words::split(arguments, variables)?.into_iter().map(pair).collect()
}

/// `80`, `53/udp` or `8000-8010`, as one port each.
fn ports(text: &str) -> Result<Vec<String>, Problem> {
    let problem = || Problem::Port(text.to_owned());
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(problem());
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok().filter(|&port| port > 0).ok_or_else(problem);
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(problem());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A working directory, seen from another.
fn inside(now: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { now };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Adds a member to an object within the config.
fn member(config: &mut Map<String, Value>, field: &str, name: String, value: Value) {
    let object = config.entry(field).or_insert_with(|| json!({}));
    if !object.is_object() {
        *object = json!({});
    }
    if let Value::Object(object) = object {
        object.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(config: Value, changes: &[&str]) -> Result<Value, ChangeError> {
        let changes = changes.iter().map(|text| text.parse()).collect::<Result<Vec<Change>, _>>()?;
        changed(super::super::object(Some(config)), &changes).map(Value::Object)
    }

    #[test]
    fn changes_are_a_dockerfiles() {
        for (changes, expected) in [
            (&["CMD [\"a\", \"b\"]"][..], json!({"Cmd": ["a", "b"]})),
            (&["cmd a b"], json!({"Cmd": ["/bin/sh", "-c", "a b"]})),
            (&["CMD []"], json!({})),
            (&["CMD"], json!({})),
            (&["ENTRYPOINT [\"e\"]"], json!({"Entrypoint": ["e"]})),
            (&["CMD x", "ENTRYPOINT [\"e\"]"], json!({"Entrypoint": ["e"], "Cmd": ["/bin/sh", "-c", "x"]})),
            (&["ENV A=1 B=\"2 3\"", "ENV A=4$B"], json!({"Env": ["A=42 3", "B=2 3"]})),
            (&["ENV A one two"], json!({"Env": ["A=one two"]})),
            (
                &["EXPOSE 80 53/udp 1-2"],
                json!({"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "1/tcp": {}, "2/tcp": {}}}),
            ),
            (&["LABEL a=1 \"b c\"=2"], json!({"Labels": {"a": "1", "b c": "2"}})),
            (&["ONBUILD RUN x", "ONBUILD RUN y"], json!({"OnBuild": ["RUN x", "RUN y"]})),
            (&["USER app:app"], json!({"User": "app:app"})),
            (&["VOLUME /a /b", "VOLUME [\"/c d\"]"], json!({"Volumes": {"/a": {}, "/b": {}, "/c d": {}}})),
            (&["WORKDIR /a/b", "WORKDIR ../c"], json!({"WorkingDir": "/a/c"})),
            (&["STOPSIGNAL SIGQUIT"], json!({"StopSignal": "SIGQUIT"})),
        ] {
            assert_eq!(apply(json!({}), changes).unwrap(), expected, "{changes:?}");
        }
        let image = json!({"Shell": ["/bin/bash", "-c"], "Cmd": ["old"], "Labels": null, "Healthcheck": {}});
        let changed = apply(image, &["ENTRYPOINT run", "LABEL a=b"]).unwrap();
        let expected = json!({
            "Shell": ["/bin/bash", "-c"], "Entrypoint": ["/bin/bash", "-c", "run"], "Labels": {"a": "b"}, "Healthcheck": {},
        });
        assert_eq!(changed, expected);
    }

    #[test]
    fn nonsense_is_refused() {
        for change in [
            "",
            "RUN x",
            "FROM y",
            "ENV",
            "ENV A",
            "ENV =b",
            "ENV A=1 b",
            "EXPOSE x",
            "EXPOSE 0",
            "EXPOSE 70000",
            "EXPOSE 5-1",
            "EXPOSE 80/icmp",
            "STOPSIGNAL NOPE",
            "LABEL",
            "USER",
            "ENV A='x",
            "LABEL a=${",
        ] {
            let error = apply(json!({}), &[change]).unwrap_err().to_string();
            assert!(error.contains(change.split(' ').next().unwrap()), "{change}: {error}");
        }
    }
}
