//! Where the parameters of an authorization request come from: the request itself, what the client pushed before (RFC 9126), or
//! an object that it signed (RFC 9101). Nothing is ever fetched.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::clock::Timestamp;
use crate::keys::peer;
use crate::oauth::client_auth::keys_for;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::jose::UnverifiedJws;
use crate::protocol::params::Params;
use crate::reason::{AuthorizeRefusal, ClientRefusal, Reason, Refusal, RequestRefusal};
use crate::secret::Digest;
use crate::store::clients::Client;
use crate::store::pushed_requests;

/// What the name of a pushed request begins with (RFC 9126 §2.2).
pub const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";
/// How long a request object may be good for, of a client that promised to sign each request.
const MAX_LIFE: std::time::Duration = std::time::Duration::from_hours(1);
/// How far clocks may be apart.
const LEEWAY: std::time::Duration = std::time::Duration::from_secs(30);

/// Where parameters came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The request itself.
    Plain,
    /// An object that the client signed.
    Signed,
    /// What the client pushed, and had judged, under this name.
    Pushed(String),
}

/// The parameters that count.
pub struct Resolved {
    /// They.
    pub params: Params,
    /// Where they came from.
    pub source: Source,
}

/// What a browser brings.
pub enum Brought {
    /// A request.
    Request(Resolved),
    /// The name of a pushed one that is used up, or that nobody knows.
    Spent(String),
}

/// The parameters of a request that a browser brings.
///
/// # Errors
/// What only a page can say: who is to be told is among the parameters that cannot be had.
pub fn resolve(app: &App, params: Params) -> Result<Brought, Refusal> {
    for name in ["request", "request_uri"] {
        if params.is_repeated(name) {
            return Err(Refusal::from(AuthorizeRefusal::Ambiguous).about(name));
        }
    }
    let Some(request_uri) = params.find("request_uri") else {
        return Ok(Brought::Request(resolve_object(app, params)?));
    };
    // RFC 9101 §5: not both.
    if params.find("request").is_some() {
        return Err(Refusal::from(AuthorizeRefusal::Ambiguous).about("request_uri"));
    }
    // CVE-2020-10770, ASVS 10.4.13: only what was pushed here; no other URI is looked at, let alone fetched.
    let name = request_uri.strip_prefix(PREFIX).ok_or(AuthorizeRefusal::RequestUriUnknown)?.to_owned();
    let client = client_of(app, &params)?;
    let digest = Digest::sha256(name.as_bytes());
    let Some(found) = app.db.read(|tx| pushed_requests::find(tx, &digest))? else { return Ok(Brought::Spent(name)) };
    // RFC 9126 §4: of the client that pushed it, and not for long.
    if found.client_id != client.id || app.clock.now() >= found.expires_at {
        return Err(Refusal::from(AuthorizeRefusal::RequestUriUnknown).of_client(&client.id));
    }
    let params = Params::parse_query(found.parameters.as_bytes())?;
    Ok(Brought::Request(Resolved { params, source: Source::Pushed(name) }))
}

/// The parameters of a request that may be signed.
///
/// # Errors
/// [`AuthorizeRefusal::RequestObject`].
pub fn resolve_object(app: &App, params: Params) -> Result<Resolved, Refusal> {
    let Some(text) = params.find("request") else {
        return Ok(Resolved { params, source: Source::Plain });
    };
    let client = client_of(app, &params)?;
    let opened = open(app, &client, text).map_err(|refusal| refusal.of_client(&client.id))?;
    Ok(Resolved { params: opened, source: Source::Signed })
}

fn client_of(app: &App, params: &Params) -> Result<std::sync::Arc<Client>, Refusal> {
    if params.is_repeated("client_id") {
        return Err(Refusal::from(AuthorizeRefusal::Ambiguous).about("client_id"));
    }
    let client = ClientId::parse(params.require("client_id")?).and_then(|id| app.clients.find(&id));
    let client = client.filter(|client| client.disabled_at.is_none());
    Ok(client.ok_or(AuthorizeRefusal::UnknownClient)?)
}

#[derive(Deserialize)]
struct ObjectClaims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Value,
    client_id: Option<String>,
    exp: Option<i64>,
    nbf: Option<i64>,
}

