//! Client authentication (RFC 6749 §2.3, §3.2.1; RFC 7523; RFC 8705 §2), from the in-memory snapshot.

use std::sync::Arc;

use super::RequestContext;
use crate::app::App;
use crate::client_keys::KeysAway;
use crate::id::ClientSecretId;
use crate::keys::{Purpose, peer};
use crate::protocol::client_assertion::{Assertion, Audience};
use crate::protocol::client_certificate::ClientCertificate;
use crate::protocol::client_credentials::{ClientId, Method, PresentedClient};
use crate::protocol::client_metadata::AuthMethod;
use crate::protocol::jose::{JwkSet, JwsHeader, UnverifiedJws};
use crate::reason::{CapacityRefusal, ClientRefusal, Refusal};
use crate::secret::{Digest, PlainSecret, PurposeKey, new_client_secret};
use crate::store::clients::{Client, ClientSecret};
use crate::store::one_time_values;

/// Proves that the request comes from the client that it names, by that client's registered method.
///
/// # Errors
/// A [`ClientRefusal`]. An unknown client costs the same hash as a wrong secret and looks the same from outside.
pub fn authenticate(app: &App, presented: &PresentedClient, context: &RequestContext) -> Result<Arc<Client>, Refusal> {
    let found = app.clients.find(&presented.client_id);
    let known = found.is_some();
    let name = |refusal: Refusal| {
        // ASVS 16.2.5: what names no client of ours may be anything, a secret in the wrong field too.
        let refusal = if known { refusal.of_client(&presented.client_id) } else { refusal };
        if presented.used_header() { refusal.with_basic() } else { refusal }
    };
    let refuse = |reason: ClientRefusal| name(reason.into());
    let secret_proven = match &presented.method {
        Method::Bare | Method::Assertion(_) => true,
        Method::Basic(secret) | Method::Post(secret) => {
            secret_fits(app, found.as_deref(), &presented.client_id, secret)
        }
    };
    // OAuth 2.1 §7.7: the same for a client that nobody knows.
    if !secret_proven {
        let counted = app.client_failures.count(&presented.client_id, context.network, app.clock.monotonic());
        counted.map_err(|rest| name(Refusal::from(ClientRefusal::TooManySecrets).retry_after(rest)))?;
    }
    let client = found.ok_or_else(|| refuse(ClientRefusal::Unknown))?;
    // RFC 7591 §2, ASVS 10.4.10: the registered method and no other; a confidential client never goes unproven.
    if !is_registered(&client, &presented.method) {
        return Err(refuse(ClientRefusal::WrongMethod));
    }
    if !secret_proven {
        return Err(refuse(ClientRefusal::WrongSecret));
    }
    if !certificate_fits(app, &client, context.keys.certificate.as_ref()).map_err(name)? {
        return Err(refuse(ClientRefusal::WrongCertificate));
    }
    if client.disabled_at.is_some() {
        return Err(refuse(ClientRefusal::Disabled));
    }
    // Last, since it uses the assertion up.
    if let Method::Assertion(jws) = &presented.method {
        let jws = jws.as_deref().ok_or_else(|| refuse(ClientRefusal::AssertionSignature))?;
        redeem_assertion(app, &client, jws, context).map_err(name)?;
    }
    Ok(client)
}

fn is_registered(client: &Client, method: &Method) -> bool {
    match client.metadata.auth_method {
        AuthMethod::None | AuthMethod::TlsClientAuth | AuthMethod::SelfSignedTlsClientAuth => {
            matches!(method, Method::Bare)
        }
        AuthMethod::ClientSecretBasic => matches!(method, Method::Basic(_)),
        AuthMethod::ClientSecretPost => matches!(method, Method::Post(_)),
        AuthMethod::PrivateKeyJwt => matches!(method, Method::Assertion(_)),
    }
}

/// RFC 8705 §2: whether the certificate is the client's, if it is one that must show its own.
fn certificate_fits(app: &App, client: &Client, shown: Option<&ClientCertificate>) -> Result<bool, Refusal> {
    match client.metadata.auth_method {
        AuthMethod::None | AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost | AuthMethod::PrivateKeyJwt => {
            Ok(true)
        }
        // RFC 8705 §2.1: one that the proxy has verified, with the registered name in it.
        AuthMethod::TlsClientAuth => {
            let name = client.metadata.proof.certificate.as_ref();
            Ok(shown.zip(name).is_some_and(|(shown, name)| shown.is_of(name)))
        }
        // RFC 8705 §2.2: the very one that it registered.
        AuthMethod::SelfSignedTlsClientAuth => {
            let Some(shown) = shown else { return Ok(false) };
            let set = app.client_keys.find_all(&app.fetcher, client, app.clock.monotonic()).map_err(keys_away)?;
            Ok(set.has_certificate(shown.der()))
        }
    }
}

