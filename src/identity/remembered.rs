//! Log-ins that a browser remembers after it was closed (ASVS 7.3): a series of secrets, of which each use makes the next. One
//! that was spent and comes back is somebody else's copy, or the browser is not the one that it was given to: the series ends
//! with all that came from it. What is restored is as old as the log-in itself, so that whoever wants a fresh one still asks.

use std::fmt;
use std::time::Duration;

use super::browser::Visitor;
use super::login::ProvenPassword;
use super::place::Place;
use super::session::{self, SessionToken};
use crate::app::App;
use crate::clock::{Deadline, Timestamp};
use crate::id::{RememberedId, SessionId};
use crate::limits;
use crate::reason::{CapacityRefusal, Refusal};
use crate::secret::{Digest, PlainSecret, decode_base64url, encode_base64url};
use crate::store::browser_sessions::{self, BrowserSession};
use crate::store::remembered_log_ins::{self, RememberedLogIn};
use crate::store::{self, DatabaseTime};

/// Bytes of a secret: 256 bits.
const SECRET_BYTES: usize = 32;
/// Bytes of a series' name.
const ID_BYTES: usize = 16;
/// How long a spent secret may be repeated: the answer was lost, or two tabs were opened at once.
const LEEWAY: Duration = Duration::from_mins(1);

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

    /// The secrets that may follow, one for each version of the master key, the one that is made now last. The same secret
    /// has the same next one, so that whoever repeats itself gets what it lost.
    fn next(&self, app: &App) -> Vec<Secret> {
        let secrets = app.secrets.load();
        let next = |(_, key): &(u8, crate::secret::PurposeKey)| {
            Secret(*key.mac(&[self.id.as_bytes(), &self.secret.0]).as_bytes())
        };
        secrets.remembered_mac.iter().map(next).collect()
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

/// The series that a browser brings, if it is in force and its secret is good.
///
/// # Errors
/// The store's own reasons.
pub(super) fn find_brought(
    app: &App,
    token: Option<&RememberedToken>,
    deadline: &Deadline,
) -> Result<Option<RememberedLogIn>, Refusal> {
    let Some(token) = token else { return Ok(None) };
    let found = app.db.read(|tx| remembered_log_ins::find(tx, token.id))?;
    let Some((row, _)) = found else { return Ok(None) };
    match decide(&row, &token.secret.digest(), app.clock.now()) {
        Decision::MoveOn | Decision::Repeat => Ok(Some(row)),
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
    /// The next one takes its place.
    MoveOn,
    /// It is the one before, just now: whoever has it gets what follows from it, once more.
    Repeat,
    /// It lets nobody in.
    Over,
    /// It was spent.
    Replayed,
}

fn decide(row: &RememberedLogIn, presented: &Digest, now: Timestamp) -> Decision {
    if row.ended_at.is_some() || now >= row.expires_at {
        return Decision::Over;
    }
    if row.secret == *presented {
        return Decision::MoveOn;
    }
    if row.spent.as_ref() == Some(presented) && now <= row.moved_at.plus(LEEWAY) {
        return Decision::Repeat;
    }
    Decision::Replayed
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
    if session::find(app, visitor.session.as_ref(), None)?.is_some() {
        return Ok(Restored::Nothing);
    }
    let presented = token.secret.digest();
    // Once more for whoever came second.
    for _ in 0..2 {
        let found = app.db.read(|tx| remembered_log_ins::find(tx, token.id))?;
        let Some((row, read_at)) = found else { return Ok(Restored::Forget) };
        let decision = decide(&row, &presented, app.clock.now());
        let next = match decision {
            Decision::Over => return Ok(Restored::Forget),
            Decision::Replayed => return replayed(app, &row, deadline),
            Decision::MoveOn => token.next(app).pop().ok_or(CapacityRefusal::CannotSign)?,
            // Only under the version of the master key by which it was made.
            Decision::Repeat => match token.next(app).into_iter().find(|next| next.digest() == row.secret) {
                Some(next) => next,
                None => return Ok(Restored::Forget),
            },
        };
        limits::admit_restored(&app.cache, &SeriesName::of(row.id).0)?;
        let not_after = read_at.plus(deadline.remaining());
        match log_in_again(app, (&row, decision), (&presented, &next.digest()), (not_after, deadline))? {
            Made::Session(token, session) => {
                tracing::info!(event = "log_in_restored", account_id = %row.account_id);
                visitor.session = Some(token);
                let max_age = row.expires_at.since(app.clock.now());
                let remembered = RememberedCookie { value: next.cookie(row.id), max_age };
                return Ok(Restored::LoggedIn { session, remembered });
            }
            Made::Nothing => return Ok(Restored::Forget),
            Made::Late => {}
        }
    }
    Err(CapacityRefusal::Contended.into())
}

/// What came of making the session.
enum Made {
    Session(SessionToken, PlainSecret),
    /// The account is not what it was.
    Nothing,
    /// Somebody else was first.
    Late,
}

fn log_in_again(
    app: &App,
    (row, decision): (&RememberedLogIn, Decision),
    (presented, next): (&Digest, &Digest),
    (not_after, deadline): (DatabaseTime, &Deadline),
) -> Result<Made, Refusal> {
    let now = app.clock.now();
    let (token, cookie) = SessionToken::new(app);
    let session = BrowserSession {
        id: SessionId::new(now, &app.random),
        account_id: row.account_id,
        amr: row.amr.clone(),
        // OpenID Connect Core §2: when the person logged in, which was not now.
        auth_time: row.auth_time,
        created_at: now,
        seen_at: now,
        expires_at: now.plus(app.settings.sessions.absolute_ttl).min(row.expires_at),
        ended_at: None,
        network: Some(row.network.clone()),
        user_agent: Some(row.user_agent.clone()),
        remembered_id: Some(row.id),
    };
    let (id, version, digest) = (row.id, row.credentials_version, token.digest());
    let (presented, next) = (*presented, *next);
    let made = app.db.write_before(deadline, move |tx| {
        let first = match decision {
            Decision::MoveOn => remembered_log_ins::move_on(tx, id, (&presented, &next), now)?,
            Decision::Repeat | Decision::Over | Decision::Replayed => remembered_log_ins::hold(tx, id, &next)?,
        };
        if !first {
            return Ok(None);
        }
        if browser_sessions::insert(tx, &session, &digest, version, not_after)? {
            return Ok(Some(true));
        }
        // Too late is not changed.
        let unchanged = store::accounts::are_credentials(tx, session.account_id, version)?;
        if unchanged { Err(store::Error::Expired) } else { Ok(Some(false)) }
    })?;
    Ok(match made {
        None => Made::Late,
        Some(false) => Made::Nothing,
        Some(true) => Made::Session(token, cookie),
    })
}

fn replayed(app: &App, row: &RememberedLogIn, deadline: &Deadline) -> Result<Restored, Refusal> {
    let (id, now) = (row.id, app.clock.now());
    app.db.write_before(deadline, move |tx| remembered_log_ins::end(tx, id, now))?;
    tracing::warn!(event = "remembered_log_in_replayed", account_id = %row.account_id, "a spent secret came back");
    Ok(Restored::Forget)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;
    use crate::secret::Random;

    #[test]
    fn a_spent_secret_is_good_for_a_minute_and_a_theft_after_it() {
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
            expires_at: at(1000),
            ended_at: None,
            network: String::new(),
            user_agent: String::new(),
        };
        let decided = |presented, seconds| decide(&row, presented, at(seconds));
        assert!(decided(&good, 100) == Decision::MoveOn && decided(&good, 999) == Decision::MoveOn);
        assert!(decided(&spent, 160) == Decision::Repeat && decided(&spent, 161) == Decision::Replayed);
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
