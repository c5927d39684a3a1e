//! Versions as `version` shows them.

use serde_json::{Value, json};

/// The versions of the program and its host.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The program's version.
    pub version: &'a str,
    /// The version of the protocol between monitor and guest.
    pub guest_protocol: u8,
    /// The version of the host's kernel, if it is known.
    pub kernel: Option<&'a str>,
}

/// The version of Docker's API whose shapes this program prints.
pub const API: &str = "1.45";

/// The oldest version of Docker's API that has these shapes.
const MIN_API: &str = "1.24";

/// The versions under Docker's names. There is no daemon: client and server are one program. Docker says how its program
/// was built; those fields are empty.
pub fn object(facts: &Facts) -> Value {
    let details = json!({
        "ApiVersion": API, "MinAPIVersion": MIN_API, "Os": std::env::consts::OS, "Arch": architecture(),
        "KernelVersion": facts.kernel, "GuestProtocol": facts.guest_protocol.to_string(), "Experimental": "false",
        "GitCommit": "", "GoVersion": "", "BuildTime": "",
    });
    json!({
        "Client": {
            "Platform": {"Name": "Moat"},
            "Version": facts.version,
            "ApiVersion": API,
            "DefaultAPIVersion": API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": std::env::consts::OS,
            "Arch": architecture(),
            "BuildTime": "",
            "Context": "default",
        },
        "Server": {
            "Platform": {"Name": "Moat"},
            "Components": [{"Name": "Engine", "Version": facts.version, "Details": details}],
            "Version": facts.version,
            "ApiVersion": API,
            "MinAPIVersion": MIN_API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": std::env::consts::OS,
            "Arch": architecture(),
            "KernelVersion": facts.kernel,
            "BuildTime": "",
            "GuestProtocol": facts.guest_protocol,
        },
    })
}

/// The versions in Docker's sections.
pub fn text(facts: &Facts) -> String {
    let (version, os, architecture) = (facts.version, std::env::consts::OS, architecture());
    format!(
        "Client: Moat
 Version:           {version}
 API version:       {api}
 OS/Arch:           {os}/{architecture}
 Context:           default

Server: Moat
 Engine:
  Version:          {version}
  API version:      {api} (minimum version {oldest})
  OS/Arch:          {os}/{architecture}
  Guest protocol:   {protocol}
  Experimental:     false",
        api = API,
        oldest = MIN_API,
        protocol = facts.guest_protocol,
    )
}

/// The processor architecture as the OCI calls it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;

    #[test]
    fn versions_have_dockers_names() {
        let facts = Facts { version: "1.2.3", guest_protocol: 7, kernel: Some("6.12") };
        let apply = |format: &str| Template::parse(format).unwrap().apply(&object(&facts)).unwrap();
        assert_eq!(apply("{{.Client.Version}} {{.Server.Version}} {{.Server.Os}}"), "1.2.3 1.2.3 linux");
        assert_eq!(apply("{{.Server.KernelVersion}} {{.Server.GuestProtocol}}"), "6.12 7");
        let json: Value = serde_json::from_str(&apply("json")).unwrap();
        assert_eq!(json, object(&facts));
        assert_eq!(
            apply("{{.Server.ApiVersion}} {{.Server.MinAPIVersion}} {{(index .Server.Components 0).Name}}"),
            "1.45 1.24 Engine"
        );
        let text = text(&facts);
        for line in [
            "Client: Moat\n Version:           1.2.3\n",
            "\nServer: Moat\n Engine:\n",
            "\n  Guest protocol:   7\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
