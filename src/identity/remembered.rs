//! Log-ins that a browser remembers after it was closed (ASVS 7.3): a series of secrets, of which each use makes the next. One
//! that was spent and comes back is somebody else's copy, or the browser is not the one that it was given to: the series ends
//! with all that came from it, but for an answer that was lost: while nothing of it was used, whoever repeats itself is given
//! another, and whoever had the one after all is found out by that. What is restored is as old as the log-in itself, so that whoever
//! wants a fresh one still asks.

use std::fmt;
use std::time::Duration;

use super::browser::Visitor;
use super::login::ProvenPassword;
use super::place::Place;
use super::session::{self, NewSession, SessionToken};
use crate::app::App;
use crate::clock::{Deadline, Timestamp};
use crate::id::{AccountId, RememberedId};
use crate::limits;
use crate::reason::{CapacityRefusal, Refusal};
use crate::secret::{Digest, PlainSecret, decode_base64url, encode_base64url};
use crate::store::grants::EndedBy;
use crate::store::remembered_log_ins::{self, RememberedLogIn, Turn};
use crate::store::{self, Write, browser_sessions};

/// Bytes of a secret: 256 bits.
const SECRET_BYTES: usize = 32;
/// Bytes of a series' name.
const ID_BYTES: usize = 16;
/// How long a spent secret may be repeated for the same answer: it was lost, or two tabs were opened at once.
const LEEWAY: Duration = Duration::from_mins(1);
/// How many other answers a secret has, after that, while none is used.
const MOST_ANEW: u8 = 15;

/// What people and logs call a series. Its identifier stands in the cookie: whoever knows that ends the series with any secret
/// behind it, so that nothing shows it. It has 74 random bits (RFC 9562 §5.7), which no digest tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SeriesName(Digest);

impl SeriesName {
    /// The name of a series.
    pub fn of(id: RememberedId) -> Self {
        Self(Digest::sha256_of(&[b"remembered", id.as_bytes()]))
    }

    /// Reads what a page showed; `None` for what none did.
    pub fn parse(text: &str) -> Option<Self> {
        Digest::from_slice(&decode_base64url(text)?).map(Self)
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_base64url(self.0.as_bytes()))
    }
}

impl fmt::Debug for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a browser remembers: `base64url(id(16) ‖ secret(32))`.
pub struct RememberedToken {
    id: RememberedId,
    secret: Secret,
}

/// A secret, and what is kept of it.
struct Secret([u8; SECRET_BYTES]);

impl Secret {
    fn digest(&self) -> Digest {
        Digest::sha256(&self.0)
    }

    fn cookie(&self, id: RememberedId) -> PlainSecret {
        let mut bytes = id.as_bytes().to_vec();
        bytes.extend_from_slice(&self.0);
        PlainSecret::new(encode_base64url(&bytes))
    }
}

impl RememberedToken {
    /// Reads a cookie's value; `None` for what we never put there.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = decode_base64url(text)?;
        let (id, secret) = bytes.split_at_checked(ID_BYTES)?;
        Some(Self { id: RememberedId::from_slice(id).ok()?, secret: Secret(secret.try_into().ok()?) })
    }

    /// The secrets that may follow in the `nth` answer, from 0, one for each version of the master key, the one that is made now
    /// last. They follow from this one, so that whoever repeats itself gets what it lost.
    fn next(&self, app: &App, nth: u8) -> Vec<Secret> {
        let secrets = app.secrets.load();
        let (first, anew): (&[&[u8]], &[&[u8]]) =
            (&[self.id.as_bytes(), &self.secret.0], &[self.id.as_bytes(), &self.secret.0, &[nth]]);
        let parts = if nth == 0 { first } else { anew };
        secrets.remembered_mac.iter().map(|(_, key)| Secret(*key.mac(parts).as_bytes())).collect()
    }

    /// The secret of that digest that was given for this one, and in which answer. `None` when the version of the master key is gone
    /// by which it was made.
    fn find_given(&self, app: &App, given: &Digest) -> Option<(u8, Secret)> {
        (0..=MOST_ANEW).find_map(|nth| {
            let secret = self.next(app, nth).into_iter().find(|next| next.digest() == *given)?;
            Some((nth, secret))
        })
    }

    /// The secret of the answer that is due, if there is one.
    fn choose(&self, app: &App, row: &RememberedLogIn, way: Way) -> Option<Secret> {
        let given = || self.find_given(app, &row.secret);
        match way {
            Way::MoveOn => self.next(app, 0).pop(),
            Way::Repeat => given().map(|(_, secret)| secret),
            Way::Anew => {
                let nth = given().map(|(nth, _)| nth + 1).filter(|nth| *nth <= MOST_ANEW)?;
                self.next(app, nth).pop()
            }
        }
    }
}

