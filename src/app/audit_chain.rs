//! The chain of the audit: what a row's hash is over, and whether rows follow one another as they were written. Pure;
//! knows no database.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;

use crate::model::audit::{AuditRow, Head};

/// Chains rows with a key that is not in the database: whoever can only write the database can make no row fit.
pub(crate) struct ChainKey(hmac::Key);

impl ChainKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The hash of `row` behind `previous`. The hash that the row holds already does not count.
    pub(super) fn link(&self, previous: &Head, row: &AuditRow) -> [u8; 32] {
        let AuditRow { seq, at, actor, act, subject_kind, subject, details, hash: _ } = row;
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&previous.hash);
        context.update(&seq.to_be_bytes());
        context.update(&at.as_millis().to_be_bytes());
        // Each with its length before it: nothing moves from one field into the next unnoticed.
        for text in [actor, act, subject_kind, subject, details] {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

/// What is wrong with a chain, at the first place where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// There is no row of this number, and there must be.
    #[error("row {0} of the audit is missing: rows were deleted, so compare with an export from before")]
    Missing(i64),
    /// There is a row of this number, and there must not be.
    #[error("row {0} of the audit does not belong there: it was not written by grantd")]
    Stray(i64),
    /// The row, or what stands before it, is not what was written.
    #[error(
        "row {0} of the audit is not as grantd wrote it, behind the rows before it: compare with an export from before"
    )]
    Changed(i64),
    /// Rows are as they were written, and the head is not.
    #[error("the head of the audit is not its row {0}: the head was changed, or rows were cut off")]
    Head(i64),
    /// The head that was noted earlier is not in the chain.
    #[error(
        "row {0} of the audit is not the head that was noted earlier: rows were cut off or exchanged since, so compare with an export from then"
    )]
    Expected(i64),
}

/// Goes along a chain from its beginning.
pub(super) struct Walk<'a> {
    key: &'a ChainKey,
    at: Head,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(key: &'a ChainKey) -> Self {
        Self { key, at: Head::EMPTY }
    }

    /// The last row that fits.
    pub(super) const fn at(&self) -> Head {
        self.at
    }

    /// Takes the next row.
    pub(super) fn step(&mut self, row: &AuditRow) -> Result<(), Misfit> {
        let next = self.at.seq.saturating_add(1);
        if row.seq > next {
            return Err(Misfit::Missing(next));
        }
        if row.seq < next {
            return Err(Misfit::Stray(row.seq));
        }
        let hash = self.key.link(&self.at, row);
        if !bool::from(hash.ct_eq(&row.hash)) {
            return Err(Misfit::Changed(row.seq));
        }
        self.at = Head { seq: row.seq, hash };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::audit::hex;
    use crate::model::time::Timestamp;

    fn key() -> ChainKey {
        ChainKey::new(&std::array::from_fn(|i| i as u8))
    }

    fn row(seq: i64, subject: &str, details: &str) -> AuditRow {
        AuditRow {
            seq,
            at: Timestamp::from_millis(1_800_000_000_007 + seq),
            actor: "cli:zo\u{eb}".into(),
            act: "client.created".into(),
            subject_kind: "client".into(),
            subject: subject.into(),
            details: details.into(),
            hash: Vec::new(),
        }
    }

    /// Four rows as they are written.
    fn chain() -> Vec<AuditRow> {
        let (key, mut head, mut rows) = (key(), Head::EMPTY, Vec::new());
        for seq in 1..=4 {
            let mut row = row(seq, &format!("c{seq}"), "{}");
            head = Head { seq, hash: key.link(&head, &row) };
            row.hash = head.hash.to_vec();
            rows.push(row);
        }
        rows
    }

    fn walk(rows: &[AuditRow], key: &ChainKey) -> Result<i64, Misfit> {
        let mut walk = Walk::new(key);
        rows.iter().try_for_each(|row| walk.step(row))?;
        Ok(walk.at().seq)
    }

    #[test]
    fn the_hash_of_a_row_never_changes_because_old_chains_must_verify() {
        let first = key().link(&Head::EMPTY, &row(1, "app", "{}"));

        // Computed independently with Python's hmac module from the layout in `link`.
        assert_eq!(hex(&first), "fbbac02917d500db7105fc71e805068b0ea86e6d495a111293f8b2055fe8cacc");
    }

    #[test]
    fn a_chain_as_it_was_written_fits() {
        assert_eq!(walk(&[], &key()), Ok(0));
        assert_eq!(walk(&chain(), &key()), Ok(4));
    }

    #[test]
    fn every_field_of_every_row_is_under_the_hash() {
        for at in 0..4 {
            let tampers: [fn(&mut AuditRow); 7] = [
                |row| row.at = Timestamp::from_millis(row.at.as_millis() + 1),
                |row| row.actor.push('x'),
                |row| row.act = "client.deleted".into(),
                |row| row.subject_kind = "user".into(),
                |row| row.subject = "c9".into(),
                |row| row.details = "{ }".into(),
                |row| row.hash[31] ^= 1,
            ];
            for (number, tamper) in (0..).zip(tampers) {
                let mut rows = chain();
                tamper(&mut rows[at]);

                assert_eq!(walk(&rows, &key()), Err(Misfit::Changed(at as i64 + 1)), "tamper {number}");
            }
        }
    }

    #[test]
    fn rows_cannot_be_deleted_inserted_exchanged_or_made_without_the_key() {
        let with = |change: fn(&mut Vec<AuditRow>)| {
            let mut rows = chain();
            change(&mut rows);
            walk(&rows, &key())
        };

        assert_eq!(with(|rows| drop(rows.remove(0))), Err(Misfit::Missing(1)));
        assert_eq!(with(|rows| drop(rows.remove(2))), Err(Misfit::Missing(3)));
        assert_eq!(
            with(|rows| {
                rows.remove(1);
                rows[1].seq = 2;
                rows[2].seq = 3;
            }),
            Err(Misfit::Changed(2))
        );
        assert_eq!(
            with(|rows| {
                rows.swap(1, 2);
                rows[1].seq = 2;
                rows[2].seq = 3;
            }),
            Err(Misfit::Changed(2))
        );
        assert_eq!(with(|rows| rows.insert(0, row(0, "x", "{}"))), Err(Misfit::Stray(0)));
        assert_eq!(with(|rows| rows.push(row(4, "x", "{}"))), Err(Misfit::Stray(4)));
        assert_eq!(with(|rows| rows.push(row(5, "x", "{}"))), Err(Misfit::Changed(5)));
        assert_eq!(walk(&chain(), &ChainKey::new(&[7; 32])), Err(Misfit::Changed(1)));
    }

    #[test]
    fn nothing_moves_from_one_field_into_the_next() {
        let (key, one) = (key(), row(1, "ab", "c"));
        let other = row(1, "a", "bc");

        assert_ne!(key.link(&Head::EMPTY, &one), key.link(&Head::EMPTY, &other));
    }
}
