//! The status feed as it is on the wire: server-sent events with a line of JSON each. Both sides of it, so that what one
//! writes the other reads. Refuses to know what the events do; that is [`crate::status`].

use std::fmt;

use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher24;

use crate::{base64url, digest, json};

/// `typ` of a checkpoint.
pub const CHECKPOINT_TYPE: &str = "status-checkpoint+jwt";
/// The most lists that a verifier keeps: 128 MiB of them, a billion grants.
pub const MAX_LISTS: u64 = 1024;

/// What a cut-off is about.
///
/// ```
/// assert_eq!(serde_json::to_string(&countersign_verifier::feed::CutKind::ClientId)?, r#""client_id""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutKind {
    /// The tokens of a subject.
    Sub,
    /// The tokens of a client.
    ClientId,
    /// The tokens of a grant.
    Sid,
    /// One token.
    Jti,
    /// The tokens that a key signed.
    Kid,
}

impl CutKind {
    /// Its name on the wire.
    ///
    /// ```
    /// assert_eq!(countersign_verifier::feed::CutKind::Sub.name(), "sub");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Sub => "sub",
            Self::ClientId => "client_id",
            Self::Sid => "sid",
            Self::Jti => "jti",
            Self::Kid => "kid",
        }
    }
}

/// A cut-off: tokens of `h` that were issued at `nbf` or before are worth nothing. It is its four members; another one of
/// the same `k` and `h` stands beside it, and each is taken back by itself.
///
/// ```
/// use countersign_verifier::feed::{Cut, CutKind, FeedKey};
///
/// let key = FeedKey::new([7; 16]);
/// let cut = Cut { k: CutKind::Sub, h: key.hash_text("usr_1"), nbf: 1_795_000_000, until: 1_795_001_200 };
/// assert!(serde_json::to_string(&cut)?.starts_with(r#"{"k":"sub","h":""#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    /// What it is about.
    pub k: CutKind,
    /// The keyed hash of the value, [`FeedKey::hash_text`]; the `kid` itself for a key.
    pub h: String,
    /// The last second whose tokens it is about.
    pub nbf: i64,
    /// When it may be forgotten; 0 if never.
    pub until: i64,
}

impl Cut {
    /// Whether `h` is what its kind has.
    fn is_well_formed(&self) -> bool {
        match self.k {
            // A blank would make two cut-offs of one line of the digest.
            CutKind::Kid => {
                (1..=crate::keys::MAX_KID_BYTES).contains(&self.h.len())
                    && self.h.bytes().all(|byte| byte.is_ascii_graphic())
            }
            CutKind::Sub | CutKind::ClientId | CutKind::Sid | CutKind::Jti => self.hash().is_some(),
        }
    }

    /// The hash, where there is one.
    pub(crate) fn hash(&self) -> Option<u128> {
        base64url::decode_exactly(&self.h).map(u128::from_le_bytes)
    }
}

/// SHA-256, as base64url, of the cut-offs: the key of their hashes in a line of its own, without which the hashes mean nothing,
/// and then a line `{k} {h} {nbf} {until}` for each, sorted by its bytes.
///
/// ```
/// use countersign_verifier::feed::{Cut, CutKind, FeedKey, cuts_digest};
///
/// let one = Cut { k: CutKind::Kid, h: "key-1".to_owned(), nbf: 5, until: 0 };
/// let two = Cut { k: CutKind::Kid, h: "key-2".to_owned(), nbf: 5, until: 0 };
/// let key = FeedKey::new([7; 16]);
/// assert_eq!(cuts_digest(&key, [&one, &two]), cuts_digest(&key, [&two, &one]));
/// assert_ne!(cuts_digest(&key, [&one]), cuts_digest(&FeedKey::new([8; 16]), [&one]));
/// ```
pub fn cuts_digest<'c>(key: &FeedKey, cuts: impl IntoIterator<Item = &'c Cut>) -> String {
    let line = |cut: &Cut| format!("{} {} {} {}\n", cut.k.name(), cut.h, cut.nbf, cut.until);
    let mut lines: Vec<String> = cuts.into_iter().map(line).collect();
    lines.sort_unstable();
    base64url::encode(&digest::sha256(format!("{}\n{}", key.to_text(), lines.concat()).as_bytes()))
}

/// SHA-256, as base64url, of a list's bytes.
///
/// ```
/// assert_eq!(countersign_verifier::feed::list_digest(b"").len(), 43);
/// ```
pub fn list_digest(bits: &[u8]) -> String {
    base64url::encode(&digest::sha256(bits))
}

/// The key of the hashes in a feed: who only sees the feed learns no names.
///
/// ```
/// use countersign_verifier::feed::FeedKey;
///
/// assert_ne!(FeedKey::new([1; 16]).hash_text("usr_1"), FeedKey::new([2; 16]).hash_text("usr_1"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct FeedKey([u8; 16]);