/// A cookie that is to be remembered, and until when.
pub struct RememberedCookie {
    /// Its value.
    pub value: PlainSecret,
    /// How long.
    pub max_age: Duration,
}

/// What becomes of what a browser remembers when somebody logs in there.
pub enum Memory {
    /// It stays as it is.
    Kept,
    /// This takes its place.
    Set(RememberedCookie),
    /// It is worth nothing any more.
    Cleared,
}

/// A series that a browser brings.
#[derive(Clone)]
pub(super) struct Brought {
    /// Its identifier.
    pub(super) id: RememberedId,
    /// Whose it is.
    pub(super) account_id: AccountId,
    /// The secret that is good, which the browser has if it is to move on.
    secret: Digest,
    way: Way,
}

impl Brought {
    /// Has another take its place: what came of it belongs to that, but for the sessions of whoever used a secret that the browser
    /// does not have. A session that is to go on belongs to the other already.
    ///
    /// # Errors
    /// The store's own reasons.
    pub(super) fn give_way(&self, tx: &mut Write<'_>, to: RememberedId, now: Timestamp) -> Result<(), store::Error> {
        let same = Turn { from: self.secret, to: self.secret };
        match self.way {
            Way::MoveOn if remembered_log_ins::hold(tx, self.id, &self.secret)? => {}
            // As for whoever is logged in again: what was granted within the minute goes on.
            Way::MoveOn | Way::Repeat => browser_sessions::end_of_remembered(tx, self.id, now)?,
            Way::Anew if remembered_log_ins::answer_anew(tx, self.id, &same, now)? => {}
            // Somebody used it meanwhile.
            Way::Anew => {
                remembered_log_ins::end(tx, self.id, EndedBy::Replay, now)?;
            }
        }
        remembered_log_ins::replace(tx, self.id, to, now)
    }
}

/// The series that a browser brings, if it is in force and its secret is good.
///
/// # Errors
/// The store's own reasons.
pub(super) fn find_brought(
    app: &App,
    token: Option<&RememberedToken>,
    deadline: &Deadline,
) -> Result<Option<Brought>, Refusal> {
    let Some(token) = token else { return Ok(None) };
    let found = app.db.read(|tx| remembered_log_ins::find(tx, token.id))?;
    let Some((row, _)) = found else { return Ok(None) };
    match decide(&row, &token.secret.digest(), app.clock.now()) {
        Decision::Answer(way) => Ok(Some(Brought { id: row.id, account_id: row.account_id, secret: row.secret, way })),
        Decision::Over => Ok(None),
        Decision::Replayed => replayed(app, &row, deadline).map(|_| None),
    }
}

/// Begins a series for whoever wants to be remembered.
pub(super) fn begin(app: &App, proven: &ProvenPassword, place: &Place) -> (RememberedLogIn, RememberedCookie) {
    let (now, ttl) = (app.clock.now(), app.settings.sessions.remember_ttl);
    let (id, secret) = (RememberedId::new(now, &app.random), Secret(app.random.bytes()));
    let row = RememberedLogIn {
        id,
        secret: secret.digest(),
        spent: None,
        account_id: proven.account.id,
        credentials_version: proven.account.credentials_version,
        amr: proven.amr(),
        auth_time: proven.auth_time,
        moved_at: now,
        kept_at: None,
        expires_at: now.plus(ttl),
        ended_at: None,
        network: place.network.to_string(),
        user_agent: place.user_agent.clone(),
    };
    (row, RememberedCookie { value: secret.cookie(id), max_age: ttl })
}

