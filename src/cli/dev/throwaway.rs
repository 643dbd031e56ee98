//! Where the database of `grantd dev` is: in memory where the system has a place for that, and nowhere once the process is
//! gone. Knows nothing of databases.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tempfile::TempDir;

/// In memory on Linux, so that nothing waits for a disk. A database of SQLite's own in memory has one connection, or
/// locks that nobody waits for; a file there is as fast, and other commands can open it.
const MEMORY: &str = "/dev/shm";
const PREFIX: &str = "grantd-dev-";
/// Locked while its process lives; a lock, unlike the number of a process, is the same in every container.
const ALIVE: &str = "alive";

/// A directory for this user alone; deleted when it is dropped.
pub(super) struct Throwaway {
    directory: TempDir,
    _alive: File,
}

impl Throwaway {
    /// Makes one, and deletes those of processes that were killed, which take up memory.
    pub(super) fn make() -> io::Result<Self> {
        Self::make_in(Path::new(MEMORY)).or_else(|_| Self::make_in(&std::env::temp_dir()))
    }

    fn make_in(place: &Path) -> io::Result<Self> {
        delete_abandoned(place);
        let mode = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix(PREFIX).permissions(mode).tempdir_in(place)?;
        // Under its name only once it is locked: who finds it unlocked deletes the directory.
        let new = directory.path().join("new");
        let alive = File::create(&new)?;
        alive.lock()?;
        std::fs::rename(&new, directory.path().join(ALIVE))?;
        Ok(Self { directory, _alive: alive })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// What cannot be looked at is somebody else's.
fn delete_abandoned(place: &Path) {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for directory in ours.map(|entry| entry.path()).filter(|path: &PathBuf| is_abandoned(path.as_path())) {
        let _somebody_else_did = std::fs::remove_dir_all(directory);
    }
}

/// The place is everybody's: what another user puts there, such as a pipe that never opens, must not be touched.
fn is_abandoned(directory: &Path) -> bool {
    let Ok(found) = std::fs::symlink_metadata(directory) else { return false };
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return false;
    }
    let alive = directory.join(ALIVE);
    if !std::fs::symlink_metadata(&alive).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let Ok(alive) = File::open(alive) else { return false };
    !matches!(alive.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_deleted_and_what_is_in_use_is_not() {
        let place = tempfile::tempdir().expect("a directory");
        let living = Throwaway::make_in(place.path()).expect("made");
        let killed = Throwaway::make_in(place.path()).expect("made");
        std::fs::write(killed.path().join("dev.db"), "x").expect("a file");
        let Throwaway { directory, _alive } = killed;
        let left = directory.keep();
        drop(_alive);
        let unfinished = place.path().join("grantd-dev-unfinished");
        std::fs::create_dir(&unfinished).expect("a directory");

        let other = Throwaway::make_in(place.path()).expect("made");

        assert!(!left.exists());
        assert!(living.path().exists() && other.path().exists() && unfinished.exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }

    #[test]
    fn attack_a_pipe_in_place_of_the_lock_holds_nobody_up() {
        let place = tempfile::tempdir().expect("a directory");
        let trap = place.path().join("grantd-dev-trap");
        std::fs::create_dir(&trap).expect("a directory");
        let fifo = rustix::fs::FileType::Fifo;
        let rights = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, trap.join(ALIVE), fifo, rights, 0).expect("a pipe");
        let lures = place.path().join("grantd-dev-lure");
        std::fs::create_dir(&lures).expect("a directory");
        std::os::unix::fs::symlink(trap.join(ALIVE), lures.join(ALIVE)).expect("a link");
        std::os::unix::fs::symlink(&lures, place.path().join("grantd-dev-link")).expect("a link");
        let (to, done) = std::sync::mpsc::channel();
        let at = place.path().to_owned();

        std::thread::spawn(move || to.send(Throwaway::make_in(&at).is_ok()));

        // A pipe that nobody writes to would never open.
        assert_eq!(done.recv_timeout(std::time::Duration::from_secs(30)), Ok(true));
        assert!(trap.exists() && lures.exists());
    }
}
