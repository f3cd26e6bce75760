//! The Token Status List (draft-ietf-oauth-status-list-21): one bit a grant, compressed, signed. Both sides of it: an
//! issuer encodes with what a verifier decodes with.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use serde::{Deserialize, Serialize};

use crate::keys::KeySet;
use crate::{Rejected, base64url, json, jws};

/// How many grants one list has room for.
pub const LIST_ENTRIES: u64 = 1 << 20;
/// The bytes of a list: a bit for each grant.
pub const LIST_BYTES: usize = 131_072;
/// `typ` of a status list token (draft §5.1).
pub const TYPE: &str = "statuslist+jwt";
/// The most bytes of a status list token. A list of noise, compressed in vain and encoded twice, has 240,000.
pub(crate) const MAX_TOKEN_BYTES: usize = 512 * 1024;

/// Why something is no compressed list.
///
/// ```
/// use countersign_verifier::status_list::{self, ListError};
///
/// assert_eq!(status_list::decode("eNrbuRgAAhcBXQ", 1), Err(ListError::TooLarge));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// No base64url.
    #[error("the list is no base64url")]
    Encoding,
    /// No zlib stream, or not all of one, or something after it.
    #[error("the list is no zlib stream")]
    Compression,
    /// More bytes than are taken.
    #[error("the list is too large")]
    TooLarge,
}

/// The text of `bits` in a status list token: zlib, then base64url (draft §4.1, §4.2). `level` is zlib's, 0 to 9.
///
/// ```
/// use countersign_verifier::status_list;
///
/// // The example of the draft's §4.1.
/// assert_eq!(status_list::encode(&[0xb9, 0xa3], 9), "eNrbuRgAAhcBXQ");
/// ```
pub fn encode(bits: &[u8], level: u32) -> String {
    let mut zlib = Compress::new(Compression::new(level.min(9)), true);
    let mut compressed = Vec::with_capacity(bits.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
        let rest = bits.get(taken..).unwrap_or_default();
        match zlib.compress_vec(rest, &mut compressed, FlushCompress::Finish) {
            Ok(Status::Ok | Status::BufError) => compressed.reserve(bits.len() / 2 + 1024),
            // Compressing into memory has no other end.
            Ok(Status::StreamEnd) | Err(_) => return base64url::encode(&compressed),
        }
    }
}

/// The bits that [`encode`] was given, if they are no more than `max_bytes`. Never unpacks more than that.
///
/// ```
/// use countersign_verifier::status_list;
///
/// assert_eq!(status_list::decode("eNrbuRgAAhcBXQ", 2), Ok(vec![0xb9, 0xa3]));
/// ```
///
/// # Errors
/// [`ListError`].
pub fn decode(lst: &str, max_bytes: usize) -> Result<Vec<u8>, ListError> {
    let compressed = base64url::decode(lst).ok_or(ListError::Encoding)?;
    let mut zlib = Decompress::new(true);
    // One more, so that the end of a stream that fits exactly is seen.
    let mut bits = Vec::with_capacity(max_bytes.saturating_add(1));
    let status = zlib.decompress_vec(&compressed, &mut bits, FlushDecompress::Finish);
    if bits.len() > max_bytes {
        return Err(ListError::TooLarge);
    }
    let whole = matches!(status, Ok(Status::StreamEnd));
    let nothing_after = usize::try_from(zlib.total_in()) == Ok(compressed.len());
    if whole && nothing_after { Ok(bits) } else { Err(ListError::Compression) }
}

