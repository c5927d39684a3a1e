//! Images made by other people's tools, in a guest: Debian, nginx, and the torture image.
//!
//! That the disk equals what `umoci unpack` yields is proved path by path where a machine can mount it
//! (`rootfs/tests/against_umoci.rs`); here a guest's kernel looks at a sample of the same disk.

use std::fs;

use crate::support::{Moat, names_in};

/// Runs a script in a fresh container of `image` and returns its output.
fn script(moat: &Moat, image: &str, script: &str) -> String {
    moat.run(["run", "--rm", image, "/bin/sh", "-c", script]).ok()
}

#[test]
fn debian_runs_its_own_programs() {
    let moat = Moat::with(&["debian"]);
    assert!(script(&moat, "localhost/debian", ". /etc/os-release; echo $ID").contains("debian"));
    // The image comes without manual pages and the like; every other file that dpkg knows has the sum that it should.
    let verify = "dpkg --verify | grep -v ' /usr/share/'; dpkg-query -W -f '${Status}\n' bash";
    let answer = script(&moat, "localhost/debian", verify);
    assert_eq!(answer, "install ok installed\n", "a changed file would be listed before");
    let perl = "perl -e 'my %h; $h{$_ % 97} += $_ for 1 .. 10000; print scalar(keys %h), \"\n\"'";
    assert_eq!(script(&moat, "localhost/debian", perl), "97\n");
    // What is written lands on the writable disk and is read back.
    let write = "head -c 20000000 /dev/urandom > /var/a && cp /var/a /var/b && sync && cmp /var/a /var/b && echo same";
    assert_eq!(script(&moat, "localhost/debian", write), "same\n");
    moat.assert_clean();
}

#[test]
fn nginx_serves_inside() {
    let moat = Moat::with(&["nginx"]);
    assert!(
        moat.run(["run", "--rm", "localhost/nginx", "nginx", "-t"]).code(0).stderr.contains("successful")
    );
    let fetch =
        "nginx && exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && head -1 <&3";
    let answer = moat.run(["run", "--rm", "localhost/nginx", "bash", "-c", fetch]).ok();
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    moat.assert_clean();
}

/// Each command and what it prints, by the table in tests/images/README.md.
const TORTURE: [(&str, &str); 30] = [
    ("cat /t/wh/gone", "back in a later layer"),
    ("ls /t/wh/gone-dir", "only"),
    ("ls /t/wh/mixed", "new"),
    ("ls /t/wh | grep -c gone-link", "0"),
    ("cat /t/wh/renamed-to", "lower renamed-from"),
    ("ls /t/opq/first /t/opq/implicit | tr '\\n' ' '", "/t/opq/first: new  /t/opq/implicit: new"),
    ("stat -c %a /t/opq/implicit", "711"),
    ("cd /t/ends && for name in */*; do test -e $name || echo $name; done; ls -d */* | wc -l", "1472"),
    ("cat /t/ends/*/z* | sort | uniq -c", "64 last"),
    ("cat /t/type/dir-file-dir/newer; ls /t/type/dir-file-dir | wc -l", "the lower child stays away1"),
    ("stat -c '%F %t %T' /t/type/dir-device", "block special file 8 1"),
    ("cat /t/type/symlink-dir/child", "in a directory, not in host"),
    ("cat /t/hard/b", "shared by a, b and c"),
    ("test /t/hard/b -ef /t/hard/c && stat -c '%h %a %u' /t/hard/b", "2 640 5"),
    ("test /t/hard/across-again -ef /t/hard/target && echo one", "one"),
    ("cat /host/passwd-through", "through an absolute link"),
    ("stat -c %a /host/passwd-through", "600"),
    ("cat /host/chain/through-chain", "through a chain of links"),
    ("cat /nowhere/yet/file", "through a dangling link"),
    ("readlink /t/sym/etc", "/host"),
    ("ls /host | grep -c for-whiteout", "0"),
    ("stat -c '%a' /t/mode/file-6755 /t/mode/dir-7777 | tr '\\n' ' '", "6755 7777"),
    ("stat -c '%u %g' /t/owner/base-256", "3000000000 2147483648"),
    ("stat -c '%u %g' /t/owner/named", "12 34"),
    ("stat -c %Y /t/time/minus-one", "-1"),
    ("stat -c %Y /t/time/after-2106", "4294967297"),
    ("stat -c '%F %t %T' /t/dev/null", "character special file 1 3"),
    ("stat -c %F /t/dev/fifo", "fifo"),
    ("stat -c %s /t/big/sparse", "5368709120"),
    ("find /many -type f | wc -l", "100000"),
];

#[test]
fn the_torture_image_is_what_it_should_be() {
    let moat = Moat::with(&["torture"]);
    let commands: String = TORTURE.iter().map(|(command, _)| format!("{command}; echo; echo ==\n")).collect();
    let output = script(&moat, "localhost/torture", &commands);
    let answers: Vec<String> = output.split("==\n").map(|answer| answer.trim().replace('\n', "")).collect();
    assert_eq!(answers.len(), TORTURE.len() + 1, "{output}");
    for ((command, expected), answer) in TORTURE.iter().zip(&answers) {
        assert_eq!(answer, expected, "{command}");
    }
    moat.assert_clean();
}

/// A host's disk that turns a byte over costs a line of a check; the layers have all that the index is made of.
#[test]
fn a_damaged_index_is_made_again() {
    let moat = Moat::with(&["busybox"]);
    let indexes = moat.root().join("indexes");
    let [name] = names_in(&indexes).try_into().expect("one index");
    let path = indexes.join(name);
    let sound = fs::read(&path).expect("an index");
    let mut damaged = sound.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::remove_file(&path).expect("removed");
    fs::write(&path, damaged).expect("written");
    moat.run(["system", "check"]).code(1).says(&[path.to_str().expect("UTF-8"), "has been made again"]);
    assert!(fs::read(&path).expect("an index") == sound, "it is as it was");
    assert!(moat.run(["system", "check"]).ok().ends_with(": all sound\n"));
    assert_eq!(script(&moat, "localhost/busybox", "echo runs"), "runs\n");
    moat.assert_clean();
}

/// Sparse files, in every format that tar has for them: the same bytes.
#[test]
fn sparse_files_read_as_zeros_and_data() {
    let moat = Moat::with(&["torture", "gnu-sparse"]);
    let sums = |image: &str, pattern: &str| {
        let text =
            script(&moat, image, &format!("cd /t/sparse && for f in {pattern}*; do sha256sum < $f; done"));
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let pax = sums("localhost/torture", "pax-1.0-");
    assert_eq!(pax.len(), 4);
    assert_eq!(sums("localhost/torture", "pax-0.0-"), pax);
    assert_eq!(sums("localhost/torture", "pax-0.1-"), pax);
    assert_eq!(sums("localhost/gnu-sparse", "gnu-"), pax);
    moat.assert_clean();
}
