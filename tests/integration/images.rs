//! Images and containers together: what is in use stays, and what is wrong with an image shows when it is run.

use std::process::Command;

use crate::registry::{Access, Server};
use crate::support::{BadImage, Moat, bad_images, image_archive, names_in};

#[test]
fn what_skopeo_pushed_is_pulled_and_runs() {
    pulled_and_run(&[("busybox", "echo works")]);
}

#[test]
#[ignore = "a long story"]
fn large_images_that_skopeo_pushed_are_pulled_and_run() {
    pulled_and_run(&[("debian", "dpkg -l bash && echo works"), ("nginx", "nginx -t && echo works")]);
}

/// From another program through another registry into a virtual machine, by one `run`.
fn pulled_and_run(images: &[(&str, &str)]) {
    let registry = Server::start(Access::Open);
    let moat = Moat::empty();
    for (image, command) in images {
        let archive = image_archive(image, "docker");
        let name = registry.name(image);
        let from = format!("docker-archive:{}", archive.display());
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
            .args([from, format!("docker://{name}")])
            .status();
        assert!(copied.expect("skopeo runs").success());
        let answer = moat.run(["run", "--rm", &name, "sh", "-c", command]);
        assert!(answer.says(&["Unable to find image", &name]).ok().ends_with("works\n"));
        // It is there now.
        let again = moat.run(["run", "--rm", "--pull", "never", &name, "true"]);
        assert!(!again.code(0).stderr.contains("Unable to find image"));
    }
    moat.assert_clean();
}

#[test]
fn the_image_of_a_container_stays() {
    let moat = Moat::with(&["busybox"]);
    let container = moat.run(["run", "-d", "localhost/busybox", "true"]).ok();
    let container = container.trim();
    let words = ["conflict: unable to remove repository reference", "(must force)", &container[..12]];
    moat.run(["rmi", "localhost/busybox"]).code(1).says(&words);
    assert_eq!(moat.run(["rmi", "-f", "localhost/busybox"]).ok(), "Untagged: localhost/busybox:latest\n");
    let id = moat.run(["images", "-q", "--filter", "dangling=true"]).ok();
    moat.run(["rmi", "-f", id.trim()]).code(1).says(&["cannot be forced", "is being used by"]);
    moat.run(["rm", "-f", container]).ok();
    moat.run(["rmi", id.trim()]).ok();
    assert_eq!(names_in(&moat.root().join("images/blobs/sha256")), [""; 0]);
}

#[test]
fn images_that_cannot_run_say_why() {
    let moat = Moat::empty();
    let directory = tempfile::tempdir().expect("a directory");
    let cases = bad_images(directory.path());
    let cases = cases.into_iter().filter(|case| case.stage == "run" && case.expect == "error");
    let mut count = 0;
    for BadImage { name, file, wrong, .. } in cases {
        let path = directory.path().join(file);
        moat.run(["load", "-q", "-i", path.to_str().expect("a UTF-8 path")]).ok();
        let image = format!("localhost/bad-{name}:latest");
        let answer = moat.run(["run", "--rm", &image]);
        assert_eq!(answer.code, 125, "{name} ({wrong}): {answer:?}");
        assert!(
            answer.stderr.starts_with("moat: ") && !answer.stderr.contains("panicked"),
            "{name}: {answer:?}"
        );
        moat.run(["rmi", &image]).ok();
        count += 1;
    }
    assert!(count >= 12, "only {count} cases");
    moat.assert_clean();
}
