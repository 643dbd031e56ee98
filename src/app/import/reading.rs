//! Reads the source on a thread of its own, judges its rows there, and hands them on a few hundred at a time, so that a
//! file of any length is in memory a few hundred rows at a time.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::model::role::RoleName;
use crate::storage::db::Location;
use crate::storage::foreign_table::ForeignTable;
use crate::storage::user_import::Incoming;

use super::formats::{Format, Shape, recognise_file};
use super::judge::{Judge, Refusal, Row};
use super::outcome::{ImportError, Refused};
use super::{Source, json_files, text_files};

/// Rows that are handed on together.
const AT_ONCE: usize = 500;
/// How much of a file is looked at to find out what it is.
const HEAD: usize = 64 * 1024;

/// Some rows, judged.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) users: Vec<Incoming>,
    pub(super) refused: Vec<Refused>,
    pub(super) read: u64,
    /// Of the file, so far.
    pub(super) bytes: u64,
    pub(super) left_out: u64,
    pub(super) schemes: Vec<(&'static str, u64)>,
    pub(super) new_roles: Vec<RoleName>,
    pub(super) unit: &'static str,
    /// Of the file, with the last batch.
    pub(super) sha256: Option<[u8; 32]>,
}

/// What comes from the reader.
pub(super) struct Batches(Receiver<Result<Batch, ImportError>>);

impl Batches {
    /// The next rows; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, ImportError> {
        self.0.recv().await.transpose()
    }
}

/// Opens the source, finds out what it is, and begins to read.
pub(super) async fn start(source: Source, judge: Judge) -> Result<(Format, Batches), ImportError> {
    let (to, batches) = mpsc::channel(4);
    let format = match source {
        Source::File(path, wanted) => start_file(&path, wanted, judge, to)?,
        Source::Table(location, table) => start_table(&location, &table, judge, to).await?,
    };
    Ok((format, Batches(batches)))
}

