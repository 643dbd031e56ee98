//! Rotations of several refresh-token families by one statement. What one statement decides for one family it decides for
//! each of them, and who is not among the winners has lost.

use crate::model::id::FamilyId;

use super::clients::parse;
use super::db::{Tx, rows};
use super::error::StorageError;
use super::families::Moved;

/// How many the statement has room for.
pub const ROOM: usize = 8;

/// One family whose live token is redeemed.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// Which.
    pub id: FamilyId,
    /// The generation of the token.
    pub generation: u32,
    /// What becomes of the family.
    pub moved: Moved<'a>,
}

/// Redeems as [`rotate`](super::families::rotate) does, in families that are all different and no more than [`ROOM`];
/// gives those that were won.
pub async fn rotate_all(tx: &mut Tx, rotations: &[Rotation<'_>]) -> Result<Vec<FamilyId>, StorageError> {
    let mut rotations: Vec<_> =
        rotations.iter().map(|rotation| (rotation.id.to_string(), rotation)).collect();
    rotations.sort_by(|(one, _), (other, _)| one.cmp(other));
    if rotations.len() > ROOM || rotations.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(StorageError::Refused(
            "families are rotated together once each, and a few at a time".into(),
        ));
    }
    let rows: [Columns<'_>; ROOM] = std::array::from_fn(|at| {
        rotations.get(at).map_or(Columns::NONE, |(id, rotation)| Columns::of(id, rotation))
    });
    // One text, before which, beside which and in the condition of which something may stand.
    macro_rules! won_by {
        ($first:literal, $beside:literal, $also:literal) => {
            rows!(
                &mut *tx,
                (String,),
                concat!(
                    $first,
                    "update families set generation = families.generation + 1, retries = 0, source = wanted.source,
                            rotated_at_ms = wanted.now_ms, jkt = coalesce(families.jkt, wanted.jkt)
                     from
                        (select $1 as id, $2 as generation, $3 as source, $4 as now_ms, $5 as now, $6 as idle_ms,
                                $7 as jkt, $8 as users_revision
                         union all select $9, $10, $11, $12, $13, $14, $15, $16
                         union all select $17, $18, $19, $20, $21, $22, $23, $24
                         union all select $25, $26, $27, $28, $29, $30, $31, $32
                         union all select $33, $34, $35, $36, $37, $38, $39, $40
                         union all select $41, $42, $43, $44, $45, $46, $47, $48
                         union all select $49, $50, $51, $52, $53, $54, $55, $56
                         union all select $57, $58, $59, $60, $61, $62, $63, $64
                        ) as wanted",
                    $beside,
                    " where ",
                    $also,
                    "families.id = wanted.id and families.generation = wanted.generation
                       and families.revoked_at is null
                       and families.expires_at > wanted.now and families.rotated_at_ms > wanted.idle_ms
                       and (families.jkt is null or families.jkt = wanted.jkt)
                       and (wanted.users_revision is null
                            or wanted.users_revision = (select value from revisions where subject = 'users'))
                     returning families.id"
                ),
                rows[0].id,
                rows[0].generation,
                rows[0].source,
                rows[0].now_ms,
                rows[0].now,
                rows[0].idle_ms,
                rows[0].jkt,
                rows[0].users_revision,
                rows[1].id,
                rows[1].generation,
                rows[1].source,
                rows[1].now_ms,
                rows[1].now,
                rows[1].idle_ms,
                rows[1].jkt,
                rows[1].users_revision,
                rows[2].id,
                rows[2].generation,
                rows[2].source,
                rows[2].now_ms,
                rows[2].now,
                rows[2].idle_ms,
                rows[2].jkt,
                rows[2].users_revision,
                rows[3].id,
                rows[3].generation,
                rows[3].source,
                rows[3].now_ms,
                rows[3].now,
                rows[3].idle_ms,
                rows[3].jkt,
                rows[3].users_revision,
                rows[4].id,
                rows[4].generation,
                rows[4].source,
                rows[4].now_ms,
                rows[4].now,
                rows[4].idle_ms,
                rows[4].jkt,
                rows[4].users_revision,
                rows[5].id,
                rows[5].generation,
                rows[5].source,
                rows[5].now_ms,
                rows[5].now,
                rows[5].idle_ms,
                rows[5].jkt,
                rows[5].users_revision,
                rows[6].id,
                rows[6].generation,
                rows[6].source,
                rows[6].now_ms,
                rows[6].now,
                rows[6].idle_ms,
                rows[6].jkt,
                rows[6].users_revision,
                rows[7].id,
                rows[7].generation,
                rows[7].source,
                rows[7].now_ms,
                rows[7].now,
                rows[7].idle_ms,
                rows[7].jkt,
                rows[7].users_revision,
            )
        };
    }
    // On Postgres locked in the order of their ids, so that nobody who holds some of them and waits for others, here or at
    // another instance, meets somebody who does it the other way round. On SQLite nobody else writes.
    let won: Vec<(String,)> = if tx.is_the_only_one() {
        won_by!("", "", "")
    } else {
        won_by!(
            "with locked as materialized
               (select id from families where id in ($1, $9, $17, $25, $33, $41, $49, $57)
                order by id for no key update)
             ",
            ", locked",
            "families.id = locked.id and "
        )
    };
    won.iter().map(|(id,)| parse(id)).collect()
}

/// A rotation as its columns.
#[derive(Clone, Copy)]
struct Columns<'a> {
    id: &'a str,
    generation: i64,
    source: &'a str,
    now_ms: i64,
    now: i64,
    idle_ms: i64,
    jkt: Option<&'a str>,
    users_revision: Option<i64>,
}

impl<'a> Columns<'a> {
    /// No family has this id.
    const NONE: Self = Self {
        id: "",
        generation: 0,
        source: "",
        now_ms: 0,
        now: 0,
        idle_ms: 0,
        jkt: None,
        users_revision: None,
    };

    fn of(id: &'a str, Rotation { generation, moved, .. }: &Rotation<'a>) -> Self {
        Self {
            id,
            generation: i64::from(*generation),
            source: moved.source,
            now_ms: moved.now.as_millis(),
            now: moved.now.as_secs(),
            idle_ms: moved.now.minus(moved.idle_ttl).as_millis(),
            jkt: moved.jkt,
            users_revision: moved.users_revision,
        }
    }
}
