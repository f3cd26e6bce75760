//! One grant with its parties, and the history by which the promises are judged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign::clock::Timestamp;
use countersign::id::GrantId;
use countersign::reason::{CapacityRefusal, GrantRefusal, Reason, Refusal};
use countersign::store::grants::Grant;
use countersign::token::refresh_token::RefreshToken;

use super::call::DEADLINE;
use super::stage::{Instance, SKEW, Stage};

/// A promise that was broken, in words.
pub type Broken = String;

/// For how long a client without a key repeats: whatever it sends until then is judged within the leeway, or comes too
/// late to change anything.
const REPEATS_FOR: Duration = Duration::from_secs(60).checked_sub(DEADLINE).unwrap().checked_sub(SKEW).unwrap();
/// After so many tries the network has mercy on a client: the limit of siblings is not what is tried here.
const TRIES_WITHOUT_MERCY: usize = 8;

/// A refresh that the client has no answer to.
pub struct Refresh {
    pub attempt: Option<String>,
    pub began_at: Timestamp,
    pub tries: usize,
}

/// An honest client: one store; it repeats while it has no answer and never goes back to an older token.
pub struct Honest {
    pub store: String,
    /// What was in the store before.
    pub before: Option<String>,
    pub refresh: Option<Refresh>,
    /// Counts its refreshes.
    pub round: usize,
    pub last_sent_at: Timestamp,
    pub marks_repeats: bool,
    pub logged_out: bool,
}

/// How far a revocation has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    Never,
    Asked,
    /// Before the call of that number.
    Acknowledged(usize),
}

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    Client,
    Thief,
    Owner,
    Operator,
    /// Someone who knows every token that was handed out, to try what is left of a grant.
    Examiner,
}

pub struct Plot {
    pub id: GrantId,
    pub client: Honest,
    /// What a thief knows, if one has come.
    pub stolen: Vec<String>,
    pub revocation: Revocation,
    /// As it stood after the last write.
    pub row: Grant,
    /// Every token that was ever handed out.
    pub issued: Vec<String>,
    /// For each generation: the token whose use began it.
    begun_by: BTreeMap<u32, (u32, u8)>,
    /// The generations that each party was served in.
    client_in: BTreeSet<u32>,
    thief_in: BTreeSet<u32>,
}

impl Plot {
    pub fn new(stage: &Stage, (id, first): (GrantId, String), marks_repeats: bool) -> Self {
        let client = Honest {
            store: first.clone(),
            before: None,
            refresh: None,
            round: 0,
            // The past has no messages under way.
            last_sent_at: Timestamp::from_micros(0),
            marks_repeats,
            logged_out: false,
        };
        Self {
            id,
            client,
            stolen: Vec::new(),
            revocation: Revocation::Never,
            row: stage.row(Instance::A, id),
            issued: vec![first],
            begun_by: BTreeMap::new(),
            client_in: BTreeSet::new(),
            thief_in: BTreeSet::new(),
        }
    }

    /// Whether anybody but the client has had a hand in it.
    pub fn is_disturbed(&self) -> bool {
        !self.stolen.is_empty() || self.revocation != Revocation::Never
    }

    /// Until when the client must have its answer; a disturbed grant promises it nothing.
    pub fn repeats_until(&self) -> Option<Timestamp> {
        let refresh = self.client.refresh.as_ref().filter(|_| !self.is_disturbed() && !self.client.marks_repeats)?;
        Some(refresh.began_at.plus(REPEATS_FOR))
    }

    pub fn client_has_mercy(&self) -> bool {
        self.client.refresh.as_ref().is_some_and(|refresh| refresh.tries >= TRIES_WITHOUT_MERCY)
    }

