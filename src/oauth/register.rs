//! Clients that register themselves (RFC 7591, OpenID Connect Dynamic Client Registration 1.0) and look after their
//! registration (RFC 7592). What they may not have is said in `protocol/client_metadata/registrant.rs`.

pub mod replacement;

use self::replacement::Replacement;
use super::RequestContext;
use super::client_auth::{new_secret, secret_fits};
use crate::app::App;
use crate::clock::Timestamp;
use crate::fetch::Caller;
use crate::protocol::bearer::bearer;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::client_metadata::registrant::Registrant;
use crate::protocol::client_metadata::{ClientMetadata, MetadataError};
use crate::protocol::jose::OwnAlgorithm;
use crate::protocol::registration_response::RegistrationResponse;
use crate::protocol::token_request::GrantType;
use crate::reason::{BearerRefusal, CapacityRefusal, Refusal, RegistrationRefusal};
use crate::secret::{Digest, PlainSecret, encode_base64url, new_registration_token};
use crate::settings::RegistrationMode;
use crate::store::clients::{self, Client, Word, registrants};
use crate::store::{initial_access_tokens, status_positions};

/// Random bytes of a `client_id`: 128 bits, so that none is ever given twice.
const CLIENT_ID_BYTES: usize = 16;

/// A request about a registration, as it came.
pub struct RegistrationCall {
    /// The `Authorization` header.
    pub authorization: Option<Vec<u8>>,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What came of an attempt to make the row.
enum Made {
    Registered,
    TokenSpent,
    Full,
}

/// Registers a client (RFC 7591 §3.1). It is known to this instance when this returns, to the others within a second.
///
/// # Errors
/// A [`BearerRefusal`] without a good initial access token where one is wanted; a [`RegistrationRefusal`]; too many of them.
pub fn register(app: &App, call: &RegistrationCall, context: &RequestContext) -> Result<RegistrationResponse, Refusal> {
    let initial = match admit(app, call) {
        // RFC 7591 §5: the operator has said how many, and no stranger's attempts count against them.
        Ok(Some(initial)) => Some(initial),
        // ASVS 2.4.1, RFC 7591 §5: what stays is bounded by the minute and altogether; so are guesses at tokens.
        other => {
            app.registrations.admit(&app.cache, context.network)?;
            other?
        }
    };
    let metadata = read(app, call, context)?.metadata;
    let id = encode_base64url(&app.random.bytes::<CLIENT_ID_BYTES>());
    let id = ClientId::parse(&id).ok_or(CapacityRefusal::Defect)?;
    let secret =
        if metadata.has_secret() { Some(new_secret(app, &id).ok_or(CapacityRefusal::CannotSign)?) } else { None };
    let token = new_registration_token(&app.random);
    let (now, random) = (app.clock.now(), app.random);
    let client = Client {
        id,
        metadata,
        created_at: now,
        disabled_at: None,
        not_before: Timestamp::from_micros(0),
        status_position: 0,
        secrets: secret.iter().map(|(kept, _)| kept.clone()).collect(),
        registration: Some(Digest::sha256(token.expose().as_bytes())),
        unused_since: Some(now),
    };
    let (row, most) = (client.clone(), i64::from(app.settings.registration.max_clients));
    let made = app.db.write_before(&context.deadline, move |tx| {
        // RFC 7591 §5: so many as the token says, however many come with it at once.
        if let Some(initial) = &initial
            && !initial_access_tokens::claim(tx, initial, now)?
        {
            return Ok(Made::TokenSpent);
        }
        if registrants::count(tx)? >= most {
            return Ok(Made::Full);
        }
        let client = Client { status_position: status_positions::find_free(tx, random)?, ..row.clone() };
        clients::insert(tx, &client)?;
        client.secrets.iter().try_for_each(|secret| clients::insert_secret(tx, &client.id, secret))?;
        Ok(Made::Registered)
    })?;
    match made {
        Made::Registered => {}
        Made::TokenSpent => return Err(BearerRefusal::Invalid.into()),
        Made::Full => return Err(RegistrationRefusal::Full.into()),
    }
    app.clients.reload(&app.db)?;
    tracing::info!(event = "client_registered", client_id = %client.id);
    Ok(respond(app, &client, secret.as_ref().map(|(_, plain)| plain), &token))
}

/// Whoever may register clients: the digest of the initial access token, where one is wanted (RFC 7591 §3).
fn admit(app: &App, call: &RegistrationCall) -> Result<Option<Digest>, Refusal> {
    match app.settings.registration.mode {
        RegistrationMode::Open => Ok(None),
        RegistrationMode::Off => Err(BearerRefusal::Invalid.into()),
        RegistrationMode::Token => {
            let digest = Digest::sha256(presented(call)?.expose().as_bytes());
            let now = app.clock.now();
            let good = app.db.read(|tx| initial_access_tokens::is_good(tx, &digest, now))?;
            if good { Ok(Some(digest)) } else { Err(BearerRefusal::Invalid.into()) }
        }
    }
}

fn presented(call: &RegistrationCall) -> Result<PlainSecret, Refusal> {
    let header = call.authorization.as_deref().ok_or(RegistrationRefusal::TokenMissing)?;
    Ok(PlainSecret::new(bearer(header).ok_or(BearerRefusal::Invalid)?))
}

fn read(app: &App, call: &RegistrationCall, context: &RequestContext) -> Result<Registrant, Refusal> {
    let content_type = call.content_type.as_deref().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    // RFC 7591 §3.1: a form that another site's page sends cannot say so (WHATWG Fetch, CORS-safelisted types).
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(RegistrationRefusal::NotJson.into());
    }
    let registrant =
        Registrant::parse(&call.body, &app.settings.registration.allowed).map_err(|error| refusal(&error))?;
    registrant.metadata.subjects.refuse_other_algorithms(&app.keyring.algorithms()).map_err(|error| refusal(&error))?;
    refuse_other_sector(app, &registrant.metadata, context)?;
    Ok(registrant)
}