impl FeedKey {
    /// The key of these bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key as [`Hello::key`] has it.
    ///
    /// ```
    /// use countersign_verifier::feed::FeedKey;
    ///
    /// assert!(FeedKey::parse("AAAAAAAAAAAAAAAAAAAAAA").is_some());
    /// assert!(FeedKey::parse("AAAA").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        base64url::decode_exactly(text).map(Self)
    }

    /// The other way round.
    ///
    /// ```
    /// use countersign_verifier::feed::FeedKey;
    ///
    /// assert_eq!(FeedKey::new([0; 16]).to_text(), "AAAAAAAAAAAAAAAAAAAAAA");
    /// ```
    pub fn to_text(&self) -> String {
        base64url::encode(&self.0)
    }

    /// SipHash-2-4-128 of a value's bytes.
    pub(crate) fn hash(&self, value: &str) -> u128 {
        SipHasher24::new_with_key(&self.0).hash(value.as_bytes()).as_u128()
    }

    /// [`Cut::h`] of a value: the hash's bytes, the least significant first, as base64url.
    ///
    /// ```
    /// use countersign_verifier::feed::FeedKey;
    ///
    /// assert_eq!(FeedKey::new([0; 16]).hash_text("usr_1").len(), 22);
    /// ```
    pub fn hash_text(&self, value: &str) -> String {
        base64url::encode(&self.hash(value).to_le_bytes())
    }
}

impl fmt::Debug for FeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedKey(…)")
    }
}

/// `event: hello`, first on each connection.
///
/// ```
/// use countersign_verifier::feed::{FeedKey, Hello};
///
/// let hello = Hello { n: 105, key: FeedKey::new([7; 16]).to_text(), lists: 2, cuts: Vec::new() };
/// assert!(serde_json::to_string(&hello).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The number of the last change there was at the time.
    pub n: u64,
    /// The [`FeedKey`].
    pub key: String,
    /// How many lists there are.
    pub lists: u64,
    /// Every cut-off there is.
    pub cuts: Vec<Cut>,
}

/// `event: change`. All of it but the number may be absent.
///
/// ```
/// use countersign_verifier::feed::Change;
///
/// let change = Change { n: 106, set: vec![5], ..Change::default() };
/// assert_eq!(serde_json::to_string(&change)?, r#"{"n":106,"set":[5]}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its number: that of the change before it, and one more.
    pub n: u64,
    /// Status numbers whose bit is set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<u64>,
    /// Status numbers whose bit is cleared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clr: Vec<u64>,
    /// Cut-offs that begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Cut>,
    /// Cut-offs that are over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncut: Vec<Cut>,
    /// How many lists there are from now on.
    #[serde(default, deserialize_with = "json::some", skip_serializing_if = "Option::is_none")]
    pub lists: Option<u64>,
    /// Whether verifiers report at once that they have got it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ack: bool,
}

/// `event: beat`: nothing happened, and that is known.
///
/// ```
/// assert_eq!(serde_json::to_string(&countersign_verifier::feed::Beat { n: 106 })?, r#"{"n":106}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The number of the last change there was.
    pub n: u64,
}

/// What a checkpoint says: all of the state at one change, signed. Loosening waits for it.
///
/// ```
/// use countersign_verifier::feed::{CheckpointClaims, FeedKey, cuts_digest, list_digest};
///
/// let claims = CheckpointClaims {
///     iss: "https://as.example".to_owned(),
///     iat: 1_795_000_000,
///     seq: 106,
///     lists: vec![list_digest(&[0; 131_072])],
///     cuts: cuts_digest(&FeedKey::new([7; 16]), []),
/// };
/// assert!(serde_json::to_string(&claims).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointClaims {
    /// Who signs.
    pub iss: String,
    /// When, in seconds since the epoch.
    pub iat: i64,
    /// The number of the last change in it.
    pub seq: u64,
    /// [`list_digest`] of each list.
    pub lists: Vec<String>,
    /// [`cuts_digest`] of the cut-offs.
    pub cuts: String,
}

/// An event of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first.
    Hello(Hello),
    /// Something was revoked, or need not be remembered any longer.
    Change(Change),
    /// A sign of life.
    Beat(Beat),
    /// A signed statement of the whole state, as a compact JWS.
    Checkpoint(String),
    /// Where the verifier is, the issuer cannot go on from.
    Reset,
}

/// An event that is not as it must be.
///
/// ```
/// use countersign_verifier::feed::{Event, MalformedEvent};
///
/// assert_eq!(Event::parse("beat", r#"{"n":"1"}"#), Err(MalformedEvent));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the status feed is malformed")]
pub struct MalformedEvent;

