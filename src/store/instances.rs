//! The instances that serve on this database: what each of them publishes and can open, as it says itself.

use std::time::Duration;

use diesel::dsl::max;
use diesel::prelude::*;

use super::dialect::database_now;
use super::schema::instances;
use super::{Error, Read, Write};
use crate::clock::Timestamp;

/// What names an instance: random bytes of its own.
pub type InstanceId = [u8; 16];

/// What an instance last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The epoch of the signing keys that it publishes.
    pub signing_keys_epoch: i64,
    /// The newest version of the master key that it has.
    pub master_key: MasterKeySeen,
}

/// A version of a master key, and a number that follows from it, so that two keys of one version are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterKeySeen {
    /// The version.
    pub version: u8,
    /// The number.
    pub check: i64,
}

/// The database's clock.
///
/// # Errors
/// The store's own reasons.
pub fn now(tx: &mut Read<'_>) -> Result<Timestamp, Error> {
    let micros: i64 = diesel::select(database_now()).first(tx.conn())?;
    Ok(Timestamp::from_micros(micros))
}

/// An instance says that it is there.
///
/// # Errors
/// The store's own reasons.
pub fn beat(tx: &mut Write<'_>, id: InstanceId, epoch: i64, master_key: MasterKeySeen) -> Result<(), Error> {
    let version = i32::from(master_key.version);
    let said = (
        instances::seen_at.eq(database_now()),
        instances::left_at.eq(None::<i64>),
        instances::signing_keys_epoch.eq(epoch),
        instances::master_key_version.eq(version),
        instances::master_key_check.eq(master_key.check),
    );
    let known = diesel::update(instances::table.find(id.as_slice())).set(said).execute(tx.conn())?;
    if known == 0 {
        diesel::insert_into(instances::table).values((instances::id.eq(id.as_slice()), said)).execute(tx.conn())?;
    }
    Ok(())
}

/// An instance ends in good order: nobody need wait for it.
///
/// # Errors
/// The store's own reasons.
pub fn leave(tx: &mut Write<'_>, id: InstanceId) -> Result<(), Error> {
    diesel::update(instances::table.find(id.as_slice()))
        .set((instances::seen_at.eq(database_now()), instances::left_at.eq(database_now().nullable())))
        .execute(tx.conn())?;
    Ok(())
}

/// The instances that were there within `span`.
///
/// # Errors
/// The store's own reasons.
pub fn live(tx: &mut Read<'_>, span: Duration) -> Result<Vec<Instance>, Error> {
    let now = now(tx)?;
    // One that was seen in time to come was seen by a clock that was wrong.
    let (since, until) = (now.minus(span).as_micros(), now.plus(span).as_micros());
    let rows: Vec<(i64, i32, i64)> = instances::table
        .filter(instances::seen_at.between(since, until).and(instances::left_at.is_null()))
        .select((instances::signing_keys_epoch, instances::master_key_version, instances::master_key_check))
        .load(tx.conn())?;
    let read = |(signing_keys_epoch, version, check): (i64, i32, i64)| {
        // A version that cannot be one is none that anybody waits for.
        let master_key = MasterKeySeen { version: u8::try_from(version).unwrap_or(0), check };
        Instance { signing_keys_epoch, master_key }
    };
    Ok(rows.into_iter().map(read).collect())
}

/// When any instance was last there.
///
/// # Errors
/// The store's own reasons.
pub fn last_seen(tx: &mut Read<'_>) -> Result<Option<Timestamp>, Error> {
    let last: Option<i64> = instances::table.select(max(instances::seen_at)).first(tx.conn())?;
    Ok(last.map(Timestamp::from_micros))
}

/// Forgets instances that were not there since `before`.
///
/// # Errors
/// The store's own reasons.
pub fn forget(tx: &mut Write<'_>, before: Timestamp) -> Result<(), Error> {
    diesel::delete(instances::table.filter(instances::seen_at.lt(before.as_micros()))).execute(tx.conn())?;
    Ok(())
}
