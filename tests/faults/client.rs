//! An honest client, as a good library would make one: it keeps one refresh token, sends it, and when it does not know
//! whether that arrived it sends the same one again, waiting longer each time. An answer's token replaces the one it
//! has, and it never goes back. It records what it did, and of tokens only which one it was, never their text.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use countersign::secret::decode_base64url;

use crate::chance::Chance;
use crate::http::{self, Answer, NoAnswer, Wire};

/// The password of every account here. `scripts/search-log` looks for its marker.
pub const PASSWORD: &str = "hunter-canary-4711";
/// Every request is answered within its deadline of 10 s, and a second.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(11);
/// How long it repeats a request: less than the server's leeway of 60 s.
const PATIENCE: Duration = Duration::from_secs(52);
/// Its first pause between repeats, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Which refresh token: of which grant, which generation, which of its siblings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenName {
    pub handle: [u8; 16],
    pub generation: u32,
    pub sibling: u8,
}

impl TokenName {
    pub fn of(token: &str) -> Self {
        let bytes = token.strip_prefix("csr_").and_then(decode_base64url).expect("a refresh token of ours");
        Self {
            handle: bytes[1..17].try_into().unwrap(),
            generation: u32::from_be_bytes(bytes[17..21].try_into().unwrap()),
            sibling: bytes[21],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    LogIn,
    Refresh,
    Revoke,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Answered { status: u16, given: Option<TokenName>, retry_after: bool },
    Unanswered(NoAnswer),
}

/// One request.
#[derive(Clone, Copy)]
pub struct Event {
    pub deed: Deed,
    pub presented: Option<TokenName>,
    pub started: Instant,
    pub finished: Instant,
    pub outcome: Outcome,
}

impl Outcome {
    pub fn of(answer: &Result<Answer, NoAnswer>) -> Self {
        match answer {
            Ok(answer) => Self::Answered {
                status: answer.status,
                given: answer.json()["refresh_token"].as_str().map(TokenName::of),
                retry_after: answer.header("retry-after").is_some(),
            },
            Err(why) => Self::Unanswered(*why),
        }
    }
}

impl Event {
    pub fn status(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Answered { status, .. } => Some(status),
            Outcome::Unanswered(_) => None,
        }
    }

    pub fn given(&self) -> Option<TokenName> {
        match self.outcome {
            Outcome::Answered { status: 200, given, .. } => given,
            _ => None,
        }
    }

    pub fn took(&self) -> Duration {
        self.finished.duration_since(self.started)
    }
}

/// Where requests go: one of several instances, at random, as a load balancer would send them.
pub type Targets = Arc<[SocketAddr]>;

/// The client.
pub struct Honest {
    targets: Targets,
    wires: HashMap<SocketAddr, Wire>,
    email: String,
    token: Option<String>,
    chance: Chance,
    /// The instance that did not serve it just now: the next try goes to another, if there is one.
    failed_at: Option<SocketAddr>,
    pub history: Vec<Event>,
    /// Times that it was told `invalid_grant`, or anything else that no repeat mends.
    pub log_outs: Vec<u16>,
    /// Times that it gave up.
    pub unserved: usize,
    /// The longest that it took from a first try to success.
    pub longest: Duration,
    /// Grants that it revoked, and since when it knows.
    pub revoked: Vec<(TokenName, Instant)>,
}

impl Honest {
    pub fn new(targets: Targets, email: &str, seed: u64) -> Self {
        Self {
            targets,
            wires: HashMap::new(),
            email: email.to_owned(),
            token: None,
            chance: Chance::new(seed),
            failed_at: None,
            history: Vec::new(),
            log_outs: Vec::new(),
            unserved: 0,
            longest: Duration::ZERO,
            revoked: Vec::new(),
        }
    }

    /// Sends its requests elsewhere from now on.
    pub fn aim(&mut self, targets: Targets) {
        self.targets = targets;
    }

    /// Which token it has.
    pub fn holds(&self) -> Option<TokenName> {
        self.token.as_deref().map(TokenName::of)
    }

    /// Its token's text, for tests that steal it.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Logs in.
    pub fn log_in(&mut self) -> bool {
        self.token = None;
        let email = self.email.clone();
        let pairs = [("grant_type", "password"), ("client_id", "web"), ("username", &email), ("password", PASSWORD)];
        self.until_answered(Deed::LogIn, &http::form("/token", None, &pairs)).is_some()
    }

    /// Refreshes.
    pub fn refresh(&mut self) -> bool {
        let Some(token) = self.token.clone() else { return false };
        let pairs = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token.as_str())];
        self.until_answered(Deed::Refresh, &http::form("/token", None, &pairs)).is_some()
    }

    /// Revokes its grant, sees once that the token is worth nothing any more, and forgets it.
    pub fn revoke(&mut self) -> bool {
        let Some(token) = self.token.clone() else { return false };
        let pairs = [("client_id", "web"), ("token", token.as_str())];
        if self.until_answered(Deed::Revoke, &http::form("/revoke", None, &pairs)).is_none() {
            return false;
        }
        self.revoked.push((TokenName::of(&token), Instant::now()));
        let pairs = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token.as_str())];
        let _ = self.once(Deed::Refresh, &http::form("/token", None, &pairs));
        self.token = None;
        true
    }

    /// Repeats a request until it is answered 200, refused for good, or its patience ends.
    fn until_answered(&mut self, deed: Deed, request: &[u8]) -> Option<Answer> {
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let answer = self.once(deed, request);
            let mut wait = self.chance.between(pause / 2, pause);
            match answer {
                Ok(answer) if answer.status == 200 => {
                    self.longest = self.longest.max(began.elapsed());
                    if deed != Deed::Revoke {
                        self.token = answer.json()["refresh_token"].as_str().map(str::to_owned);
                    }
                    return Some(answer);
                }
                Ok(answer) if answer.status == 429 || answer.status >= 500 => {
                    let asked = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
                    wait = wait.max(asked.map_or(Duration::ZERO, Duration::from_secs));
                }
                Ok(answer) => {
                    self.log_outs.push(answer.status);
                    self.token = None;
                    return None;
                }
                Err(_) => {}
            }
            if began.elapsed() + wait > PATIENCE {
                self.unserved += 1;
                return None;
            }
            thread::sleep(wait);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends a request once and records it.
    fn once(&mut self, deed: Deed, request: &[u8]) -> Result<Answer, NoAnswer> {
        let failed_at = self.failed_at.take();
        let mut target = self.targets[self.chance.below(self.targets.len())];
        if let Some(other) = self.targets.iter().find(|other| Some(**other) != failed_at)
            && failed_at == Some(target)
        {
            target = *other;
        }
        let wire = self.wires.entry(target).or_insert_with(|| Wire::new(target));
        let presented = self.token.as_deref().map(TokenName::of);
        let started = Instant::now();
        let answer = wire.exchange(request, ANSWER_LIMIT);
        let outcome = Outcome::of(&answer);
        if !answer.as_ref().is_ok_and(|answer| answer.status < 500) {
            self.failed_at = Some(target);
        }
        self.history.push(Event { deed, presented, started, finished: Instant::now(), outcome });
        answer
    }
}
