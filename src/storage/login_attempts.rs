//! Counters of password guesses. The account is a keyed hash, for strangers type passwords into the wrong field.
//!
//! One statement serves all the counters of a guess, at most one of each kind. Their rows are locked in the order of
//! [`CounterKind::ALL`], so that no two guesses wait for each other.

use crate::model::login_attempts::{Counter, CounterKey, CounterKind};
use crate::model::time::Timestamp;

use super::db::{Conn, Tx, execute, rows};
use super::error::StorageError;

/// A counter and where it stands.
pub type Counted = (CounterKey, Counter);

type Row = (String, i64, String, i64, i64);

/// Where the counters stand, in the order of `keys`; locks and changes nothing.
pub async fn read(
    on: impl Into<Conn<'_>>,
    keys: &[CounterKey],
    now: Timestamp,
) -> Result<Vec<Counted>, StorageError> {
    let [one, two, three] = three(keys)?;
    let found: Vec<Row> = rows!(
        on,
        Row,
        "select kind, count, pending, first_at_ms, last_at_ms from login_attempts
         where (kind = $1 and account = $2 and source = $3)
            or (kind = $4 and account = $5 and source = $6)
            or (kind = $7 and account = $8 and source = $9)",
        one.kind,
        one.account,
        one.source,
        two.kind,
        two.account,
        two.source,
        three.kind,
        three.account,
        three.source
    );
    counted(keys, &found, now)
}

/// Where the counters stand, in the order of `keys`. Nobody else reads or changes them so until the transaction ends;
/// those that are missing are made.
pub async fn lock(tx: &mut Tx, keys: &[CounterKey], now: Timestamp) -> Result<Vec<Counted>, StorageError> {
    let [one, two, three] = three(keys)?;
    let found: Vec<Row> = rows!(
        &mut *tx,
        Row,
        "insert into login_attempts (kind, account, source, count, pending, first_at_ms, last_at_ms)
         select kind, account, source, 0, '', $10, $10 from
            (select $1 as kind, $2 as account, $3 as source
             union all select $4, $5, $6
             union all select $7, $8, $9) as wanted
         where kind <> ''
         on conflict (kind, account, source) do update set count = login_attempts.count
         returning kind, count, pending, first_at_ms, last_at_ms",
        one.kind,
        one.account,
        one.source,
        two.kind,
        two.account,
        two.source,
        three.kind,
        three.account,
        three.source,
        now.as_millis()
    );
    counted(keys, &found, now)
}

/// Ends a guess that was right, and was let in at `taken_at`, where nobody else's is being judged and no failures are to
/// be kept, which those of the kinds in `forgotten` are not; gives the counters that are left. For a transaction beside
/// which nothing changes, for it locks in no order.
pub async fn forget_alone(
    tx: &mut Tx,
    keys: &[CounterKey],
    taken_at: Timestamp,
    forgotten: impl Fn(CounterKind) -> bool,
) -> Result<Vec<CounterKey>, StorageError> {
    let [one, two, three] = three(keys)?;
    let forgotten = CounterKind::ALL.map(|kind| if forgotten(kind) { kind.as_str() } else { "" });
    let gone: Vec<(String,)> = rows!(
        &mut *tx,
        (String,),
        "delete from login_attempts
         where pending = $10 and (count = 0 or kind in ($11, $12, $13))
           and ((kind = $1 and account = $2 and source = $3)
             or (kind = $4 and account = $5 and source = $6)
             or (kind = $7 and account = $8 and source = $9))
         returning kind",
        one.kind,
        one.account,
        one.source,
        two.kind,
        two.account,
        two.source,
        three.kind,
        three.account,
        three.source,
        taken_at.as_millis().to_string(),
        forgotten[0],
        forgotten[1],
        forgotten[2]
    );
    let is_left = |key: &&CounterKey| !gone.iter().any(|(kind,)| kind == key.kind.as_str());
    Ok(keys.iter().filter(is_left).cloned().collect())
}

/// Writes what became of counters that are locked; those that have nothing to remember are deleted.
pub async fn save(tx: &mut Tx, counters: &[Counted]) -> Result<(), StorageError> {
    let (empty, kept): (Vec<Counted>, Vec<Counted>) =
        counters.iter().cloned().partition(|(_, counter)| counter.is_empty());
    if !kept.is_empty() {
        write(tx, &kept).await?;
    }
    if !empty.is_empty() {
        let keys: Vec<CounterKey> = empty.into_iter().map(|(key, _)| key).collect();
        delete(tx, &keys).await?;
    }
    Ok(())
}