/// What came of a look at what a browser remembers.
pub enum Restored {
    /// There was nothing to do.
    Nothing,
    /// It is worth nothing, and is to be forgotten.
    Forget,
    /// Somebody is logged in again, by these cookies.
    LoggedIn {
        /// The session's.
        session: PlainSecret,
        /// The series'.
        remembered: RememberedCookie,
    },
}

/// What is to be done about a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Whoever has it is logged in.
    Answer(Way),
    /// It lets nobody in.
    Over,
    /// It was spent.
    Replayed,
}

/// Which secret whoever is logged in is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The next one, which takes the place of the one that is good.
    MoveOn,
    /// The same once more: the one before came back just now.
    Repeat,
    /// Another: the one before came back, and nothing was used of the answer to it.
    Anew,
}

fn decide(row: &RememberedLogIn, presented: &Digest, now: Timestamp) -> Decision {
    if row.ended_at.is_some() || now >= row.expires_at {
        return Decision::Over;
    }
    if row.secret == *presented {
        return Decision::Answer(Way::MoveOn);
    }
    if row.spent.as_ref() != Some(presented) {
        return Decision::Replayed;
    }
    if now <= row.moved_at.plus(LEEWAY) {
        return Decision::Answer(Way::Repeat);
    }
    // First use wins, as for refresh tokens: of two who had answers, whoever comes second is found out.
    if row.kept_at.is_none() { Decision::Answer(Way::Anew) } else { Decision::Replayed }
}

/// Logs whoever a browser remembers in again, if nobody is logged in there; `visitor` is that person from then on.
///
/// # Errors
/// The store's own reasons.
pub fn restore(app: &App, visitor: &mut Visitor, deadline: &Deadline) -> Result<Restored, Refusal> {
    let Some(token) = visitor.remembered.take() else { return Ok(Restored::Nothing) };
    if app.settings.sessions.remember_ttl.is_zero() {
        return Ok(Restored::Forget);
    }
    if let Some(found) = session::find(app, visitor.session.as_ref(), None)? {
        session::note_first_use(app, &found.session, deadline)?;
        return Ok(Restored::Nothing);
    }
    let presented = token.secret.digest();
    // Once more for whoever came second.
    for _ in 0..2 {
        let found = app.db.read(|tx| remembered_log_ins::find(tx, token.id))?;
        let Some((row, read_at)) = found else { return Ok(Restored::Forget) };
        let way = match decide(&row, &presented, app.clock.now()) {
            Decision::Over => return Ok(Restored::Forget),
            Decision::Replayed => return replayed(app, &row, deadline),
            Decision::Answer(way) => way,
        };
        let Some(next) = token.choose(app, &row, way) else { return Ok(Restored::Forget) };
        if !limits::admit_restored(&app.cache, &SeriesName::of(row.id).0)? {
            return Ok(Restored::Nothing);
        }
        let (session, cookie) = SessionToken::new(app);
        let new = NewSession::restored(app, &row, &session, read_at.plus(deadline.remaining()));
        let answer = Answer { id: row.id, way, turn: Turn { from: row.secret, to: next.digest() } };
        match log_in_again(app, answer, new, deadline)? {
            Made::Session => {
                tracing::info!(event = "log_in_restored", account_id = %row.account_id);
                visitor.session = Some(session);
                let max_age = row.expires_at.since(app.clock.now());
                let remembered = RememberedCookie { value: next.cookie(row.id), max_age };
                return Ok(Restored::LoggedIn { session: cookie, remembered });
            }
            Made::Nothing => return Ok(Restored::Forget),
            Made::Late => {}
        }
    }
    Err(CapacityRefusal::Contended.into())
}

