//! Downloads: a whole folder or nothing. Without a network.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use gaternet::cli::download::Archive;
use md5::{Digest, Md5};

/// `set/file` with the contents `pixels`, and its checksum.
fn archive() -> (Vec<u8>, String) {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    header.set_mode(0o644);
    tar.append_data(&mut header, "set/file", &b"pixels"[..]).expect("appended");
    let bytes = tar.into_inner().expect("tar").finish().expect("gzip");
    let md5 = Md5::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    (bytes, md5)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).expect("a folder").next().is_none()
}

#[test]
fn an_archive_becomes_its_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let (bytes, md5) = archive();
    let set = Archive { url: "http://127.0.0.1:9/set.tar.gz", md5: &md5, folder: "set" };
    set.install(&dir.path().join("new"), None, &bytes[..]).expect("installed");
    let file = dir.path().join("new/set/file");
    assert_eq!(fs::read_to_string(file).expect("unpacked"), "pixels");
    assert_eq!(fs::read_dir(dir.path().join("new")).expect("a folder").count(), 1, "leftovers");
    for there in ["new", "new/set"] {
        set.fetch(&dir.path().join(there)).expect("what is there is not downloaded again");
    }
}

#[test]
fn another_checksum_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut bytes, md5) = archive();
    bytes.push(0);
    let set = Archive { url: "http://127.0.0.1:9/set.tar.gz", md5: &md5, folder: "set" };
    let error = set.install(dir.path(), Some(bytes.len() as u64), &bytes[..]).expect_err("changed");
    let message = format!("{error:#}");
    for part in [set.url, &md5, dir.path().to_str().expect("UTF-8")] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    assert!(is_empty(dir.path()), "{:?}", fs::read_dir(dir.path()));
}

#[test]
fn a_connection_that_breaks_leaves_nothing() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("connection reset"))
        }
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (bytes, md5) = archive();
    let set = Archive { url: "http://127.0.0.1:9/set.tar.gz", md5: &md5, folder: "set" };
    let error = set.install(dir.path(), None, bytes[..50].chain(Broken)).expect_err("broken");
    assert!(format!("{error:#}").contains("connection reset"), "{error:#}");
    assert!(is_empty(dir.path()));
}

#[test]
fn nobody_there_is_a_message_with_the_way_by_hand() {
    let dir = tempfile::tempdir().expect("a folder");
    let target = dir.path().join("new");
    // Port 9 discards; nothing listens to it.
    let set = Archive { url: "http://127.0.0.1:9/set.tar.gz", md5: "", folder: "set" };
    let error = set.fetch(&target).expect_err("nobody there");
    let message = format!("{error:#}");
    for part in [set.url, "by hand", target.to_str().expect("UTF-8")] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    assert!(!target.exists());
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_a_living_one_fills_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| {
        let folder = dir.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("archive"), "half of it").expect("a file");
        folder
    };
    let (dead, older, alive, other) = (
        folder(".download-dead"),
        folder(".download-older"),
        folder(".download-alive"),
        folder("mine"),
    );
    // A lock whose process has ended is there and free; older versions had none.
    fs::write(dead.join("lock"), "").expect("a file");
    let lock = File::create(alive.join("lock")).expect("a file");
    lock.try_lock().expect("nobody has it");
    let (bytes, md5) = archive();
    let set = Archive { url: "http://127.0.0.1:9/set.tar.gz", md5: &md5, folder: "set" };
    set.fetch(dir.path()).expect_err("nobody there");
    let there = |folder: &Path| folder.exists();
    assert!(!there(&dead) && !there(&older) && there(&alive) && there(&other));
    set.install(dir.path(), None, &bytes[..]).expect("installed");
    assert!(there(&alive));
    drop(lock);
    // Also where there is nothing to download.
    set.fetch(dir.path()).expect("it is there");
    assert!(!there(&alive) && there(&other));
}
