//! The SQLite file and its directory, which are for one user of the machine alone. Knows no SQL.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a database file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The directory or the file cannot be made.
    #[error("cannot make the database file {}: {cause}; check database.url and the directory's owner", path.display())]
    Make {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Whoever reads the file has every password hash and can guess; whoever writes it logs in as anybody.
    #[error(
        "the database file {0} is open to other users of this machine (mode {mode:04o}): run `chmod 600 {0}`",
        path.display()
    )]
    FileOpenToOthers {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// SQLite keeps part of the data in files beside it, and whoever may write the directory can exchange all of them.
    #[error(
        "the directory {0} of the database is open to other users of this machine (mode {mode:04o}): run `chmod 700 {0}`, or let database.url name a directory of its own, which grantd makes",
        path.display()
    )]
    DirectoryOpenToOthers {
        /// Which directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Makes the file and its directory for this user alone where they are missing, and refuses those that others can
/// reach.
pub(super) fn make_private(path: &Path) -> Result<(), PrivateFileError> {
    let failed = |cause| PrivateFileError::Make { path: path.to_owned(), cause };
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    // Before the file is made, so that a refused start leaves nothing behind.
    let metadata = std::fs::metadata(directory).map_err(failed)?;
    if let Some(mode) = open_to_others(&metadata) {
        return Err(PrivateFileError::DirectoryOpenToOthers { path: directory.to_owned(), mode });
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    // Asked of the open file, not of the path, which may mean another file by now.
    match open_to_others(&file.and_then(|file| file.metadata()).map_err(failed)?) {
        Some(mode) => Err(PrivateFileError::FileOpenToOthers { path: path.to_owned(), mode }),
        None => Ok(()),
    }
}

/// The permission bits, if they let anybody but the owner in.
fn open_to_others(metadata: &std::fs::Metadata) -> Option<u32> {
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("data").join("grantd.db");

        make_private(&path).expect("made");
        make_private(&path).expect("there already");

        assert_eq!((mode(&path), mode(path.parent().expect("one"))), (0o600, 0o700));
    }

    #[test]
    fn what_others_can_reach_is_refused_with_the_command_that_mends_it() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("data");
        let path = directory.join("grantd.db");
        make_private(&path).expect("made");

        for bits in [0o640, 0o604, 0o620, 0o660, 0o666, 0o601] {
            chmod(&path, bits);
            let refused = make_private(&path).expect_err("open to others").to_string();
            assert!(refused.contains(&format!("`chmod 600 {}`", path.display())), "{refused}");
            assert!(refused.contains(&format!("{bits:04o}")), "{refused}");
        }
        chmod(&path, 0o400);
        assert!(matches!(make_private(&path), Ok(()) | Err(PrivateFileError::Make { .. })));
        chmod(&path, 0o600);
        for bits in [0o755, 0o750, 0o770, 0o777, 0o1777, 0o701] {
            chmod(&directory, bits);
            let refused = make_private(&path).expect_err("open to others").to_string();
            assert!(refused.contains(&format!("`chmod 700 {}`", directory.display())), "{refused}");
        }
        chmod(&directory, 0o700);
        make_private(&path).expect("mended as it said");
    }

    #[test]
    fn a_refused_directory_is_left_without_a_file() {
        let home = tempfile::tempdir().expect("a directory");
        chmod(home.path(), 0o755);
        let path = home.path().join("grantd.db");

        assert!(make_private(&path).is_err());

        assert!(!path.exists());
    }
}