fn refusal(error: &MetadataError) -> Refusal {
    match error {
        MetadataError::Unreadable(_) => RegistrationRefusal::Unreadable.into(),
        // RFC 7591 §3.2.2: an error code of its own.
        MetadataError::Member { member: "redirect_uris", .. } => {
            Refusal::from(RegistrationRefusal::RedirectUri).about("redirect_uris")
        }
        MetadataError::Member { member, .. } => Refusal::from(RegistrationRefusal::Member).about(member),
        MetadataError::TooLarge => RegistrationRefusal::TooLarge.into(),
        MetadataError::NotForRegistrants { member } => {
            Refusal::from(RegistrationRefusal::NotForRegistrants).about(member)
        }
    }
}

/// OpenID Connect Registration §5: whoever wants the names that people have in a sector is listed there, by all of its
/// redirect URIs. Waits for the sector's server.
fn refuse_other_sector(app: &App, metadata: &ClientMetadata, context: &RequestContext) -> Result<(), Refusal> {
    let Some(uri) = &metadata.subjects.sector_identifier_uri else { return Ok(()) };
    // ASVS 2.4.1: there are few ways out for registrants, and whoever has a good initial access token is counted nowhere else.
    app.sector_lists.admit(&app.cache, context.network)?;
    let listed = app.fetcher.get(uri, Caller::Registrant).ok();
    let listed: Vec<String> = listed.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    if metadata.redirect_uris.iter().all(|own| listed.iter().any(|one| one == own.as_str())) {
        return Ok(());
    }
    Err(Refusal::from(RegistrationRefusal::Member).about("sector_identifier_uri"))
}

/// Says what a client is registered with (RFC 7592 §2.1).
///
/// # Errors
/// A [`BearerRefusal`] without the token of this very client.
pub fn show(app: &App, id: &str, call: &RegistrationCall) -> Result<RegistrationResponse, Refusal> {
    let (client, _, token) = own(app, id, call)?;
    Ok(respond(app, &client, None, &token))
}

