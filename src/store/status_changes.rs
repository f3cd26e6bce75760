//! What is over and must be known elsewhere: set bits, cut-offs, and the changes of both in the order of their commits.
//! Every path that ends something comes through [`end`], in the transaction that ends it.

use std::time::Duration;

use countersign_verifier::feed::{Cut, CutKind, FeedKey};
use diesel::dsl::max;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::prepared::{Bind, Statement};
use super::schema::{signing_keys, status_bits, status_changes, status_feed};
use super::{Error, Read, Write, cutoffs, instances};
use crate::clock::Timestamp;

/// What changed at one moment, by positions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose bits were set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<i64>,
    /// Whose bits were cleared.
    #[serde(rename = "clr", default, skip_serializing_if = "Vec::is_empty")]
    pub clear: Vec<i64>,
    /// Cut-offs that are in force from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Cut>,
    /// Cut-offs that are not needed any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncut: Vec<Cut>,
    /// How many lists there are now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<u64>,
    /// Whether somebody waits to hear that verifiers know of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ack: bool,
}

/// Where the feed is: its last change. Its time tells it from another of the same number, in a database that lost its
/// last changes and went on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number.
    pub seq: i64,
    /// When it was made, in microseconds by the database's clock.
    pub at: i64,
}

/// A change in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedChange {
    /// Where the feed was before.
    pub before: Head,
    /// Where it is after.
    pub head: Head,
    /// The change.
    pub change: Change,
}

/// Everything that is over, and the last change that it comes from.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The last change.
    pub head: Head,
    /// The key of the hashes in cut-offs.
    pub hash_key: [u8; 16],
    /// Positions whose bits are set.
    pub set: Vec<i64>,
    /// Cut-offs in force.
    pub cutoffs: Vec<Cut>,
}

/// Where the feed is.
///
/// # Errors
/// The store's own reasons.
pub fn head(tx: &mut Read<'_>) -> Result<Head, Error> {
    let (seq, at) = status_feed::table.select((status_feed::seq, status_feed::at)).first(tx.conn())?;
    Ok(Head { seq, at })
}

/// The key of the hashes in cut-offs.
///
/// # Errors
/// The store's own reasons.
pub fn hash_key(tx: &mut Read<'_>) -> Result<[u8; 16], Error> {
    let key: Vec<u8> = status_feed::table.select(status_feed::hash_key).first(tx.conn())?;
    key.try_into().map_err(|_| Error::Corrupt { table: "status_feed" })
}

/// What is over from now on.
#[derive(Clone, Debug)]
pub struct Over {
    /// Positions of grants and clients.
    pub positions: Vec<i64>,
    /// What is cut off: the names of accounts, clients, tokens and keys.
    pub names: Vec<(CutKind, String)>,
}

/// How long a bit or a cut-off outlives the longest token that was issued: the largest leeway that verifiers
/// are known to allow (5 min; ours allow two) and a margin (5 min).
const BEYOND_LIFE: Duration = Duration::from_mins(10);
/// How far the clocks of machines are believed to be apart.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);
/// The most positions in one change.
const MOST_IN_A_CHANGE: usize = 1000;

const SET_BIT: &str = "INSERT INTO status_bits (position, ended_at) VALUES (?, ?) \
    ON CONFLICT (position) DO UPDATE SET ended_at = excluded.ended_at, cleared_at = NULL";

/// Makes it known that something is over, in the transaction that ends it: the bits, the cut-offs, and the changes in the
/// feed. They stay for as long as a token that was issued before can be alive.
///
/// # Errors
/// The store's own reasons.
pub fn end(tx: &mut Write<'_>, over: &Over, now: Timestamp) -> Result<(), Error> {
    if over.positions.is_empty() && over.names.is_empty() {
        return Ok(());
    }
    // The later of the two clocks: a bit that is cleared too early revives what was revoked.
    let ended_at = instances::now(tx)?.max(now);
    for position in &over.positions {
        let binds = vec![Bind::Big(*position), Bind::Big(ended_at.as_micros())];
        Statement::new(SET_BIT, binds).execute(tx.conn())?;
    }
    let until = ended_at.plus(reach_of_tokens(tx)?);
    // Whoever issues may be ahead of us, though not by much.
    let nbf = ended_at.min(now.plus(CLOCKS_DIFFER)).unix_seconds();
    let (mut cut, mut uncut) = (Vec::new(), Vec::new());
    for (kind, name) in &over.names {
        let cutoff = match kind {
            // Whoever has the key makes tokens that live as long as they like.
            CutKind::Kid => Cut { k: *kind, h: name.clone(), nbf, until: 0 },
            CutKind::Sub | CutKind::ClientId | CutKind::Sid | CutKind::Jti => {
                let h = FeedKey::new(hash_key(tx)?).hash_text(name);
                Cut { k: *kind, h, nbf, until: until.unix_seconds() + 1 }
            }
        };
        let (in_force, before) = cutoffs::put(tx, cutoff)?;
        cut.push(in_force);
        uncut.extend(before);
    }
    let mut parts = over.positions.chunks(MOST_IN_A_CHANGE);
    let mut set = parts.next().unwrap_or_default();
    loop {
        let (cut, uncut) = (std::mem::take(&mut cut), std::mem::take(&mut uncut));
        append(tx, &Change { set: set.to_vec(), cut, uncut, ..Change::default() })?;
        let Some(next) = parts.next() else { return Ok(()) };
        set = next;
    }
}