/// What a series is to be given.
struct Answer {
    id: RememberedId,
    way: Way,
    /// From the secret that is good to the one that is given; they are the same if it is repeated.
    turn: Turn,
}

/// What came of making the session.
#[derive(Clone, Copy)]
enum Made {
    Session,
    /// The account is not what it was.
    Nothing,
    /// Somebody else was first.
    Late,
}

/// Gives the secret and makes the session, both or neither.
fn log_in_again(app: &App, answer: Answer, session: NewSession, deadline: &Deadline) -> Result<Made, Refusal> {
    let (Answer { id, way, turn }, now) = (answer, app.clock.now());
    let made = app.db.write_before(deadline, move |tx| {
        let first = match way {
            Way::MoveOn => remembered_log_ins::move_on(tx, id, &turn, now)?,
            Way::Repeat => remembered_log_ins::hold(tx, id, &turn.to)?,
            Way::Anew => remembered_log_ins::answer_anew(tx, id, &turn, now)?,
        };
        if !first {
            return Ok(Made::Late);
        }
        Ok(if session.insert(tx)? { Made::Session } else { Made::Nothing })
    })?;
    Ok(made)
}

fn replayed(app: &App, row: &RememberedLogIn, deadline: &Deadline) -> Result<Restored, Refusal> {
    let (id, now) = (row.id, app.clock.now());
    app.db.write_before(deadline, move |tx| remembered_log_ins::end(tx, id, EndedBy::Replay, now))?;
    tracing::warn!(event = "remembered_log_in_replayed", account_id = %row.account_id, "a spent secret came back");
    Ok(Restored::Forget)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Random;

    #[test]
    fn a_spent_secret_is_good_for_a_minute_or_until_its_answer_is_used_and_a_theft_after_it() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let (old, spent, good) = (Digest::sha256(b"old"), Digest::sha256(b"spent"), Digest::sha256(b"good"));
        let row = RememberedLogIn {
            id: RememberedId::new(at(0), &Random),
            secret: good,
            spent: Some(spent),
            account_id: AccountId::new(at(0), &Random),
            credentials_version: 0,
            amr: Vec::new(),
            auth_time: at(0),
            moved_at: at(100),
            kept_at: Some(at(101)),
            expires_at: at(1000),
            ended_at: None,
            network: String::new(),
            user_agent: String::new(),
        };
        let decided = |presented, seconds| decide(&row, presented, at(seconds));
        assert!(
            decided(&good, 100) == Decision::Answer(Way::MoveOn)
                && decided(&good, 999) == Decision::Answer(Way::MoveOn)
        );
        assert!(decided(&spent, 160) == Decision::Answer(Way::Repeat) && decided(&spent, 161) == Decision::Replayed);
        let lost = RememberedLogIn { kept_at: None, ..row.clone() };
        assert!(decide(&lost, &spent, at(160)) == Decision::Answer(Way::Repeat));
        assert!(decide(&lost, &spent, at(999)) == Decision::Answer(Way::Anew));
        assert!(decide(&lost, &old, at(999)) == Decision::Replayed);
        assert!(decided(&old, 100) == Decision::Replayed);
        assert!(decided(&good, 1000) == Decision::Over && decided(&spent, 1000) == Decision::Over);
        let ended = RememberedLogIn { ended_at: Some(at(120)), ..row.clone() };
        assert!(decide(&ended, &good, at(130)) == Decision::Over && decide(&ended, &spent, at(130)) == Decision::Over);
    }

    #[test]
    fn a_cookie_has_one_spelling() {
        let (id, secret) = (RememberedId::new(Timestamp::from_micros(0), &Random), Secret([7; SECRET_BYTES]));
        let text = secret.cookie(id).expose().to_owned();
        assert_eq!(text.len(), 64);
        let parsed = RememberedToken::parse(&text).unwrap();
        assert!(parsed.id == id && parsed.secret.0 == secret.0);
        for other in ["", "x", &text[1..], &format!("{text}A"), &format!("{text}="), &"A".repeat(4000)] {
            assert!(RememberedToken::parse(other).is_none(), "{other}");
        }
    }
}