/// Whether the bit of entry `index` is set: bit `index % 8`, the least significant first, of byte `index / 8` (draft §4.1).
///
/// ```
/// use countersign_verifier::status_list;
///
/// let bits = [0xb9, 0xa3];
/// let set: Vec<u64> = (0..16).filter(|index| status_list::is_set(&bits, *index)).collect();
/// assert_eq!(set, [0, 3, 4, 5, 7, 8, 9, 13, 15]);
/// assert!(!status_list::is_set(&bits, 16));
/// ```
pub fn is_set(bits: &[u8], index: u64) -> bool {
    let byte = usize::try_from(index / 8).ok().and_then(|at| bits.get(at));
    byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// Sets or clears the bit of entry `index`, if there is one.
///
/// ```
/// use countersign_verifier::status_list;
///
/// let mut bits = [0; 2];
/// status_list::put(&mut bits, 9, true);
/// assert_eq!(bits, [0, 0b10]);
/// ```
pub fn put(bits: &mut [u8], index: u64, set: bool) {
    let Some(byte) = usize::try_from(index / 8).ok().and_then(|at| bits.get_mut(at)) else { return };
    let mask = 1 << (index % 8);
    *byte = if set { *byte | mask } else { *byte & !mask };
}

/// Where a list is published: what a token's `status_list.uri` and a list's `sub` say.
///
/// ```
/// assert_eq!(countersign_verifier::status_list::uri("https://as.example", 3), "https://as.example/status/3");
/// ```
pub fn uri(issuer: &str, list: u64) -> String {
    format!("{issuer}/status/{list}")
}

/// The claims of a status list token (draft §5.1).
///
/// ```
/// use countersign_verifier::status_list::{self, StatusList, StatusListClaims};
///
/// let claims = StatusListClaims {
///     iss: "https://as.example".to_owned(),
///     sub: status_list::uri("https://as.example", 0),
///     iat: 1_795_000_000,
///     exp: Some(1_795_000_360),
///     ttl: Some(15),
///     status_list: StatusList { bits: 1, lst: status_list::encode(&[0; status_list::LIST_BYTES], 6) },
///     seq: Some(106),
/// };
/// assert!(serde_json::to_string(&claims).is_ok());
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusListClaims {
    /// Who signs.
    pub iss: String,
    /// The address of the list.
    pub sub: String,
    /// When it was made, in seconds since the epoch.
    pub iat: i64,
    /// Until when it may be relied on.
    #[serde(default, deserialize_with = "json::some", skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// For how many seconds asking again is of no use.
    #[serde(default, deserialize_with = "json::some", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// The list.
    pub status_list: StatusList,
    /// A claim of ours: the number of the last change that is in it.
    #[serde(default, deserialize_with = "json::some", skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// The member `status_list` of such a token (draft §4.2).
///
/// ```
/// use countersign_verifier::status_list::StatusList;
///
/// let list: StatusList = serde_json::from_str(r#"{"bits":1,"lst":"eNrbuRgAAhcBXQ"}"#)?;
/// assert_eq!(list.bits, 1);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusList {
    /// How many bits an entry has; ours have one.
    pub bits: u8,
    /// The entries, as [`encode`] writes them.
    pub lst: String,
}

impl fmt::Debug for StatusListClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusListClaims").field("sub", &self.sub).field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl fmt::Debug for StatusList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusList").field("bits", &self.bits).finish_non_exhaustive()
    }
}

/// A list whose signature and claims were found good.
#[derive(Debug)]
pub(crate) struct VerifiedList {
    pub(crate) bits: Vec<u8>,
    pub(crate) seq: Option<u64>,
    pub(crate) iat: i64,
    pub(crate) exp: Option<i64>,
    pub(crate) ttl: Option<i64>,
}

/// Whom and when a signed document is checked for.
pub(crate) struct Trust<'k> {
    pub(crate) issuer: &'k str,
    pub(crate) keys: &'k KeySet,
    /// Seconds since the epoch.
    pub(crate) now: i64,
    /// Seconds.
    pub(crate) leeway: i64,
}

