//! Images and containers together: what is in use stays, and what is wrong with an image shows when it is run.

use crate::support::{BadImage, Moat, bad_images, names_in};

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
