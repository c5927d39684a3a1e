use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use super::*;

fn destination(path: &str, is_dir: Option<bool>, asserted: bool) -> Destination {
    Destination { path: path.into(), is_dir, asserted }
}

/// Docker's table.
#[test]
fn everything_goes_where_docker_puts_it() {
    let (file, directory) = (
        Source { base: Some(b"src"), is_dir: false, contents: false },
        Source { base: Some(b"src"), is_dir: true, contents: false },
    );
    let contents = Source { base: Some(b"src"), is_dir: true, contents: true };
    let root = Source { base: None, is_dir: true, contents: false };
    let (there, a_file, nothing) = (Some(true), Some(false), None);
    for (source, exists, asserted, expected) in [
        (&file, nothing, false, Ok(("/d", Some("new")))),
        (&file, nothing, true, Err("no such directory")),
        (&file, a_file, false, Ok(("/d", Some("new")))),
        (&file, a_file, true, Err("not a directory")),
        (&file, there, false, Ok(("/d/new", Some("src")))),
        (&directory, nothing, false, Ok(("/d", Some("new")))),
        (&directory, nothing, true, Ok(("/d", Some("new")))),
        (&directory, a_file, false, Err("cannot copy directory")),
        (&directory, there, true, Ok(("/d/new", Some("src")))),
        (&contents, nothing, false, Ok(("/d", Some("new")))),
        (&contents, there, false, Ok(("/d/new", None))),
        (&root, there, false, Ok(("/d/new", None))),
        (&root, nothing, false, Ok(("/d", Some("new")))),
    ] {
        let planned = plan(source, &destination("/d/new", exists, asserted));
        let expected = expected.map(|(directory, name): (&str, Option<&str>)| {
            (directory.as_bytes().to_vec(), name.map(|name| name.as_bytes().to_vec()))
        });
        assert_eq!(planned.map_err(|e| e.to_string()), expected.map_err(str::to_owned));
    }
}