/// Registers a client otherwise (RFC 7592 §2.2): with what the request says, and nothing of what it was.
///
/// # Errors
/// A [`BearerRefusal`] without the token of this very client; a [`RegistrationRefusal`].
pub fn replace(
    app: &App,
    id: &str,
    call: &RegistrationCall,
    context: &RequestContext,
) -> Result<RegistrationResponse, Refusal> {
    let (mut client, digest, token) = own(app, id, call)?;
    // ASVS 2.4.1: every instance takes all clients anew after a change.
    app.registration_changes.admit(&app.cache, context.network)?;
    let registrant = read(app, call, context)?;
    let other = |member| Err(Refusal::from(RegistrationRefusal::OtherClient).about(member).of_client(&client.id));
    // RFC 7592 §2.2: the client_id MUST be that of the client, and so must a secret.
    if registrant.client_id.as_deref() != Some(client.id.as_str()) {
        return other("client_id");
    }
    let fits = |secret: &PlainSecret| secret_fits(app, Some(&client), &client.id, secret);
    if registrant.client_secret.as_ref().is_some_and(|secret| !fits(secret)) {
        return other("client_secret");
    }
    client.metadata = registrant.metadata;
    let (replacement, secret) =
        Replacement::new(app, &client.id, client.metadata.clone()).ok_or(CapacityRefusal::CannotSign)?;
    let (id, word) = (client.id.clone(), Word::Own(digest));
    let replaced = app.db.write_before(&context.deadline, move |tx| replacement.carry_out(tx, &id, &word))?;
    let secret = secret.filter(|_| replaced.as_ref().is_some_and(|replaced| replaced.has_new_secret));
    if replaced.is_none() {
        return Err(BearerRefusal::Invalid.into());
    }
    app.clients.reload(&app.db)?;
    tracing::info!(event = "client_registered_otherwise", client_id = %client.id);
    Ok(respond(app, &client, secret.as_ref(), &token))
}

/// Ends a registration for good, and with it whatever the client was granted (RFC 7592 §2.3).
///
/// # Errors
/// A [`BearerRefusal`] without the token of this very client; too many of them.
pub fn remove(app: &App, id: &str, call: &RegistrationCall, context: &RequestContext) -> Result<(), Refusal> {
    let (client, digest, _) = own(app, id, call)?;
    // ASVS 2.4.1: every instance takes all clients anew, and looks for what this one was granted.
    app.registration_changes.admit(&app.cache, context.network)?;
    let (now, random, id) = (app.clock.now(), app.random, client.id.clone());
    let removed =
        app.db.write_before(&context.deadline, move |tx| registrants::deregister(tx, (&id, &digest), now, random))?;
    if !removed {
        return Err(BearerRefusal::Invalid.into());
    }
    app.clients.reload(&app.db)?;
    tracing::info!(event = "client_deregistered", client_id = %client.id);
    Ok(())
}

/// The client whose registration this is, and the token that proves it. RFC 7592 §2: 401 the same for a client that is not
/// here, is disabled, or is somebody else's.
fn own(app: &App, id: &str, call: &RegistrationCall) -> Result<(Client, Digest, PlainSecret), Refusal> {
    let token = presented(call)?;
    let digest = Digest::sha256(token.expose().as_bytes());
    let id = ClientId::parse(id).ok_or(BearerRefusal::Invalid)?;
    let found = app.db.read(|tx| clients::find(tx, &id))?;
    // ASVS 11.2.4: digests compare in constant time.
    let own = found.filter(|client| client.registration == Some(digest) && client.disabled_at.is_none());
    Ok((own.ok_or(BearerRefusal::Invalid)?, digest, token))
}

fn respond(app: &App, client: &Client, secret: Option<&PlainSecret>, token: &PlainSecret) -> RegistrationResponse {
    let mut metadata = client.metadata.to_json();
    // RFC 7591 §3.2.1: all that is registered, what follows from the rest included.
    if client.metadata.grant_types.contains(&GrantType::AuthorizationCode) {
        metadata.response_types = vec!["code".to_owned()];
        // OpenID Connect Registration §2: who is not told otherwise takes it that ID tokens are signed by RS256.
        let otherwise = app.keyring.algorithm().filter(|algorithm| *algorithm != OwnAlgorithm::Rs256);
        metadata.id_token_signed_response_alg = metadata.id_token_signed_response_alg.or(otherwise);
    }
    RegistrationResponse {
        client_id: client.id.to_string(),
        client_id_issued_at: client.created_at.unix_seconds(),
        client_secret: secret.map(|secret| secret.expose().to_owned()),
        client_secret_expires_at: secret.map(|_| 0),
        registration_client_uri: format!("{}/register/{}", app.issuer, client.id),
        registration_access_token: token.expose().to_owned(),
        metadata,
    }
}
