//! Moving in: users with the password hashes that another system made, from a file or a table, all of them or none.
//!
//! Gather: a reader on a thread of its own makes rows of whatever it is given, each of which is judged by the types of
//! the model and put into temporary tables. Decide: rows in each other's way are found there. Persist: one transaction
//! puts everybody among the users, so that whatever ends the process leaves everything or nothing.

mod fields;
mod formats;
mod json_files;
mod judge;
mod keycloak;
mod outcome;
mod reading;
mod text_files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::audit::{Act, hex};
use crate::model::role::{Role, RoleName};
use crate::model::scope::Scope;
use crate::passwords::{FirebaseConfig, HashParams, PoolError, needs_rehash, recognise, unknown_password};
use crate::storage::db::Location;
use crate::storage::user_import::{Clash, Staging};
use crate::storage::{StorageError, roles, user_import, users};

use super::error::AdminError;
use super::{App, audit};

pub use self::fields::{Field, FieldMap, InvalidMapping, Mapping};
pub use self::formats::Format;
pub use self::judge::Refusal;
pub use self::outcome::{HashCounts, ImportError, Imported, Refused, SchemeCount};

use self::judge::Judge;
use self::reading::Batch;

/// Where users come from.
#[derive(Debug)]
pub enum Source {
    /// A file.
    File(PathBuf, Format),
    /// A table of another system's database.
    Table(Location, String),
}

/// What is wanted of an import.
#[derive(Debug)]
pub struct ImportWish {
    /// Where users come from.
    pub source: Source,
    /// Which column is what, where it does not follow from its name.
    pub map: FieldMap,
    /// What the hashes of a Firebase project have in common.
    pub firebase: Option<FirebaseConfig>,
    /// Whether the others are imported where some are refused.
    pub skip_refused: bool,
    /// Whether users without a password come along.
    pub without_password: bool,
    /// Whether roles are made that do not exist.
    pub create_roles: bool,
    /// Whether nothing is to be changed.
    pub dry_run: bool,
}

/// How far an import is.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// So many rows were read, and so many bytes if it is a file.
    Read {
        /// Rows.
        rows: u64,
        /// Bytes.
        bytes: u64,
    },
    /// All are read, and looked at together.
    Arranging,
    /// They are written.
    Writing,
}

/// A role that is made for an import gives nothing until an operator says what.
const MADE_ROLE: &str = "came with an import";