#[test]
fn destinations_here_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).into_os_string();
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("dir")).unwrap();
    symlink("dir", at("to-dir")).unwrap();
    symlink("to-dir/../file", at("to-file")).unwrap();
    symlink("nothing", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    let clean = |name: &str| at(name).into_vec();
    for (name, target, is_dir, asserted) in [
        ("file", "file", Some(false), false),
        ("dir/.", "dir", Some(true), true),
        ("to-dir/", "dir", Some(true), true),
        ("to-file", "file", Some(false), false),
        ("dangling", "nothing", None, false),
        ("new/", "new", None, true),
    ] {
        let expected = Destination { path: clean(target), is_dir, asserted };
        assert_eq!(local_destination(&at(name)).unwrap(), expected, "{name}");
    }
    for (name, words) in [
        ("no/such", "invalid output path: directory"),
        ("file/x", "ot a directory"),
        ("loop", "too many symbolic links"),
        ("/dev/null", "must be a directory or a regular file"),
    ] {
        let error = local_destination(&at(name)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn sources_here_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    let at = |name: &str| root.join(name).into_os_string();
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/file"), "").unwrap();
    symlink("dir", at("link")).unwrap();
    for (name, follow, base, called, is_dir, contents) in [
        ("dir/file", false, "file", "file", false, false),
        ("dir", false, "dir", "dir", true, false),
        ("dir/.", false, "dir", "dir", true, true),
        ("link", false, "link", "link", false, false),
        ("link", true, "dir", "link", true, false),
        ("link/", false, "dir", "link", true, false),
        ("link/file", false, "file", "file", false, false),
    ] {
        let source = local_source(&at(name), follow).unwrap();
        assert_eq!(
            (source.base.as_os_str(), source.is_dir, source.contents),
            (OsStr::new(base), is_dir, contents)
        );
        assert_eq!(source.name.as_deref(), Some(called.as_bytes()), "{name}");
    }
    for (name, words) in [("nothing", "no such file or directory"), ("dir/file/", "ot a directory")] {
        let error = local_source(&at(name), false).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let top = local_source(OsStr::new("/"), false).unwrap();
    assert!(top.contents && top.is_dir && top.name.is_none());
}

/// Facts of all that is below a directory, but for those that depend on where it is.
fn tree(root: &Path) -> Vec<(PathBuf, u32, i64, u64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let (size, content) = if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            (0, Vec::new())
        } else if metadata.is_symlink() {
            (0, fs::read_link(&path).unwrap().into_os_string().into_vec())
        } else if metadata.len() > 1 << 20 {
            (metadata.len(), Vec::new())
        } else {
            (metadata.len(), fs::read(&path).unwrap())
        };
        let name = path.strip_prefix(root).unwrap().to_owned();
        all.push((name, metadata.mode(), metadata.mtime(), size + (metadata.nlink() << 40), content));
    }
    all.sort();
    // The times of directories above depend on who came last.
    all
}

#[test]
fn what_is_packed_is_extracted_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("deep/file"), "content").unwrap();
    fs::hard_link(source.join("deep/file"), source.join("twin")).unwrap();
    symlink("deep/file", source.join("link")).unwrap();
    symlink("/etc/passwd", source.join("absolute")).unwrap();
    fs::write(source.join("n".repeat(255)), "").unwrap();
    fs::write(source.join(OsStr::from_bytes(b"not\xffutf\n8")), "x").unwrap();
    fs::write(source.join("run"), "#!").unwrap();
    fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(source.join("deep/er"), fs::Permissions::from_mode(0o1777)).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"data", 32 << 20).unwrap();
    let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_890);
    sparse.set_modified(past).unwrap();
    let mut long = source.clone();
    for _ in 0..12 {
        long.push("a-long-name-of-a-directory");
    }
    fs::create_dir_all(&long).unwrap();

    let mut tar = Vec::new();
    pack(directory.path(), OsStr::new("source"), Some(b"copy"), &mut tar).unwrap();
    extract(tar.as_slice(), directory.path(), &Rename::first(b"copy", Some(b"copy")), false).unwrap();
    assert_eq!(tree(&directory.path().join("copy")), tree(&source));
    let copied = directory.path().join("copy/sparse");
    assert!(fs::metadata(&copied).unwrap().blocks() * 512 < 1 << 20);
    let mut data = [0; 4];
    fs::File::open(&copied).unwrap().read_exact_at(&mut data, 32 << 20).unwrap();
    assert_eq!(&data, b"data");

    // What is in it, without itself; and the same through another name.
    let mut tar = Vec::new();
    pack(directory.path(), OsStr::new("source"), None, &mut tar).unwrap();
    let into = directory.path().join("into");
    fs::create_dir(&into).unwrap();
    extract(tar.as_slice(), &into, &Rename::below(None), false).unwrap();
    let names = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!(names(&into), names(&source));
}

#[test]
fn names_change_on_the_way_to_a_stream() {
    let mut writer = Writer::new(Vec::new());
    for (kind, path, link) in [
        (Kind::Directory, "etc/", ""),
        (Kind::File, "etc/a", ""),
        (Kind::HardLink, "etc/b", "etc/a"),
        (Kind::Symlink, "etc/c", "../etc/a"),
    ] {
        let entry = Entry { kind, path: path.into(), link: link.into(), ..Entry::default() };
        writer.append(&entry, &mut io::empty()).unwrap();
    }
    let tar = writer.finish().unwrap();
    let mut renamed = Vec::new();
    relay(tar.as_slice(), &Rename::first(b"etc", None), &mut renamed).unwrap();
    let mut reader = Reader::new(renamed.as_slice());
    let names: Vec<_> = std::iter::from_fn(|| reader.next_entry().unwrap())
        .map(|entry| [entry.path, entry.link].map(|name| String::from_utf8(name).unwrap()))
        .collect();
    assert_eq!(names, [["./", ""], ["./a", ""], ["./b", "./a"], ["./c", "../etc/a"]]);
    for length in [0, 512, 1000, 2048] {
        let error = relay(&tar[..length], &Rename::first(b"etc", None), io::sink()).unwrap_err();
        assert!(matches!(error, ArchiveError::Tar(TarError::Incomplete)), "{error}");
    }
}

#[test]
fn paths_in_containers_are_absolute() {
    for (typed, path) in [("/a/b", "/a/b"), ("a/../b/", "/b"), ("", "/"), ("..", "/"), ("/a/.", "/a")] {
        assert_eq!(container_path(typed).unwrap(), path);
    }
}
