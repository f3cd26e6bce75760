//! Minting access tokens (RFC 9068).

use std::time::Duration;

use countersign_verifier::status_list;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Authorization, Person, id_token};
use crate::app::App;
use crate::keys::{KeysError, TokenType};
use crate::protocol::client_metadata::MAX_EXTRA_CLAIMS_BYTES;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::resource::{Resource, Resources};
use crate::protocol::token_request::{ACCESS_TOKEN_TYPE, GrantType};
use crate::protocol::token_response::TokenResponse;
use crate::reason::{CapacityRefusal, ClientRefusal, Refusal};
use crate::secret::encode_base64url;
use crate::store::clients::Client;

/// Random bits of a `jti`: 128.
pub(super) const JTI_BYTES: usize = 16;
/// The assurance of one factor (NIST SP 800-63-4 AAL1).
pub const ACR_ONE_FACTOR: &str = "aal1";

#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: Vec<&'a str>,
    client_id: &'a str,
    exp: i64,
    iat: i64,
    jti: String,
    scope: String,
    status: StatusClaim,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Value>,
    #[serde(flatten)]
    person: Option<PersonClaims<'a>>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

/// draft-ietf-oauth-status-list §6.2.
#[derive(Serialize)]
struct StatusClaim {
    status_list: StatusListReference,
}

#[derive(Serialize)]
struct StatusListReference {
    idx: u32,
    uri: String,
}

#[derive(Serialize)]
struct PersonClaims<'a> {
    sid: String,
    auth_time: i64,
    acr: &'a str,
    amr: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
}

/// The answer to a token request: a fresh access token and, if there is one, the refresh token beside it.
///
/// # Errors
/// [`ClientRefusal::ClaimsTooLarge`]; [`CapacityRefusal::CannotSign`]; [`CapacityRefusal::KeysUnconfirmed`].
pub fn mint(app: &App, authorization: &Authorization, refresh_token: Option<String>) -> Result<TokenResponse, Refusal> {
    let roles = authorization.person.as_ref().map_or(&[][..], |person| &person.roles);
    refuse_large_claims(&authorization.client, roles)?;
    let now = app.clock.now();
    let client = &authorization.client;
    let wanted = now.plus(access_ttl(app, client));
    // RFC 9700 §2.2.1: an access token does not outlive the grant it came from.
    let expires_at = authorization.person.as_ref().map_or(wanted, |person| wanted.min(person.grant_expires_at));
    let expires_at = authorization.not_after.map_or(expires_at, |latest| expires_at.min(latest));
    let subject = authorization.person.as_ref().map(|person| person.subject.as_str());
    let claims = AccessClaims {
        iss: &app.issuer,
        // RFC 9068 §2.2: without a resource owner, sub identifies the client.
        sub: subject.unwrap_or(client.id.as_str()),
        aud: audience(app, &authorization.audiences),
        client_id: client.id.as_str(),
        exp: expires_at.unix_seconds(),
        iat: now.unix_seconds(),
        jti: encode_base64url(&app.random.bytes::<JTI_BYTES>()),
        scope: authorization.scope.to_string(),
        status: status(app, authorization)?,
        cnf: authorization.confirmation.as_ref(),
        act: authorization.act.as_ref(),
        person: authorization.person.as_ref().map(person_claims),
        extra: &client.metadata.extra_claims,
    };
    let life = expires_at.since(now);
    let access_token = sign(app, TokenType::AccessToken, &claims, life).map_err(|error| cannot_sign(&error))?;
    let exchanged = authorization.grant_type == GrantType::TokenExchange;
    let id_token = id_token::issue(app, authorization, &access_token).map_err(|error| cannot_sign(&error))?;
    app.metrics.record_access_token(authorization.grant_type);
    Ok(TokenResponse {
        access_token,
        token_type: Confirmation::token_type(authorization.confirmation.as_ref()),
        expires_in: u64::try_from(expires_at.unix_seconds() - now.unix_seconds()).unwrap_or(0),
        refresh_token,
        id_token,
        scope: claims.scope,
        issued_token_type: exchanged.then_some(ACCESS_TOKEN_TYPE),
    })
}