impl Event {
    /// The event of this name and with this data; none if the name means nothing to us.
    ///
    /// ```
    /// use countersign_verifier::feed::{Beat, Event};
    ///
    /// assert_eq!(Event::parse("beat", r#"{"n":106}"#), Ok(Some(Event::Beat(Beat { n: 106 }))));
    /// assert_eq!(Event::parse("weather", "fine"), Ok(None));
    /// ```
    ///
    /// # Errors
    /// [`MalformedEvent`].
    pub fn parse(name: &str, data: &str) -> Result<Option<Self>, MalformedEvent> {
        let event = match name {
            "hello" => Self::Hello(json::parse(data.as_bytes()).ok_or(MalformedEvent)?),
            "change" => Self::Change(json::parse(data.as_bytes()).ok_or(MalformedEvent)?),
            "beat" => Self::Beat(json::parse(data.as_bytes()).ok_or(MalformedEvent)?),
            "ckpt" => Self::Checkpoint(data.to_owned()),
            "reset" => Self::Reset,
            _ => return Ok(None),
        };
        if event.is_well_formed() { Ok(Some(event)) } else { Err(MalformedEvent) }
    }

    fn is_well_formed(&self) -> bool {
        match self {
            Self::Hello(hello) => {
                hello.lists <= MAX_LISTS
                    && FeedKey::parse(&hello.key).is_some()
                    && hello.cuts.iter().all(Cut::is_well_formed)
            }
            Self::Change(change) => {
                change.lists.is_none_or(|lists| lists <= MAX_LISTS)
                    && change.cut.iter().chain(&change.uncut).all(Cut::is_well_formed)
            }
            Self::Beat(_) | Self::Checkpoint(_) | Self::Reset => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_reference() {
        // The reference implementation's vector for 15 bytes 00…0e under the key 00…0f, with 128 bits.
        let key = FeedKey::new(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let value = String::from_utf8((0..15).collect()).unwrap();
        let bytes = base64url::decode(&key.hash_text(&value)).unwrap();
        let expected = [0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11, 0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf, 0xc3, 0xd9];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_digest_of_cut_offs_is_of_sorted_lines() {
        let cut = |k, h: &str, nbf, until| Cut { k, h: h.to_owned(), nbf, until };
        let cuts = [cut(CutKind::Sub, "b", 10, 20), cut(CutKind::ClientId, "a", 9, 0), cut(CutKind::Sub, "b", 9, 20)];
        let lines = "AAAAAAAAAAAAAAAAAAAAAA\nclient_id a 9 0\nsub b 10 20\nsub b 9 20\n";
        assert_eq!(cuts_digest(&FeedKey::new([0; 16]), &cuts), base64url::encode(&digest::sha256(lines.as_bytes())));
    }

    #[test]
    fn what_is_not_as_agreed_is_malformed() {
        let hash = FeedKey::new([1; 16]).hash_text("x");
        let cut = format!(r#"{{"k":"sub","h":"{hash}","nbf":1,"until":0}}"#);
        let change =
            format!(r#"{{"n":1,"set":[1],"clr":[],"cut":[{cut}],"uncut":[],"lists":3,"ack":true,"new":{{}}}}"#);
        assert!(matches!(Event::parse("change", &change), Ok(Some(Event::Change(_)))));
        for (name, data) in [
            ("change", "{}".to_owned()),
            ("change", r#"{"n":-1}"#.to_owned()),
            ("change", r#"{"n":1,"n":1}"#.to_owned()),
            ("change", r#"{"n":1.5}"#.to_owned()),
            ("change", r#"{"n":1,"set":["1"]}"#.to_owned()),
            ("change", r#"{"n":1,"set":null}"#.to_owned()),
            ("change", r#"{"n":1,"lists":null}"#.to_owned()),
            ("change", r#"{"n":1,"lists":1025}"#.to_owned()),
            ("change", r#"{"n":1,"cut":[{"k":"sub","h":"x","nbf":1,"until":0}]}"#.to_owned()),
            ("change", r#"{"n":1,"cut":[{"k":"kid","h":"a b","nbf":1,"until":0}]}"#.to_owned()),
            ("change", r#"{"n":1,"cut":[{"k":"all","h":"","nbf":1,"until":0}]}"#.to_owned()),
            ("change", "[1]".to_owned()),
            ("hello", r#"{"n":1,"key":"AA","lists":1,"cuts":[]}"#.to_owned()),
            ("hello", r#"{"n":1,"lists":1,"cuts":[]}"#.to_owned()),
            ("hello", r#"{"n":1,"key":"AAAAAAAAAAAAAAAAAAAAAA","lists":1025,"cuts":[]}"#.to_owned()),
            ("beat", String::new()),
        ] {
            assert_eq!(Event::parse(name, &data), Err(MalformedEvent), "{name} {data}");
        }
    }
}
