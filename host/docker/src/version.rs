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

/// The versions under Docker's names. There is no daemon: client and server are one program.
pub fn object(facts: &Facts) -> Value {
    let program = json!({
        "Platform": {"Name": "Moat"},
        "Version": facts.version,
        "Os": std::env::consts::OS,
        "Arch": architecture(),
    });
    let mut server = program.clone();
    server["GuestProtocol"] = json!(facts.guest_protocol);
    server["KernelVersion"] = json!(facts.kernel);
    json!({"Client": program, "Server": server})
}

/// The versions as lines of text.
pub fn text(facts: &Facts) -> String {
    format!(
        "Moat version {}\n Guest protocol:  {}\n OS/Arch:         {}/{}",
        facts.version,
        facts.guest_protocol,
        std::env::consts::OS,
        architecture()
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
        assert!(
            text(&facts).starts_with("Moat version 1.2.3\n Guest protocol:  7\n OS/Arch:         linux/")
        );
    }
}
