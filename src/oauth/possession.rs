//! Which key the sender of a request proves to hold (RFC 9449 §4.3, RFC 8705 §3). Nothing else about the request is judged
//! here.

use std::time::Duration;

use super::RequestContext;
use crate::app::App;
use crate::clock::Timestamp;
use crate::keys::peer;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::dpop::{Target, UnverifiedProof, WINDOW};
use crate::protocol::params::Params;
use crate::reason::{ClientRefusal, DpopRefusal, Refusal};
use crate::secret::{Digest, PlainSecret, PurposeKey, decode_base64url, encode_base64url};
use crate::store::clients::Client;
use crate::store::one_time_values;

/// How long a nonce is handed out; it is taken for as long again.
const NONCE_TTL: Duration = Duration::from_mins(5);
const SLOT_BYTES: usize = 8;

/// The key that the tokens of this request are to be bound to, if any: that of its proof, or else of its certificate.
///
/// # Errors
/// A [`DpopRefusal`]; [`ClientRefusal::CertificateMissing`].
pub fn prove(
    app: &App,
    client: &Client,
    path: &str,
    context: &RequestContext,
) -> Result<Option<Confirmation>, Refusal> {
    let proof = &client.metadata.proof;
    if let Some(jkt) = prove_key(app, client, ("POST", path, None), context)? {
        return Ok(Some(Confirmation::Jkt(jkt)));
    }
    // RFC 9449 §5.2.
    if proof.dpop_bound {
        return Err(DpopRefusal::Missing.into());
    }
    if !proof.certificate_bound {
        return Ok(None);
    }
    // RFC 8705 §3.4.
    let certificate = context.keys.certificate.as_ref().ok_or(ClientRefusal::CertificateMissing)?;
    Ok(Some(Confirmation::Certificate(certificate.thumbprint())))
}

/// RFC 9449 §10.1: a proof binds the code that is asked for to its key, as `dpop_jkt` does; with both, they must agree.
///
/// # Errors
/// A [`DpopRefusal`].
pub fn bind(
    app: &App,
    client: &Client,
    params: &mut Params,
    path: &str,
    context: &RequestContext,
) -> Result<(), Refusal> {
    let Some(jkt) = prove_key(app, client, ("POST", path, None), context)? else { return Ok(()) };
    if params.find("dpop_jkt").is_some_and(|named| named != jkt) {
        return Err(DpopRefusal::OtherRequest.into());
    }
    params.set("dpop_jkt", &jkt);
    Ok(())
}

/// The thumbprint of the key whose proof comes with the request of a client, if there is one: made for this method, path and
/// access token, now, and never seen before.
///
/// # Errors
/// A [`DpopRefusal`]; too many of them.
pub fn prove_key(
    app: &App,
    client: &Client,
    (method, path, access_token): (&str, &str, Option<&str>),
    context: &RequestContext,
) -> Result<Option<String>, Refusal> {
    let text = match context.keys.proofs.as_slice() {
        [] => return Ok(None),
        [one] => one,
        // RFC 9449 §4.3 no. 1: not more than one.
        [_, _, ..] => return Err(DpopRefusal::Malformed.into()),
    };
    // ASVS 2.4.1: each proof that is used up is a row.
    if client.is_anybodys() {
        app.proofs.admit(&app.cache, context.network)?;
    }
    let proof = UnverifiedProof::parse(text.expose())?;
    // RFC 9449 §4.3 nos. 5 and 6: signed by the key that it carries.
    if !peer::is_signed_by(&proof.jws, &proof.jwk) {
        return Err(DpopRefusal::Malformed.into());
    }
    let uri = format!("{}{path}", app.issuer);
    let ath = access_token.map(|token| encode_base64url(Digest::sha256(token.as_bytes()).as_bytes()));
    proof.must_be_for(Target { method, uri: &uri, ath: ath.as_deref() })?;
    let now = app.clock.now();
    let nonces = &app.secrets.load().dpop_nonce_mac;
    // RFC 9449 §8, §11.1: a nonce of ours says when it was made, whatever the client's clock does; without one its clock must.
    let in_time = match proof.nonce() {
        Some(nonce) => is_ours(nonce, nonces, now),
        None => !app.settings.tokens.dpop_nonce_required && proof.is_of_this_moment(now),
    };
    if !in_time {
        return Err(DpopRefusal::NonceWanted.into());
    }
    let jkt = proof.jwk.thumbprint();
    let name = Digest::sha256_of(&[b"dpop proof", jkt.as_bytes(), proof.jti().as_bytes()]);
    let refused_at = now.plus(NONCE_TTL * 2).plus(WINDOW);
    // RFC 9449 §11.1: once, whichever instance it comes to.
    if app.db.write_before(&context.deadline, move |tx| one_time_values::claim(tx, &name, refused_at))? {
        Ok(Some(jkt))
    } else {
        Err(DpopRefusal::Replayed.into())
    }
}

/// What proofs are to repeat from now on (RFC 9449 §8); `None` when there is no key.
pub fn nonce(app: &App) -> Option<PlainSecret> {
    let secrets = app.secrets.load();
    let (_, key) = secrets.dpop_nonce_mac.last()?;
    let slot = slot(app.clock.now()).to_be_bytes();
    let text = encode_base64url(&[slot.as_slice(), key.mac(&[&slot]).as_bytes()].concat());
    Some(PlainSecret::new(text))
}

fn slot(now: Timestamp) -> i64 {
    now.unix_seconds().div_euclid(i64::try_from(NONCE_TTL.as_secs()).unwrap_or(i64::MAX))
}

fn is_ours(nonce: &str, keys: &[(u8, PurposeKey)], now: Timestamp) -> bool {
    let Some(bytes) = decode_base64url(nonce) else { return false };
    let Some((made_in, mac)) = bytes.split_first_chunk::<SLOT_BYTES>() else { return false };
    let (current, made_in_slot) = (slot(now), i64::from_be_bytes(*made_in));
    // Another instance's clock may be a little ahead.
    let recent = (current - 1..=current + 1).contains(&made_in_slot);
    recent && Digest::from_slice(mac).is_some_and(|mac| keys.iter().any(|(_, key)| key.mac(&[made_in]) == mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_its_slot_and_the_next() {
        let keys = [(1, PurposeKey::new([1; 32])), (2, PurposeKey::new([2; 32]))];
        let made = |slot: i64, key: usize| {
            let slot = slot.to_be_bytes();
            encode_base64url(&[slot.as_slice(), keys[key].1.mac(&[&slot]).as_bytes()].concat())
        };
        let now = Timestamp::from_micros(300_000_000 * 10 + 1);
        assert!(
            is_ours(&made(10, 1), &keys, now) && is_ours(&made(9, 0), &keys, now) && is_ours(&made(11, 1), &keys, now)
        );
        assert!(!is_ours(&made(8, 1), &keys, now) && !is_ours(&made(12, 1), &keys, now));
        assert!(!is_ours(&made(10, 1), &keys[..1], now));
        for forged in ["", "x", &made(10, 1)[1..], &format!("{}A", made(10, 1))] {
            assert!(!is_ours(forged, &keys, now), "{forged}");
        }
    }
}