/// RFC 7523 §3: signed by the client, for us, now, once.
fn redeem_assertion(app: &App, client: &Client, jws: &UnverifiedJws, context: &RequestContext) -> Result<(), Refusal> {
    let proof = &client.metadata.proof;
    let keys = keys_for(app, client, &jws.header)?;
    // RFC 8725 §3.11: said to be an assertion, or nothing; never another kind of JWT.
    let typed = matches!(jws.header.typ.as_deref(), None | Some("JWT" | "client-authentication+jwt"));
    let alg_fits = proof.assertion_alg.is_none_or(|only| only == jws.header.alg);
    if !typed || !alg_fits || !peer::is_signed_by_any(jws, &keys) {
        return Err(ClientRefusal::AssertionSignature.into());
    }
    let token_endpoint = format!("{}/token", app.issuer);
    let audience = Audience {
        issuer: &app.issuer,
        token_endpoint: proof.token_endpoint_audience.then_some(token_endpoint.as_str()),
    };
    let assertion = Assertion::parse(&jws.payload, &client.id, audience, app.clock.now())?;
    let name = Digest::sha256_of(&[b"client assertion", client.id.as_str().as_bytes(), assertion.jti.as_bytes()]);
    let refused_at = assertion.refused_at;
    // ASVS 2.4.1: each assertion that is used up is a row.
    if client.is_anybodys() {
        app.proofs.admit(&app.cache, context.network)?;
    }
    // RFC 7523 §3 no. 7: once, whichever instance it comes to.
    if app.db.write_before(&context.deadline, move |tx| one_time_values::claim(tx, &name, refused_at))? {
        Ok(())
    } else {
        Err(ClientRefusal::AssertionReplayed.into())
    }
}

/// The keys by which a client may have signed that.
///
/// # Errors
/// [`ClientRefusal::KeysAway`]; [`CapacityRefusal::Contended`] while they are being fetched.
pub(super) fn keys_for(app: &App, client: &Client, header: &JwsHeader) -> Result<JwkSet, Refusal> {
    app.client_keys.find(&app.fetcher, client, header, app.clock.monotonic()).map_err(keys_away)
}

fn keys_away(away: KeysAway) -> Refusal {
    match away {
        KeysAway::None => ClientRefusal::AssertionSignature.into(),
        KeysAway::BeingFetched => CapacityRefusal::Contended.into(),
        KeysAway::Unusable => ClientRefusal::KeysAway.into(),
    }
}

/// The keyed hash that is kept of a client's secret.
pub fn secret_digest(key: &PurposeKey, client_id: &ClientId, secret: &PlainSecret) -> Digest {
    key.mac(&[client_id.as_str().as_bytes(), secret.expose().as_bytes()])
}

/// A new secret for a client, and what is kept of it; `None` when there is no key to hash it with.
pub fn new_secret(app: &App, id: &ClientId) -> Option<(ClientSecret, PlainSecret)> {
    let plain = new_client_secret(&app.random);
    let master_key = app.secrets.load().master_key.clone();
    let version = master_key.version();
    let key = master_key.derive(version, Purpose::ClientSecretHash)?;
    let now = app.clock.now();
    let kept = ClientSecret {
        id: ClientSecretId::new(now, &app.random),
        digest: secret_digest(&key, id, &plain),
        key_version: version,
        created_at: now,
    };
    Some((kept, plain))
}

/// Compares with each of the client's secrets, without stopping at the first that fits.
pub(super) fn secret_fits(app: &App, client: Option<&Client>, id: &ClientId, secret: &PlainSecret) -> bool {
    let (mut fits, now) = (false, app.clock.now());
    for (version, key) in &app.secrets.load().client_secret_hash {
        let digest = secret_digest(key, id, secret);
        for known in client.into_iter().flat_map(|client| client.secrets_in_force(now)) {
            // ASVS 11.2.4: digests compare in constant time.
            fits |= known.key_version == *version && known.digest == digest;
        }
    }
    fits
}