fn start_file(
    path: &Path,
    wanted: Format,
    mut judge: Judge,
    to: Sender<Result<Batch, ImportError>>,
) -> Result<Format, ImportError> {
    let failed = |cause| ImportError::File { path: path.display().to_string(), cause };
    let mut file = File::open(path).map_err(failed)?;
    let mut head = Vec::with_capacity(HEAD);
    (&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    let known = recognise_file(&String::from_utf8_lossy(&head), wanted);
    let (format, shape) = known.ok_or_else(|| ImportError::Format(path.display().to_string()))?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    if let Some(columns) = format.columns() {
        judge.map = judge.map.of_format(columns);
    }

    let path = path.to_owned();
    let reading = move || {
        let mut collector = Collector::new(judge, format, shape, to);
        if let Err(error) = read_file(file, &path, &mut collector) {
            collector.fail(error);
        }
    };
    std::thread::Builder::new().name("import".into()).spawn(reading).map_err(failed)?;
    Ok(format)
}

fn read_file(file: File, path: &PathBuf, collector: &mut Collector) -> Result<(), ImportError> {
    let failed = |cause| ImportError::File { path: path.display().to_string(), cause };
    let reopen = || File::open(path).map(BufReader::new).map_err(failed);
    let bytes = Arc::clone(&collector.bytes);
    let mut reader =
        BufReader::with_capacity(HEAD, Counted { file, bytes, hash: digest::Context::new(&digest::SHA256) });
    match collector.shape {
        Shape::Lines => text_files::lines(&mut reader, collector).map_err(failed)?,
        Shape::Csv(delimiter) => text_files::csv(&mut reader, delimiter, collector)?,
        Shape::JsonLines => json_files::lines(&mut reader, failed, collector)?,
        Shape::Json => json_files::document(&mut reader, reopen, collector)?,
    }
    // The rest of a file whose rows have ended, for its hash.
    io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
    let hash = reader.into_inner().hash.finish();
    collector.batch.sha256 = hash.as_ref().try_into().ok();
    collector.end();
    Ok(())
}

async fn start_table(
    location: &Location,
    table: &str,
    judge: Judge,
    to: Sender<Result<Batch, ImportError>>,
) -> Result<Format, ImportError> {
    let table = ForeignTable::open(location, table).await?;
    let mut collector = Collector::new(judge, Format::Table, Shape::Csv(b','), to);
    if table.columns().is_empty() {
        return Ok(Format::Table);
    }
    let columns = text_files::resolve(&collector.judge, table.columns().iter().map(String::as_str))?;
    let wanted: Vec<String> = columns.iter().map(|(_, name, _)| name.clone()).collect();
    let (rows_to, mut rows) = mpsc::channel(4);
    tokio::spawn(async move { table.read(&wanted, rows_to).await });
    tokio::spawn(async move {
        let mut at = 0;
        while let Some(some) = rows.recv().await {
            let some = match some {
                Ok(some) => some,
                Err(error) => return collector.fail_later(error.into()).await,
            };
            for values in some {
                at += 1;
                let mut row = Row::default();
                let set = columns.iter().zip(&values).try_for_each(|((_, name, field), value)| match value {
                    Some(text) => row.set_text(field, name, text),
                    None => Row::set_nothing(field, name),
                });
                collector.judge_row(at, set.map(|()| row));
            }
            if !collector.hand_on().await {
                return;
            }
        }
    });
    Ok(Format::Table)
}

/// Nobody takes rows any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Judges rows and hands them on.
pub(super) struct Collector {
    pub(super) judge: Judge,
    pub(super) format: Format,
    shape: Shape,
    to: Sender<Result<Batch, ImportError>>,
    batch: Batch,
    bytes: Arc<AtomicU64>,
}

impl Collector {
    fn new(judge: Judge, format: Format, shape: Shape, to: Sender<Result<Batch, ImportError>>) -> Self {
        Self { judge, format, shape, to, batch: Batch::default(), bytes: Arc::default() }
    }

    /// One row, or why it is none.
    pub(super) fn row(&mut self, at: u64, row: Result<Row, Refusal>) -> Result<(), Gone> {
        self.judge_row(at, row);
        if self.batch.users.len() + self.batch.refused.len() < AT_ONCE {
            return Ok(());
        }
        let batch = self.filled();
        self.to.blocking_send(Ok(batch)).map_err(|_| Gone)
    }

    fn judge_row(&mut self, at: u64, row: Result<Row, Refusal>) {
        self.batch.read += 1;
        let row = row.and_then(|row| {
            let takes = row.password_hash.as_deref().is_none_or(|hash| self.format.takes(hash.trim()));
            if takes { Ok(row) } else { Err(Refusal::OtherSystem) }
        });
        let judged = match row {
            Ok(row) => self.judge.judge(at, row),
            Err(refusal) => Err((None, refusal)),
        };
        match judged {
            Ok(judged) => {
                self.batch.users.push(judged.incoming);
                self.batch.new_roles.extend(judged.new_roles);
                self.count(judged.scheme.unwrap_or("none"));
            }
            Err((username, reason)) => self.batch.refused.push(Refused { row: at, username, reason }),
        }
    }

    fn count(&mut self, scheme: &'static str) {
        match self.batch.schemes.iter_mut().find(|(name, _)| *name == scheme) {
            Some((_, count)) => *count += 1,
            None => self.batch.schemes.push((scheme, 1)),
        }
    }

    /// Something that is no user.
    pub(super) fn leave_out(&mut self) {
        self.batch.read += 1;
        self.batch.left_out += 1;
    }

    fn filled(&mut self) -> Batch {
        self.batch.bytes = self.bytes.load(Ordering::Relaxed);
        self.batch.unit = match self.shape {
            Shape::Json => "row",
            Shape::Csv(_) if self.format == Format::Table => "row",
            Shape::Csv(_) | Shape::Lines | Shape::JsonLines => "line",
        };
        self.batch.new_roles.sort();
        self.batch.new_roles.dedup();
        std::mem::take(&mut self.batch)
    }

    async fn hand_on(&mut self) -> bool {
        let batch = self.filled();
        self.to.send(Ok(batch)).await.is_ok()
    }

    fn end(&mut self) {
        let batch = self.filled();
        let _taken = self.to.blocking_send(Ok(batch));
    }

    fn fail(&mut self, error: ImportError) {
        let _taken = self.to.blocking_send(Err(error));
    }

    async fn fail_later(&mut self, error: ImportError) {
        let _taken = self.to.send(Err(error)).await;
    }
}

/// A file whose bytes are counted and hashed as they go by.
struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
    hash: digest::Context,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.hash.update(&into[..read]);
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