/// RFC 9101 §6: what a request object says, if the client signed it for us and now.
fn open(app: &App, client: &Client, text: &str) -> Result<Params, Refusal> {
    let bad = || Refusal::from(AuthorizeRefusal::RequestObject);
    let jws = UnverifiedJws::parse(text).ok_or_else(bad)?;
    // RFC 9101 §10.8: said to be what it is, or nothing; never another kind of JWT.
    if !matches!(jws.header.typ.as_deref(), None | Some("JWT" | "oauth-authz-req+jwt")) {
        return Err(bad());
    }
    let keys = keys_for(app, client, &jws.header).map_err(|refusal| {
        let has_none = matches!(refusal.reason, Reason::Client(ClientRefusal::AssertionSignature));
        if has_none { bad() } else { refusal }
    })?;
    let alg_fits = client.metadata.requests.alg.is_none_or(|only| only == jws.header.alg);
    // RFC 9101 §6.2: signed by the client.
    if !alg_fits || !peer::is_signed_by_any(&jws, &keys) {
        return Err(bad());
    }
    let claims: ObjectClaims = serde_json::from_slice(&jws.payload).map_err(|_| bad())?;
    let id = client.id.as_str();
    // RFC 9101 §5: the same client inside. §10.8: an assertion of the client (sub) is no request of its.
    let same = claims.iss.as_deref() == Some(id) && claims.client_id.as_deref().is_none_or(|named| named == id);
    let is_ours = |aud: &Value| aud.as_str() == Some(&app.issuer);
    let addressed = is_ours(&claims.aud) || claims.aud.as_array().is_some_and(|list| list.iter().any(is_ours));
    let in_time = is_in_time(&claims, app.clock.now(), client.metadata.requests.signed);
    if !same || claims.sub.as_deref() == Some(id) || !addressed || !in_time {
        return Err(bad());
    }
    let members: Map<String, Value> = serde_json::from_slice(&jws.payload).map_err(|_| bad())?;
    // RFC 9101 §4: request and request_uri MUST NOT be in it. §6.3: only what is in it counts.
    if members.contains_key("request") || members.contains_key("request_uri") {
        return Err(bad());
    }
    let mut params = Params::from_members(&members).map_err(|_| bad())?;
    params.set("client_id", id);
    Ok(params)
}

/// RFC 7519 §4.1.4, §4.1.5: not over and not too early. FAPI 2.0 Message Signing §5.3.1: whoever promised to sign each request
/// says from when and until when, an hour at most, so that nobody brings an old one again.
fn is_in_time(claims: &ObjectClaims, now: Timestamp, promised: bool) -> bool {
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let begun = |nbf: i64| at(nbf) <= now.plus(LEEWAY);
    let lasts = |exp: i64| now < at(exp).plus(LEEWAY);
    match (claims.nbf, claims.exp) {
        (Some(nbf), Some(exp)) => begun(nbf) && lasts(exp) && !(promised && at(exp) > at(nbf).plus(MAX_LIFE)),
        (nbf, exp) => !promised && nbf.is_none_or(begun) && exp.is_none_or(lasts),
    }
}

/// RFC 9126 §6: a client that promised to push its requests does nothing else.
///
/// # Errors
/// [`AuthorizeRefusal::PushRequired`].
pub fn refuse_unpushed(client: &Client, source: &Source) -> Result<(), Refusal> {
    let is_pushed = matches!(source, Source::Pushed(_));
    if client.metadata.requests.pushed && !is_pushed { Err(AuthorizeRefusal::PushRequired.into()) } else { Ok(()) }
}

/// RFC 9101 §10.5: a client that promised to sign its requests does nothing else.
///
/// # Errors
/// [`AuthorizeRefusal::SignatureRequired`].
pub fn refuse_unsigned(client: &Client, source: &Source) -> Result<(), Refusal> {
    let is_plain = *source == Source::Plain;
    if client.metadata.requests.signed && is_plain { Err(AuthorizeRefusal::SignatureRequired.into()) } else { Ok(()) }
}

/// A request of which nobody can be told but by a page.
pub fn spent() -> Refusal {
    Refusal::from(AuthorizeRefusal::RequestUriUnknown).about("request_uri")
}

/// RFC 9126 §2.1 no. 2: `request_uri` MUST NOT be pushed.
///
/// # Errors
/// [`RequestRefusal::MalformedParameter`].
pub fn refuse_nested(params: &Params) -> Result<(), Refusal> {
    match params.find("request_uri") {
        Some(_) => Err(Refusal::from(RequestRefusal::MalformedParameter).about("request_uri")),
        None => Ok(()),
    }
}
