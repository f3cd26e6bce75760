//! `urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): a service that was called with somebody's access token gets one
//! for the next service. What comes of it stands where the grant of the first stands, and dies with it.

use countersign_verifier::Claims;
use serde_json::{Map, Value, json};

use super::ProvenClient;
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::GrantId;
use crate::keys::OwnClaims;
use crate::oauth::introspect::{is_for, is_honoured};
use crate::oauth::token::resources_of_client;
use crate::protocol::client_metadata::ExchangeMode;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::{GrantType, PresentedExchange, TokenRequest};
use crate::reason::{ClientRefusal, ExchangeRefusal, Reason, Refusal};
use crate::secret::PlainSecret;
use crate::store::grants;
use crate::token::issue::refuse_large_claims;
use crate::token::{Authorization, Person, refuse_dead};

/// How many have acted for a subject at most: more is a circle.
const MAX_ACTORS: usize = 4;

/// Authorizes a client to go on with what it was called with.
///
/// # Errors
/// An [`ExchangeRefusal`]; a scope or resource beyond what the client, or the token, has.
pub fn authorize(
    app: &App,
    asking: &ProvenClient,
    (request, presented): (&TokenRequest, &PresentedExchange),
) -> Result<Authorization, Refusal> {
    let client = &asking.client;
    // RFC 8693 §5: whoever may exchange tokens of others must be known for sure.
    if client.metadata.is_public() {
        return Err(ClientRefusal::GrantTypeNotAllowed.into());
    }
    let subject = verify(app, &presented.subject_token)?;
    // RFC 8693 §1.1: by a service that it was meant for, or by the client that has it anyway; by nobody who found it.
    if !is_for(client, &subject) {
        return Err(ExchangeRefusal::NotForClient.into());
    }
    // RFC 9449 §1, RFC 8705 §3: a client's own token that is bound to a key is not to be unbound; a service that was shown one
    // has seen the proof.
    let is_own = subject.client_id == client.id.as_str();
    if is_own && subject.other.cnf.is_some() && subject.other.cnf != asking.confirmation {
        return Err(ExchangeRefusal::SubjectToken.into());
    }
    let id: GrantId = subject.sid.as_deref().and_then(|sid| sid.parse().ok()).ok_or(ExchangeRefusal::NoPerson)?;
    let found = app.db.read(|tx| grants::find(tx, id))?.ok_or(ExchangeRefusal::SubjectToken)?;
    let refuse = |reason: ExchangeRefusal| Refusal::from(reason).of_grant(id);
    let parent = app.clients.find(&found.grant.client_id).ok_or_else(|| refuse(ExchangeRefusal::SubjectToken))?;
    refuse_dead(&parent, &found, app.clock.now()).map_err(|_| refuse(ExchangeRefusal::SubjectToken))?;
    let scope = narrow(&client.metadata.scope, &subject, request.scope.as_ref())?;
    let audiences = resources_of_client(client, &request.resources)?;
    refuse_large_claims(client, &found.roles)?;
    let act = act(app, asking, &subject, presented.actor_token.as_ref())?;
    Ok(Authorization {
        grant_type: GrantType::TokenExchange,
        client: client.clone(),
        scope,
        audiences,
        person: Some(Person::behind(&found.grant, found.roles)),
        nonce: None,
        id_claims: Map::new(),
        confirmation: asking.confirmation.clone(),
        act,
        // RFC 8693 §2.2.1: what is made of a token does not outlive it.
        not_after: Some(Timestamp::from_micros(subject.exp.saturating_mul(1_000_000))),
    })
}

fn verify(app: &App, token: &PlainSecret) -> Result<Claims<OwnClaims>, Refusal> {
    let verified = app.keyring.verify(token.expose(), &app.issuer, app.clock.now());
    let claims = verified.map_err(|_| ExchangeRefusal::SubjectToken)?;
    if is_honoured(app, &claims)? { Ok(claims) } else { Err(ExchangeRefusal::SubjectToken.into()) }
}

fn as_actor(refusal: Refusal) -> Refusal {
    let is_about_token = matches!(refusal.reason, Reason::Exchange(ExchangeRefusal::SubjectToken));
    if is_about_token { ExchangeRefusal::ActorToken.into() } else { refusal }
}

/// RFC 6749 §3.3: of what both the client and the token have, what is asked for, or all of it.
fn narrow(of_client: &Scope, subject: &Claims<OwnClaims>, asked: Option<&Scope>) -> Result<Scope, Refusal> {
    let of_token = Scope::from_stored(&subject.scope.to_string()).unwrap_or_default();
    let both = of_client.intersection(&of_token);
    match asked {
        None => Ok(both),
        Some(asked) if asked.is_within(&both) => Ok(asked.clone()),
        Some(_) => Err(ClientRefusal::ScopeNotAllowed.into()),
    }
}

/// RFC 8693 §4.1: who acts, and for whom that one acted before. None for a client that an operator lets pass for the person.
fn act(
    app: &App,
    asking: &ProvenClient,
    subject: &Claims<OwnClaims>,
    actor_token: Option<&PlainSecret>,
) -> Result<Option<Value>, Refusal> {
    if asking.client.metadata.exchange == ExchangeMode::Impersonation {
        // RFC 8693 §2.1: an actor token asks for delegation.
        return match actor_token {
            Some(_) => Err(ExchangeRefusal::ActorToken.into()),
            None => Ok(subject.other.act.clone()),
        };
    }
    let actor = match actor_token {
        None => asking.client.id.to_string(),
        Some(token) => {
            let claims = verify(app, token).map_err(as_actor)?;
            // RFC 8693 §2.1: the actor is the party that asks, or one that lets it.
            if !is_for(&asking.client, &claims) {
                return Err(ExchangeRefusal::ActorToken.into());
            }
            claims.sub
        }
    };
    let mut before = 0;
    let mut nested = subject.other.act.as_ref();
    while let Some(act) = nested {
        before += 1;
        nested = act.get("act");
    }
    if before >= MAX_ACTORS {
        return Err(ExchangeRefusal::TooManyActors.into());
    }
    let mut act = json!({ "sub": actor });
    if let (Some(earlier), Some(members)) = (&subject.other.act, act.as_object_mut()) {
        members.insert("act".to_owned(), earlier.clone());
    }
    Ok(Some(act))
}