    /// Takes note of the row after a step and judges the change. `presented` is what the step's caller presented, if it
    /// may refresh; `may_write` is whether it may change anything at all.
    pub fn see_row(&mut self, now: Grant, presented: Option<&RefreshToken>, may_write: bool) -> Result<(), Broken> {
        let before = std::mem::replace(&mut self.row, now);
        let (was, is) = (&before.rotation, &self.row.rotation);
        if (was, before.ended_at) == (is, self.row.ended_at) {
            return Ok(());
        }
        if !may_write {
            return Err(format!("a call that may not write changed {was:?} to {is:?}"));
        }
        if before.ended_at.is_some() {
            return Err(format!("an ended grant changed from {was:?} to {is:?}"));
        }
        if self.row.ended_at.is_some() {
            let fits = was == is && self.is_disturbed();
            return if fits { Ok(()) } else { Err("nobody gave a reason to end the grant".to_owned()) };
        }
        let Some(presented) = presented else { return Err("a revocation rotated".to_owned()) };
        let used = (presented.generation, presented.sibling);
        let rotated = is.generation == was.generation + 1
            && used == (was.generation, is.winner)
            && (1..=was.siblings).contains(&is.winner)
            && is.siblings == 1;
        let joined = used == (was.generation - 1, was.winner)
            && is.siblings == was.siblings + 1
            && (is.generation, is.winner, is.rotated_at) == (was.generation, was.winner, was.rotated_at);
        if rotated || joined { Ok(()) } else { Err(format!("{was:?} became {is:?} by the use of {used:?}")) }
    }

    /// Judges a success: `seen` is the row as the other instance has it.
    pub fn served(
        &mut self,
        (by, call): (Party, usize),
        presented: &RefreshToken,
        (text, next): (&str, &RefreshToken),
        seen: &Grant,
    ) -> Result<(), Broken> {
        if self.issued.iter().any(|known| known == text) {
            return Err("two answers carry the same token".to_owned());
        }
        self.issued.push(text.to_owned());
        let rotation = &seen.rotation;
        if rotation.generation < next.generation
            || rotation.generation == next.generation && rotation.siblings < next.sibling
        {
            return Err(format!("the row knows nothing of the token that was handed out: {rotation:?}"));
        }
        let used = (presented.generation, presented.sibling);
        if next.generation != presented.generation + 1 || *self.begun_by.entry(next.generation).or_insert(used) != used
        {
            return Err(format!("generation {} has two winners", next.generation));
        }
        if let Revocation::Acknowledged(at) = self.revocation
            && at <= call
        {
            return Err("a call that began after the revocation was served".to_owned());
        }
        match by {
            Party::Client => drop(self.client_in.insert(presented.generation)),
            Party::Thief => drop(self.thief_in.insert(presented.generation)),
            Party::Owner | Party::Operator | Party::Examiner => {}
        }
        if self.both_keep_going() { Err("client and thief both keep going".to_owned()) } else { Ok(()) }
    }

    /// Each served in a later generation than the other, counted from the first of the thief's.
    fn both_keep_going(&self) -> bool {
        let Some(thief_began) = self.thief_in.first() else { return false };
        let Some(client_began) = self.client_in.range(thief_began..).next() else { return false };
        self.client_in.last() > Some(thief_began) && self.thief_in.last() > Some(client_began)
    }

    /// Judges a refusal: `excused` is whether a fault was injected into the call, `late` whether its deadline passed.
    pub fn refused(&self, refusal: &Refusal, (excused, late): (bool, bool), seen: &Grant) -> Result<(), Broken> {
        let fits = match refusal.reason {
            Reason::Grant(GrantRefusal::Ended | GrantRefusal::Replayed | GrantRefusal::AccountDisabled) => {
                self.is_disturbed() && seen.ended_at.is_some()
            }
            Reason::Grant(GrantRefusal::TooManyRepeats) => self.is_disturbed(),
            Reason::Capacity(CapacityRefusal::StoreUnavailable) => excused,
            Reason::Capacity(CapacityRefusal::DeadlinePassed) => late,
            Reason::Capacity(CapacityRefusal::Contended) => true,
            _ => false,
        };
        let id = refusal.reason.id();
        if fits { Ok(()) } else { Err(format!("refused by {id}, {:?} ended at {:?}", seen.rotation, seen.ended_at)) }
    }
}
