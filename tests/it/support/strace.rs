//! strace, which kills a process or fails its disk at a chosen sync, and tells what it wrote and synced. Knows nothing
//! of grantd.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::runner::not_here;

/// What happens at one of the syncs of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault<'a> {
    /// The process is killed before it.
    Kill,
    /// Syncs of this one file fail, as on a bad disk; SQLite takes no notice of a directory that cannot be synced.
    ErrorOf(&'a Path),
}

/// Ends the test as ignored where there is no strace that may trace.
pub(crate) fn here() {
    static USABLE: OnceLock<bool> = OnceLock::new();

    let usable = USABLE.get_or_init(|| {
        let mut probe = Command::new("strace");
        probe.args([
            "-f",
            "-D",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync",
            "-e",
            "inject=fsync:error=EIO:when=1",
            "true",
        ]);
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    });
    if !usable {
        not_here(String::from("no strace here that may trace (Debian: strace)"));
    }
}

/// The words before a command that is to meet a fault at a sync, counted by thread: all commits of grantd on SQLite are one thread's.
///
/// `when` is strace's own: `3` the third, `3+` the third and all later ones.
pub(crate) fn at_sync(fault: Fault<'_>, when: &str, log: &Path) -> Vec<String> {
    let inject = |how: &str| format!("inject=fsync,fdatasync:{how}:when={when}");
    match fault {
        Fault::Kill => words(log, &["-e", "trace=fsync,fdatasync", "-e", &inject("signal=KILL")]),
        Fault::ErrorOf(file) => {
            let file = file.to_str().expect("a path of text");
            words(log, &["-P", file, "-e", "trace=fsync,fdatasync", "-e", &inject("error=EIO")])
        }
    }
}

/// The words before a command that is to meet no fault: what is written and synced stands in the log.
pub(crate) fn watching(log: &Path) -> Vec<String> {
    words(log, &["-y", "-s", "0", "-e", "trace=write,pwrite64,pwritev,ftruncate,fsync,fdatasync"])
}

/// `-D`: the traced process is our child, so that a kill meets it and not strace.
fn words(log: &Path, more: &[&str]) -> Vec<String> {
    let log = log.to_str().expect("a path of text");
    ["strace", "-f", "-D", "-qq", "-o", log].iter().chain(more).map(|word| (*word).to_owned()).collect()
}

/// The files whose name ends like one of these and that were written after they were last synced, by a log of
/// [`watching`].
pub(crate) fn unsynced(log: &str, endings: &[&str]) -> BTreeSet<PathBuf> {
    let ours = |path: &str| endings.iter().any(|ending| path.ends_with(ending));
    let mut written: BTreeMap<&str, u32> = BTreeMap::new();
    let mut synced: BTreeMap<&str, u32> = BTreeMap::new();
    // A sync covers what was written before it began, and counts when it has ended.
    let mut under_way: HashMap<&str, (&str, u32)> = HashMap::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("<... fsync") || call.starts_with("<... fdatasync") {
            if let Some((path, until)) = under_way.remove(thread).filter(|_| call.ends_with("= 0")) {
                synced.insert(path, until);
            }
            continue;
        }
        // `pwrite64(12</a/b>, ""..., 4096, 0) = 4096`
        let path = call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
        let Some(path) = path.filter(|path| ours(path)) else { continue };
        let until = written.get(path).copied().unwrap_or(0);
        if !call.starts_with("fsync(") && !call.starts_with("fdatasync(") {
            written.insert(path, until + 1);
        } else if call.ends_with("= 0") {
            synced.insert(path, until);
        } else {
            under_way.insert(thread, (path, until));
        }
    }
    let dirty = written.into_iter().filter(|(path, count)| synced.get(path) != Some(count));
    dirty.map(|(path, _)| path.into()).collect()
}