/// Makes known how many lists there are.
///
/// # Errors
/// The store's own reasons.
pub fn announce_lists(tx: &mut Write<'_>, lists: u64) -> Result<(), Error> {
    append(tx, &Change { lists: Some(lists), ..Change::default() })
}

/// Asks every verifier to say how far it has come, as soon as it comes to this change.
///
/// # Errors
/// The store's own reasons.
pub fn ask_for_receipts(tx: &mut Write<'_>) -> Result<(), Error> {
    append(tx, &Change { ack: true, ..Change::default() })
}

/// For how long after something ended a token of it can be relied on by anybody.
fn reach_of_tokens(tx: &mut Read<'_>) -> Result<Duration, Error> {
    let longest: Option<i64> = signing_keys::table
        .filter(signing_keys::state.eq_any(["standby", "active", "retiring"]))
        .select(max(signing_keys::longest_life))
        .first(tx.conn())?;
    Ok(Duration::from_secs(u64::try_from(longest.unwrap_or(0)).unwrap_or(0)) + BEYOND_LIFE)
}

const NEXT: &str = "UPDATE status_feed SET seq = seq + 1, at_before = at, at = database_now() WHERE id = 1";

const APPEND: &str = "INSERT INTO status_changes (seq, at, at_before, body) \
    SELECT seq, at, at_before, ? FROM status_feed WHERE id = 1";

/// Takes the next number, holding its row until the transaction ends, and writes the change down under it: whatever has a
/// larger number is committed later.
fn append(tx: &mut Write<'_>, change: &Change) -> Result<(), Error> {
    let body = serde_json::to_string(change).map_err(|_| Error::Corrupt { table: "status_changes" })?;
    if Statement::new(NEXT, Vec::new()).execute(tx.conn())? != 1 {
        return Err(Error::Corrupt { table: "status_feed" });
    }
    Statement::new(APPEND, vec![Bind::Text(&body)]).execute(tx.conn())?;
    Ok(())
}

/// Everything that is over, at one moment.
///
/// # Errors
/// The store's own reasons.
pub fn snapshot(tx: &mut Write<'_>) -> Result<Snapshot, Error> {
    // Nobody changes anything until this transaction ends.
    diesel::update(status_feed::table).set(status_feed::seq.eq(status_feed::seq)).execute(tx.conn())?;
    let set = status_bits::table.filter(status_bits::cleared_at.is_null()).select(status_bits::position);
    Ok(Snapshot { head: head(tx)?, hash_key: hash_key(tx)?, set: set.load(tx.conn())?, cutoffs: cutoffs::load(tx)? })
}

/// The changes after number `seq`, in order, at most `limit`.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be read; the store's own reasons.
pub fn after(tx: &mut Read<'_>, seq: i64, limit: i64) -> Result<Vec<PlacedChange>, Error> {
    let rows: Vec<(i64, i64, i64, String)> = status_changes::table
        .filter(status_changes::seq.gt(seq))
        .order(status_changes::seq)
        .limit(limit)
        .select((status_changes::seq, status_changes::at, status_changes::at_before, status_changes::body))
        .load(tx.conn())?;
    let parse = |(seq, at, at_before, body): (i64, i64, i64, String)| {
        let change = serde_json::from_str(&body).map_err(|_| Error::Corrupt { table: "status_changes" })?;
        Ok(PlacedChange { before: Head { seq: seq - 1, at: at_before }, head: Head { seq, at }, change })
    };
    rows.into_iter().map(parse).collect()
}

const CLEAR_BIT: &str = "UPDATE status_bits SET cleared_at = database_now() \
    WHERE position = ? AND cleared_at IS NULL AND ended_at < ? AND ended_at < database_now() - ?";

/// Clears at most `limit` bits, and removes as many cut-offs, that no token alive at `now` can need, by this clock and by the
/// database's. Says how many.
///
/// # Errors
/// The store's own reasons.
pub fn loosen(tx: &mut Write<'_>, now: Timestamp, limit: i64) -> Result<usize, Error> {
    // As of now: a longer life that was noted while something ended counts, too.
    let reach = i64::try_from(reach_of_tokens(tx)?.as_micros()).unwrap_or(i64::MAX);
    let before = now.as_micros().saturating_sub(reach);
    let bits: Vec<i64> = status_bits::table
        .filter(status_bits::cleared_at.is_null().and(status_bits::ended_at.lt(before)))
        .select(status_bits::position)
        .limit(limit)
        .load(tx.conn())?;
    let mut change = Change::default();
    for position in bits {
        let binds = vec![Bind::Big(position), Bind::Big(before), Bind::Big(reach)];
        if Statement::new(CLEAR_BIT, binds).execute(tx.conn())? == 1 {
            change.clear.push(position);
        }
    }
    change.uncut = cutoffs::remove_over(tx, now, reach, usize::try_from(limit).unwrap_or(0))?;
    let loosened = change.clear.len() + change.uncut.len();
    if loosened > 0 {
        append(tx, &change)?;
    }
    Ok(loosened)
}

const REMOVE_CHANGES: &str = "DELETE FROM status_changes WHERE seq IN \
    (SELECT seq FROM status_changes WHERE at < ? ORDER BY at LIMIT ?) AND at < database_now()";

/// Removes at most `limit` changes from before `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_old(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    Ok(Statement::new(REMOVE_CHANGES, vec![Bind::Big(before.as_micros()), Bind::Big(limit)]).execute(tx.conn())?)
}
