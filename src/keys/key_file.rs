//! The file `grantd.key`: the encryption key beside a SQLite database. Must not decide where the file
//! lies nor when a key is made.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::encryption_key::{EncryptionKey, InvalidEncryptionKey};

/// Far more than a key and its newline; a bigger file is something else.
const LONGEST: u64 = 1024;

/// Why the key file could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Somebody else made the file first; it is complete and can be read.
    #[error("the key file {} exists already and is never overwritten: read it, or name another one", .0.display())]
    AlreadyExists(PathBuf),
    /// The place for the old key is taken by another one.
    #[error(
        "the file {} holds the key of an earlier re-sealing, which backups made before it still need: move it to where you keep keys, then run this again", .0.display()
    )]
    AnotherIsKept(PathBuf),
    /// Others on this machine may read or change the key.
    #[error(
        "the key file {0} is open to other users of this machine (mode {mode:04o}), who could forge tokens with it: run `chmod 600 {0}`",
        path.display()
    )]
    OpenToOthers {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("the key file {} is no use ({source}); if a database was made with it, restore it from a backup", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its content.
        source: InvalidEncryptionKey,
    },
    /// The operating system refused.
    #[error("the key file {} could not be {attempt}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried: `read` or `written`.
        attempt: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The key in the file at `path`, or `None` if there is no such file.
///
/// # Errors
/// If the file is readable or writable by others, holds no key, or cannot be read.
pub fn read(path: &Path) -> Result<Option<EncryptionKey>, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), attempt: "read", source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Asked of the open file, not of the path, which may mean another file by now.
    refuse_open_to_others(path, &file.metadata().map_err(failed)?)?;

    let invalid = |source| KeyFileError::Invalid { path: path.to_owned(), source };
    let mut content = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    file.take(LONGEST).read_to_end(&mut content).map_err(failed)?;
    let text = std::str::from_utf8(&content).map_err(|_| invalid(InvalidEncryptionKey::Malformed))?;
    EncryptionKey::from_base64(text).map(Some).map_err(invalid)
}

/// Makes the file at `path` with mode 0600, whole or not at all, and never over an existing one. Of
/// several processes that do this at once one wins; the others get [`KeyFileError::AlreadyExists`] and
/// find a complete file. The directory must exist.
///
/// # Errors
/// If the file exists already, or the directory cannot be written.
pub fn create(path: &Path, key: &EncryptionKey) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), attempt: "written", source };
    let directory = directory_of(path);

    // The content is on the disk before the name is: after a crash there is a whole key or none, and
    // never a database sealed with a key that was lost. Temporary files are made with mode 0600.
    let mut draft = tempfile::Builder::new().prefix(".grantd.key-").tempfile_in(directory).map_err(failed)?;
    draft.write_all(key.to_base64().as_bytes()).map_err(failed)?;
    draft.write_all(b"\n").map_err(failed)?;
    draft.as_file().sync_all().map_err(failed)?;

    // `renameat2(RENAME_NOREPLACE)` or `link`: the one step that decides a race.
    draft.persist_noclobber(path).map_err(|refused| match refused.error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::AlreadyExists(path.to_owned()),
        _ => failed(refused.error),
    })?;
    sync_directory(directory).map_err(failed)
}

/// Gives the file at `path` the second name `kept`, so that replacing it loses nothing. Done already, it is done.
///
/// # Errors
/// If `kept` is another file, or the directory cannot be written.
pub fn keep(path: &Path, kept: &Path) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io { path: kept.to_owned(), attempt: "written", source };
    match std::fs::hard_link(path, kept) {
        Ok(()) => sync_directory(directory_of(kept)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match (read(path)?, read(kept)?) {
            (Some(key), Some(old)) if old.has_fingerprint(&key.fingerprint()) => Ok(()),
            _ => Err(KeyFileError::AnotherIsKept(kept.to_owned())),
        },
        Err(error) => Err(failed(error)),
    }
}

/// Puts the file at `staged` in the place of the one at `path`: after a crash there is the one or the other, whole.
///
/// # Errors
/// If the directory cannot be written.
pub fn replace(staged: &Path, path: &Path) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), attempt: "written", source };
    std::fs::rename(staged, path).map_err(failed)?;
    sync_directory(directory_of(path)).map_err(failed)
}