/// The list of `token`, which has to be that of `uri`. `is_killed` tells keys whose signatures are worth nothing any more.
pub(crate) fn open(
    token: &str,
    uri: &str,
    trust: &Trust<'_>,
    is_killed: impl Fn(&str) -> bool,
) -> Result<VerifiedList, Rejected> {
    let signed = jws::parse(token, MAX_TOKEN_BYTES, &[TYPE])?;
    signed.is_of(trust.issuer)?;
    if is_killed(&signed.kid) {
        return Err(Rejected::Revoked);
    }
    signed.verify(trust.keys)?;
    let claims: StatusListClaims = signed.claims()?;
    // Draft §8.3: sub is the address that the list was asked for at; no other list may stand in for it.
    if claims.sub != uri {
        return Err(Rejected::BadClaims);
    }
    if claims.iat > trust.now.saturating_add(trust.leeway) {
        return Err(Rejected::NotYetValid);
    }
    // Draft §8.3: after exp it must not be relied on.
    if claims.exp.is_some_and(|exp| exp <= trust.now) {
        return Err(Rejected::Expired);
    }
    // Draft §5.1: ttl is positive.
    if claims.ttl.is_some_and(|ttl| ttl <= 0) || claims.status_list.bits != 1 {
        return Err(Rejected::BadClaims);
    }
    let bits = decode(&claims.status_list.lst, LIST_BYTES).map_err(|_| Rejected::BadClaims)?;
    if bits.len() != LIST_BYTES {
        return Err(Rejected::BadClaims);
    }
    Ok(VerifiedList { bits, seq: claims.seq, iat: claims.iat, exp: claims.exp, ttl: claims.ttl })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::TestIssuer;

    #[test]
    fn the_draft_s_example_is_read_and_written() {
        assert_eq!(encode(&[0xb9, 0xa3], 9), "eNrbuRgAAhcBXQ");
        assert_eq!(decode("eNrbuRgAAhcBXQ", 2), Ok(vec![0xb9, 0xa3]));
    }

    #[test]
    fn every_level_can_be_read_back() {
        let noise: Vec<u8> = (0..LIST_BYTES).map(|at| u8::try_from(at * at / 7 % 251).unwrap()).collect();
        for level in [0, 1, 6, 9, 99] {
            assert_eq!(decode(&encode(&noise, level), LIST_BYTES).as_ref(), Ok(&noise), "{level}");
        }
        assert_eq!(decode(&encode(&[], 6), 0), Ok(Vec::new()));
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let bomb = encode(&vec![0; 64 << 20], 9);
        assert_eq!(decode(&bomb, LIST_BYTES), Err(ListError::TooLarge));
        assert_eq!(decode(&encode(&vec![0; LIST_BYTES + 1], 9), LIST_BYTES), Err(ListError::TooLarge));
        assert!(decode(&encode(&vec![0; LIST_BYTES], 9), LIST_BYTES).is_ok());
    }

    #[test]
    fn half_a_stream_and_one_with_something_after_it_are_refused() {
        let whole = base64url::decode(&encode(&[7; 1000], 6)).unwrap();
        let refused = |bytes: &[u8]| decode(&base64url::encode(bytes), 1000);
        assert_eq!(refused(&whole[..whole.len() - 1]), Err(ListError::Compression));
        assert_eq!(refused(&[&whole[..], &[0]].concat()), Err(ListError::Compression));
        let mut wrong = whole.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(refused(&wrong), Err(ListError::Compression));
        assert_eq!(refused(&[]), Err(ListError::Compression));
        assert_eq!(decode("eNrbuRgAAhcBXQ=", 2), Err(ListError::Encoding));
    }

    fn opened(change: impl Fn(&mut Value), typ: &str) -> Result<VerifiedList, Rejected> {
        let issuer = TestIssuer::new("https://as.example", "https://orders.example");
        let keys = KeySet::parse(issuer.jwks().as_bytes()).unwrap();
        let now = issuer.now();
        let mut claims = json!({
            "iss": "https://as.example", "sub": "https://as.example/status/0", "iat": now, "exp": now + 360, "ttl": 15,
            "status_list": { "bits": 1, "lst": encode(&vec![0; LIST_BYTES], 6) }, "seq": 4,
        });
        change(&mut claims);
        let trust = Trust { issuer: "https://as.example", keys: &keys, now, leeway: 30 };
        open(&issuer.sign_document(typ, &claims), "https://as.example/status/0", &trust, |_| false)
    }

    #[test]
    fn a_list_is_taken_only_with_the_claims_it_must_have() {
        assert_eq!(opened(|_| {}, TYPE).unwrap().seq, Some(4));
        let foreign = opened(|claims| claims["seq"].take().as_null().unwrap_or(()), TYPE);
        assert_eq!(foreign.unwrap_err(), Rejected::BadClaims, "null is no absence");
        let without =
            |member: &'static str| opened(move |claims| drop(claims.as_object_mut().unwrap().remove(member)), TYPE);
        assert_eq!(without("seq").unwrap().seq, None);
        for member in ["sub", "iat", "status_list", "iss"] {
            assert_eq!(without(member).unwrap_err(), Rejected::BadClaims, "{member}");
        }
        let with =
            |member: &'static str, value: Value| opened(move |claims| claims[member] = value.clone(), TYPE).err();
        let at = |member: &'static str, span: i64| {
            opened(move |claims| claims[member] = json!(claims["iat"].as_i64().unwrap() + span), TYPE).err()
        };
        assert_eq!(with("iss", json!("https://other.example")), Some(Rejected::OtherIssuer));
        assert_eq!(with("sub", json!("https://as.example/status/1")), Some(Rejected::BadClaims));
        assert_eq!(at("exp", 0), Some(Rejected::Expired));
        assert_eq!(at("iat", 31), Some(Rejected::NotYetValid));
        assert_eq!(with("ttl", json!(0)), Some(Rejected::BadClaims));
        assert_eq!(with("seq", json!(-1)), Some(Rejected::BadClaims));
        let list = |bits: u8, bytes: usize| json!({ "bits": bits, "lst": encode(&vec![0; bytes], 6) });
        assert_eq!(with("status_list", list(2, LIST_BYTES)), Some(Rejected::BadClaims));
        assert_eq!(with("status_list", list(1, LIST_BYTES - 1)), Some(Rejected::BadClaims));
        assert_eq!(with("status_list", list(1, LIST_BYTES + 1)), Some(Rejected::BadClaims));
        assert_eq!(opened(|_| {}, "at+jwt").unwrap_err(), Rejected::WrongHeader);
        let issuer = TestIssuer::new("https://as.example", "https://orders.example");
        let keys = KeySet::parse(issuer.jwks().as_bytes()).unwrap();
        let trust = Trust { issuer: "https://as.example", keys: &keys, now: issuer.now(), leeway: 30 };
        let payload = json!({ "iss": "https://as.example" }).to_string();
        let forged = issuer.token().forged().typ(TYPE).sign_payload(&payload);
        assert_eq!(open(&forged, "x", &trust, |_| false).unwrap_err(), Rejected::BadSignature);
    }
}