async fn write(tx: &mut Tx, counters: &[Counted]) -> Result<(), StorageError> {
    let keys: Vec<CounterKey> = counters.iter().map(|(key, _)| key.clone()).collect();
    let [one, two, three] = three(&keys)?;
    let values = |place: usize| match counters.get(place) {
        None => (0, String::new(), 0, 0),
        Some((_, counter)) => {
            let pending: Vec<String> = counter.pending.iter().map(|at| at.as_millis().to_string()).collect();
            let (first_at, last_at) = (counter.first_at.as_millis(), counter.last_at.as_millis());
            (i64::from(counter.count), pending.join(" "), first_at, last_at)
        }
    };
    let (first, second, third) = (values(0), values(1), values(2));
    execute!(
        tx,
        "insert into login_attempts (kind, account, source, count, pending, first_at_ms, last_at_ms)
         select kind, account, source, count, pending, first_at_ms, last_at_ms from
            (select $1 as kind, $2 as account, $3 as source, $4 as count, $5 as pending, $6 as first_at_ms,
                    $7 as last_at_ms
             union all select $8, $9, $10, $11, $12, $13, $14
             union all select $15, $16, $17, $18, $19, $20, $21) as wanted
         where kind <> ''
         on conflict (kind, account, source) do update
         set count = excluded.count, pending = excluded.pending, first_at_ms = excluded.first_at_ms,
             last_at_ms = excluded.last_at_ms",
        one.kind,
        one.account,
        one.source,
        first.0,
        first.1,
        first.2,
        first.3,
        two.kind,
        two.account,
        two.source,
        second.0,
        second.1,
        second.2,
        second.3,
        three.kind,
        three.account,
        three.source,
        third.0,
        third.1,
        third.2,
        third.3,
    );
    Ok(())
}

async fn delete(tx: &mut Tx, keys: &[CounterKey]) -> Result<(), StorageError> {
    let [one, two, three] = three(keys)?;
    execute!(
        tx,
        "delete from login_attempts
         where (kind = $1 and account = $2 and source = $3)
            or (kind = $4 and account = $5 and source = $6)
            or (kind = $7 and account = $8 and source = $9)",
        one.kind,
        one.account,
        one.source,
        two.kind,
        two.account,
        two.source,
        three.kind,
        three.account,
        three.source
    );
    Ok(())
}

/// Deletes the counters of a kind that were last touched before `from`, or in a future that only a wrong clock can
/// have known, after `until`, and those that only stand in for one of this kind; gives their number.
pub async fn purge(
    tx: &mut Tx,
    kind: CounterKind,
    from: Timestamp,
    until: Timestamp,
) -> Result<u64, StorageError> {
    Ok(execute!(
        tx,
        "delete from login_attempts
         where kind = $1
           and (last_at_ms < $2 or last_at_ms > $3
                or (kind = 'account' and source <> '') or (kind = 'source' and length(account) > 0))",
        kind.as_str(),
        from.as_millis(),
        until.as_millis()
    ))
}

/// Deletes all counters of a kind but the newest `most`, and with the oldest that would stay those of its age; gives
/// their number.
pub async fn keep_newest(tx: &mut Tx, kind: CounterKind, most: u32) -> Result<u64, StorageError> {
    Ok(execute!(
        tx,
        "delete from login_attempts where kind = $1 and last_at_ms <=
         (select last_at_ms from login_attempts where kind = $1 order by last_at_ms desc limit 1 offset $2)",
        kind.as_str(),
        i64::from(most)
    ))
}

/// A key as its columns; all empty where there is none, which no row is.
#[derive(Clone, Copy)]
struct Columns<'a> {
    kind: &'static str,
    account: &'a [u8],
    source: &'a str,
}

fn three(keys: &[CounterKey]) -> Result<[Columns<'_>; 3], StorageError> {
    let place = |key: &CounterKey| CounterKind::ALL.iter().position(|kind| *kind == key.kind);
    if keys.len() > 3 || !keys.is_sorted_by(|one, next| place(one) < place(next)) {
        return Err(StorageError::Refused("counters are locked in their order, one of each kind".into()));
    }
    let none = Columns { kind: "", account: &[], source: "" };
    Ok(std::array::from_fn(|place| {
        keys.get(place).map_or(none, |key| Columns {
            kind: key.kind.as_str(),
            account: key.account.as_ref().map_or(&[], |account| &account[..]),
            source: &key.source,
        })
    }))
}

fn counted(keys: &[CounterKey], found: &[Row], now: Timestamp) -> Result<Vec<Counted>, StorageError> {
    let one = |key: &CounterKey| {
        let row = found.iter().find(|(kind, ..)| kind == key.kind.as_str());
        Ok((key.clone(), row.map_or_else(|| Ok(Counter::new(now)), counter)?))
    };
    keys.iter().map(one).collect()
}

fn counter((_, count, pending, first_at, last_at): &Row) -> Result<Counter, StorageError> {
    let at = |text: &str| text.parse().map(Timestamp::from_millis).map_err(StorageError::corrupt);
    Ok(Counter {
        count: u32::try_from(*count).unwrap_or(u32::MAX),
        first_at: Timestamp::from_millis(*first_at),
        last_at: Timestamp::from_millis(*last_at),
        pending: pending.split_ascii_whitespace().map(at).collect::<Result<_, _>>()?,
    })
}