/// Removes the file at `path`, if there is one.
///
/// # Errors
/// If the directory cannot be written.
pub fn discard(path: &Path) -> Result<(), KeyFileError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(KeyFileError::Io { path: path.to_owned(), attempt: "written", source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn refuse_open_to_others(path: &Path, metadata: &std::fs::Metadata) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::OpenToOthers { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_open_to_others(_path: &Path, _metadata: &std::fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn key(first: u8) -> EncryptionKey {
        EncryptionKey::from_bytes(std::array::from_fn(|i| first.wrapping_add(i as u8)))
    }

    fn names_in(directory: &Path) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    }

    #[test]
    fn a_made_key_reads_back_and_a_missing_file_is_no_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("grantd.key");

        assert!(read(&path).expect("no file is fine").is_none());
        create(&path, &key(1)).expect("made");

        let found = read(&path).expect("readable").expect("a key");
        assert_eq!(found.fingerprint(), key(1).fingerprint());
        assert_eq!(names_in(directory.path()), ["grantd.key"]);
    }

    #[test]
    fn a_replaced_key_is_kept_under_another_name_and_never_over_a_third() {
        let directory = tempfile::tempdir().expect("a directory");
        let [path, staged, kept] =
            ["grantd.key", "grantd.key.new", "grantd.key.old"].map(|name| directory.path().join(name));
        let holds = |path: &Path, of: u8| {
            read(path).expect("readable").expect("a key").has_fingerprint(&key(of).fingerprint())
        };
        create(&path, &key(1)).expect("made");
        create(&staged, &key(2)).expect("made");

        keep(&path, &kept).expect("kept");
        keep(&path, &kept).expect("kept already");
        replace(&staged, &path).expect("replaced");

        assert!(holds(&path, 2) && holds(&kept, 1) && !staged.exists());
        let another = keep(&path, &kept).expect_err("taken");
        assert!(matches!(another, KeyFileError::AnotherIsKept(_)), "{another}");
        assert!(holds(&kept, 1));
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("grantd.key");
        create(&path, &key(1)).expect("made");

        let again = create(&path, &key(2));

        assert!(matches!(again, Err(KeyFileError::AlreadyExists(_))), "{again:?}");
        assert!(read(&path).expect("readable").expect("a key").has_fingerprint(&key(1).fingerprint()));
        assert_eq!(names_in(directory.path()), ["grantd.key"]);
    }

    #[test]
    fn of_many_first_starts_one_makes_the_key_and_all_read_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("grantd.key");
        let together = Barrier::new(16);

        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let start = |first: u8| {
                let (path, together) = (&path, &together);
                scope.spawn(move || {
                    together.wait();
                    let won = match create(path, &key(first)) {
                        Ok(()) => true,
                        Err(KeyFileError::AlreadyExists(_)) => false,
                        Err(other) => panic!("{other}"),
                    };
                    let found = read(path).expect("complete").expect("there");
                    assert!(!won || found.has_fingerprint(&key(first).fingerprint()));
                    (won, found.fingerprint())
                })
            };
            let starts: Vec<_> = (0..16).map(start).collect();
            starts.into_iter().map(|start| start.join().expect("no panic")).collect()
        });

        assert_eq!(outcomes.iter().filter(|(won, _)| *won).count(), 1);
        assert!(outcomes.iter().all(|(_, found)| *found == outcomes[0].1));
        assert_eq!(names_in(directory.path()), ["grantd.key"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_is_made_for_its_owner_only_and_one_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("grantd.key");
        create(&path, &key(1)).expect("made");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);

        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o660, 0o777] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");

            let refused = read(&path).expect_err("open to others").to_string();

            assert!(refused.contains(&format!("chmod 600 {}", path.display())), "{refused}");
            assert!(refused.contains(&format!("{mode:04o}")), "{refused}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("chmod");
        assert!(read(&path).is_ok());
    }

    #[test]
    fn a_file_without_a_key_is_refused_and_not_repeated() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("grantd.key");
        for content in [b"".as_slice(), b"canary", b"\xff\xfe\x00", &[b'A'; 100_000]] {
            let _ = std::fs::remove_file(&path);
            let mut file = tempfile::NamedTempFile::new_in(directory.path()).expect("a file");
            file.write_all(content).expect("written");
            file.persist(&path).expect("named");

            let refused = read(&path).expect_err("no key");

            assert!(matches!(refused, KeyFileError::Invalid { .. }));
            assert!(!format!("{refused} {refused:?}").contains("canary"));
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_said_plainly() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("missing").join("grantd.key");

        let refused = create(&path, &key(1)).expect_err("no directory");

        assert!(matches!(refused, KeyFileError::Io { attempt: "written", .. }));
        assert!(refused.to_string().contains("grantd.key"));
        assert!(matches!(
            read(directory.path()),
            Err(KeyFileError::OpenToOthers { .. } | KeyFileError::Io { .. })
        ));
    }
}