impl App {
    /// Imports users: those who are there already stay as they are.
    pub async fn import_users(
        &self,
        wish: ImportWish,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Imported, ImportError> {
        let now = self.clock.now();
        let dry_run = wish.dry_run;
        let skip_refused = wish.skip_refused;
        let known = roles::list(&self.db).await?.into_iter().map(|role| role.name).collect();
        let judge = Judge {
            known,
            map: wish.map,
            firebase: wish.firebase,
            without_password: wish.without_password,
            create_roles: wish.create_roles,
            params: self.pool.params(),
            now,
        };

        let mut staging = Staging::open(&self.db).await?;
        let mut gathered = Gathered::default();
        let (format, mut batches) = reading::start(wish.source, judge).await?;
        while let Some(batch) = batches.next().await? {
            staging.add(&batch.users).await?;
            let refused: Vec<&str> =
                batch.refused.iter().filter_map(|refused| refused.username.as_deref()).collect();
            staging.note_refused(&refused).await?;
            gathered.take(batch);
            progress(Progress::Read { rows: gathered.read, bytes: gathered.bytes });
        }
        progress(Progress::Arranging);
        staging.arrange().await?;
        let clashing = staging.take_same_names().await?;
        gathered.refuse(clashing, Refusal::SameName);
        let clashing = staging.take_same_ids().await?;
        gathered.refuse(clashing, Refusal::SameId);
        let existing = staging.take_existing().await?;
        let (new, held) = staging.count().await?;

        let mut imported = gathered.into_outcome(format.name());
        let held_names: BTreeSet<&RoleName> = held.iter().map(|(role, _)| role).collect();
        imported.roles_created.retain(|role| held_names.contains(role));
        imported.existing = existing;
        imported.dry_run = dry_run;
        let stops = !imported.refused.is_empty() && !skip_refused;
        imported.created = if stops { 0 } else { new };
        imported.roles = if stops { BTreeMap::new() } else { held.iter().cloned().collect() };
        if stops {
            imported.roles_created.clear();
        }
        if dry_run || imported.created == 0 {
            return Ok(imported);
        }

        progress(Progress::Writing);
        let mut tx = staging.begin().await?;
        let mut acts = Vec::new();
        for name in &imported.roles_created {
            let scope = Scope::default();
            let role =
                Role { name: name.clone(), scope, description: Some(MADE_ROLE.into()), created_at: now };
            match roles::insert(&mut tx, &role).await {
                Ok(()) => acts.push(Act::RoleCreated(role)),
                Err(error) => {
                    tx.give_up().await;
                    return Err(raced(error));
                }
            }
        }
        match user_import::insert(&mut tx, now).await {
            Ok(created) => imported.created = created,
            Err(error) => {
                tx.give_up().await;
                return Err(raced(error));
            }
        }
        acts.push(Act::UsersImported {
            format: imported.format,
            sha256: imported.sha256.map(|hash| hex(&hash)),
            created: imported.created,
            roles: held,
        });
        self.commit(tx, &acts).await?;
        Ok(imported)
    }

    /// How many users there are for each way in which passwords are hashed, and how many of those hashes are what the
    /// settings say.
    pub async fn count_hashes(&self) -> Result<HashCounts, AdminError> {
        const PAGE: u32 = 5000;
        let params = self.pool.params();
        let mut counts: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = users::hashes_page(&self.db, after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (_, hash) in &page {
                let (scheme, current) = match recognise(hash) {
                    Ok(hash) => (hash.scheme(), !needs_rehash(&hash, &params)),
                    Err(_) => ("unreadable", false),
                };
                let count = counts.entry(scheme).or_default();
                count.0 += 1;
                count.1 += u64::from(current);
            }
        }
        Ok(HashCounts::of(counts))
    }
}

/// What has come in so far.
#[derive(Default)]
struct Gathered {
    read: u64,
    bytes: u64,
    left_out: u64,
    refused: Vec<Refused>,
    schemes: BTreeMap<&'static str, u64>,
    new_roles: BTreeSet<RoleName>,
    sha256: Option<[u8; 32]>,
    unit: &'static str,
}

impl Gathered {
    fn take(&mut self, batch: Batch) {
        self.read += batch.read;
        self.bytes = batch.bytes.max(self.bytes);
        self.left_out += batch.left_out;
        self.unit = batch.unit;
        self.refused.extend(batch.refused);
        for (scheme, count) in batch.schemes {
            *self.schemes.entry(scheme).or_default() += count;
        }
        self.new_roles.extend(batch.new_roles);
        self.sha256 = batch.sha256.or(self.sha256);
    }

    fn refuse(&mut self, clashes: Vec<Clash>, why: Refusal) {
        let refused = clashes.into_iter().map(|clash| Refused {
            row: clash.row,
            username: Some(clash.username),
            reason: why.clone(),
        });
        self.refused.extend(refused);
    }

    fn into_outcome(mut self, format: &'static str) -> Imported {
        self.refused.sort_by_key(|refused| refused.row);
        Imported {
            format,
            unit: self.unit,
            sha256: self.sha256,
            dry_run: false,
            read: self.read,
            created: 0,
            existing: 0,
            left_out: self.left_out,
            refused: self.refused,
            schemes: self.schemes,
            roles: BTreeMap::new(),
            roles_created: self.new_roles.into_iter().collect(),
        }
    }
}

/// Somebody changed what the import was judged by, between its look and its transaction.
fn raced(error: StorageError) -> ImportError {
    match error {
        StorageError::AlreadyExists | StorageError::Dangling => ImportError::Raced,
        error => error.into(),
    }
}

/// What is stored for somebody without a password.
fn no_password(params: HashParams) -> Result<String, PoolError> {
    Ok(unknown_password(params)?)
}

impl From<audit::AuditError> for ImportError {
    fn from(error: audit::AuditError) -> Self {
        Self::Admin(error.into())
    }
}
