//! The SQLite file as the operating system sees it: whether it is still the file that was opened, and whether there is
//! room for more. Knows no driver and no SQL.

use std::fs::{Metadata, metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::error::StorageError;

/// Less room than this, and only a real write tells whether there is enough.
const ENOUGH_ROOM: u64 = 1024 * 1024;
/// How many may wait for the one writer; who comes later is told so at once instead of after its patience.
const LONGEST_LINE: usize = 1000;

/// An open database file.
#[derive(Debug)]
pub struct SqliteFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    commits: AtomicU64,
    waiting: AtomicUsize,
}

/// What the file system says of the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is plenty.
    Enough,
    /// There is little: it may fail.
    Little,
}

impl SqliteFile {
    /// Of a file that was just opened.
    pub(super) fn of(path: PathBuf) -> std::io::Result<Self> {
        let identity = identity_of(&metadata(&path)?);
        Ok(Self { path, identity, commits: AtomicU64::new(0), waiting: AtomicUsize::new(0) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses if the name leads to another file or to none. A file that was deleted goes on taking writes, all of
    /// which are lost with the process: nobody may be told that such a one was done.
    pub(super) fn check_in_place(&self) -> Result<(), StorageError> {
        let path = self.path.display();
        match metadata(&self.path) {
            Ok(found) if identity_of(&found) == self.identity => Ok(()),
            Ok(_) => Err(StorageError::unavailable(format!(
                "{path} is not the file that was opened: put that one back, or restart grantd to work on this one"
            ))),
            Err(cause) => Err(StorageError::unavailable(format!(
                "{path} is gone ({cause}): put it back, or restart grantd on a restored one"
            ))),
        }
    }

    /// What the file system says of the next write; refuses if it takes none.
    pub(super) fn room(&self) -> Result<Room, StorageError> {
        let path = self.path.display();
        let found =
            statvfs(&self.path).map_err(|cause| StorageError::unavailable(format!("{path}: {cause}")))?;
        if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(StorageError::unavailable(format!("the file system of {path} is mounted read-only")));
        }
        let left = found.f_bavail.saturating_mul(found.f_frsize);
        Ok(if left < ENOUGH_ROOM { Room::Little } else { Room::Enough })
    }

    /// Counts a commit.
    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// How many commits this process has made.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Whether nobody waits for the one writer.
    pub(super) fn is_nobody_in_line(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// A place in the line for the one writer, held until it is dropped.
    pub(super) fn stand_in_line(&self) -> Result<Place<'_>, StorageError> {
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= LONGEST_LINE {
            return Err(StorageError::unavailable("too many are waiting to write"));
        }
        Ok(place)
    }
}

/// See [`SqliteFile::stand_in_line`].
pub(super) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn identity_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> (tempfile::TempDir, SqliteFile) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("grantd.db");
        std::fs::write(&path, "a database").expect("a file");
        let file = SqliteFile::of(path).expect("a file that is there");
        (directory, file)
    }

    #[test]
    fn a_file_that_was_deleted_or_replaced_is_noticed_and_so_is_its_return() {
        let (directory, file) = opened();
        let away = directory.path().join("away");
        assert!(file.check_in_place().is_ok());

        std::fs::rename(file.path(), &away).expect("moved");
        let gone = file.check_in_place().expect_err("no file").to_string();
        std::fs::write(file.path(), "another one").expect("a file");
        let other = file.check_in_place().expect_err("another file").to_string();

        assert!(gone.contains("is gone") && gone.contains("restart grantd"), "{gone}");
        assert!(other.contains("not the file that was opened"), "{other}");
        std::fs::rename(&away, file.path()).expect("moved back");
        assert!(file.check_in_place().is_ok());
    }

    #[test]
    fn the_line_for_the_writer_has_an_end() {
        let (_directory, file) = opened();
        let mut line: Vec<_> =
            (0..LONGEST_LINE).map(|_| file.stand_in_line().map_err(drop).expect("a place")).collect();

        assert!(file.stand_in_line().is_err());

        line.pop();
        assert!(file.stand_in_line().is_ok(), "who was refused takes no place");
    }

    #[test]
    fn a_file_system_with_room_is_told_from_one_that_takes_no_writes() {
        let (_directory, file) = opened();
        assert!(file.room().is_ok());

        // Where the kernel shows itself there is never room for a file.
        let of_the_kernel = SqliteFile::of("/proc/self/stat".into()).expect("Linux");
        assert!(!matches!(of_the_kernel.room(), Ok(Room::Enough)));
    }
}