/// One place for all tokens of a grant, and one for all that a client gets for itself: what ends them sets one bit.
fn status(app: &App, authorization: &Authorization) -> Result<StatusClaim, Refusal> {
    let of_client = authorization.client.status_position;
    let position = authorization.person.as_ref().map_or(of_client, |person| person.status_position);
    let place = app.status.place(&app.db, position)?;
    let uri = status_list::uri(&app.issuer, u64::from(place.list));
    Ok(StatusClaim { status_list: StatusListReference { idx: place.idx, uri } })
}

/// Signs with the key of the moment, whose row knows first how long the token lives.
///
/// # Errors
/// [`KeysError`].
pub(super) fn sign(
    app: &App,
    token_type: TokenType,
    claims: &impl Serialize,
    life: Duration,
) -> Result<String, KeysError> {
    let try_once = || {
        if !app.keyring.knows_life(life) {
            app.keyring.note_life(&app.db, life)?;
        }
        app.keyring.sign(token_type, claims, life, app.clock.monotonic())
    };
    match try_once() {
        // Another instance has just let another key sign.
        Err(KeysError::Replaced { kid }) => {
            app.keyring.reload_unless_replaced(&app.db, &app.secrets.load().master_key, &kid)?;
            try_once()
        }
        outcome => outcome,
    }
}

/// OpenID Connect Core §5.3.2: the answer of the userinfo endpoint as a JWT, for the client alone.
///
/// # Errors
/// [`CapacityRefusal::CannotSign`]; [`CapacityRefusal::KeysUnconfirmed`].
pub fn sign_userinfo(app: &App, client: &Client, mut claims: Map<String, Value>) -> Result<String, Refusal> {
    claims.insert("iss".to_owned(), app.issuer.clone().into());
    claims.insert("aud".to_owned(), client.id.as_str().into());
    sign(app, TokenType::UserInfo, &claims, access_ttl(app, client)).map_err(|error| cannot_sign(&error))
}

fn cannot_sign(error: &KeysError) -> Refusal {
    if matches!(error, KeysError::Unconfirmed) {
        return CapacityRefusal::KeysUnconfirmed.into();
    }
    tracing::error!(%error, "signing failed");
    CapacityRefusal::CannotSign.into()
}

/// How long an access token for this client lives, unless its grant ends before.
pub fn access_ttl(app: &App, client: &Client) -> Duration {
    client.metadata.access_ttl.unwrap_or(app.settings.tokens.access_ttl)
}

/// RFC 9068 §3: the resources asked for or, when a client has none, the issuer itself. Never empty.
pub fn audience<'a>(app: &'a App, resources: &'a Resources) -> Vec<&'a str> {
    if resources.is_empty() {
        return vec![&app.issuer];
    }
    resources.iter().map(Resource::as_str).collect()
}

fn person_claims(person: &Person) -> PersonClaims<'_> {
    PersonClaims {
        sid: person.grant_id.to_string(),
        auth_time: person.auth_time.unix_seconds(),
        acr: ACR_ONE_FACTOR,
        amr: &person.amr,
        roles: &person.roles,
    }
}

/// Claims of an account and a client together are refused above their bound, never cut. Grants that write ask before
/// they do, so that a refusal uses nothing up.
///
/// # Errors
/// [`ClientRefusal::ClaimsTooLarge`].
pub fn refuse_large_claims(client: &Client, roles: &[String]) -> Result<(), Refusal> {
    let extra = &client.metadata.extra_claims;
    if extra.is_empty() && roles.is_empty() {
        return Ok(());
    }
    let bytes = |value: serde_json::Result<String>| value.map_or(usize::MAX, |text| text.len());
    let total = bytes(serde_json::to_string(extra)).saturating_add(bytes(serde_json::to_string(roles)));
    if total > MAX_EXTRA_CLAIMS_BYTES {
        return Err(Refusal::from(ClientRefusal::ClaimsTooLarge).of_client(&client.id));
    }
    Ok(())
}
