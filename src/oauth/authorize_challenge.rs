//! A code without a browser (draft-ietf-oauth-first-party-apps): an app of our own asks the person itself and sends here what it
//! was told. The code is redeemed at the token endpoint as any other. For first-party clients alone: whoever types a password
//! into a program trusts it with the account.

use std::sync::Arc;

use super::authorize::sources::{self, Source};
use super::authorize::{Asked, LogIn, MAX_WAITING_BYTES, new_code, read_request};
use super::possession::bind;
use super::{RequestContext, client_auth};
use crate::app::App;
use crate::identity::login::{self, ProvenPassword};
use crate::identity::place::Place;
use crate::identity::session::NewSession;
use crate::metrics::Endpoint;
use crate::password_hash::HashMemory;
use crate::protocol::authorize_request::{AuthorizeRequest, PARAMETERS, Prompt};
use crate::protocol::client_credentials::{ClientId, PresentedClient};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::params::Params;
use crate::protocol::token_request::{Credentials, GrantType};
use crate::reason::{AuthorizeRefusal, ChallengeRefusal, ClientRefusal, LoginRefusal, Refusal, RequestRefusal};
use crate::secret::{Digest, encode_base64url};
use crate::store::authorization_codes;
use crate::store::authorize_requests::{self, REQUEST_ID_BYTES, WaitingRequest, Waits};
use crate::store::clients::Client;
use crate::store::{self, Write};

/// Where the endpoint is, for proofs of possession.
const PATH: &str = Endpoint::AuthorizeChallenge.path();

/// What an app sends, before its client is believed.
pub struct ChallengeCall {
    presented: PresentedClient,
    params: Params,
    credentials: Option<Credentials>,
}

impl ChallengeCall {
    /// Reads header and form.
    ///
    /// # Errors
    /// Whatever is wrong with the request itself.
    pub fn parse(content_type: Option<&str>, authorization: Option<&[u8]>, body: &[u8]) -> Result<Self, Refusal> {
        let params = Params::parse(content_type, body)?;
        let presented = PresentedClient::parse(authorization, &params)?;
        let typed = params.find("username").is_some() && params.find("password").is_some();
        let credentials = typed.then(|| Credentials::parse(&params)).transpose()?;
        Ok(Self { presented, params, credentials })
    }

    /// Whether a password is to be looked at, as far as that can be told before the client is believed: whoever may not log in
    /// holds nobody up who does.
    pub fn wants_hash(&self, app: &App) -> bool {
        let client = app.clients.find(&self.presented.client_id);
        self.credentials.is_some() && client.is_some_and(|client| client.metadata.authorization_challenge)
    }
}

/// What an app is told.
pub enum Challenged {
    /// A code.
    Code(String),
    /// There is more to ask the person, or something is wrong.
    Refused {
        /// Why, for the log.
        refusal: Refusal,
        /// What the app is told of it.
        error: ErrorCode,
        /// What the next request goes on with.
        auth_session: Option<String>,
    },
}

/// Gives a code for what a person told an app.
///
/// # Errors
/// The client is not who it says or may not do this; what is wrong with the request.
pub fn challenge(
    app: &App,
    call: ChallengeCall,
    context: &RequestContext,
    memory: &mut HashMemory,
) -> Result<Challenged, Refusal> {
    let ChallengeCall { presented, params, credentials } = call;
    let client = client_auth::authenticate(app, &presented, context)?;
    let refuse = |refusal: Refusal| refusal.of_client(&client.id);
    if !client.metadata.grant_types.contains(&GrantType::AuthorizationCode) {
        return Err(refuse(ClientRefusal::GrantTypeNotAllowed.into()));
    }
    // draft-ietf-oauth-first-party-apps §5: of the first party, and only where an operator lets passwords be sent without a page.
    if !client.metadata.authorization_challenge {
        return Err(refuse(ClientRefusal::NotFirstParty.into()));
    }
    let named = params.find("auth_session").map(str::to_owned);
    let begun = named.as_ref().map(|name| find(app, &client, name)).transpose().map_err(refuse)?;
    // The request that began it counts; what later ones repeat of it does not.
    let (begun, mut params) = match begun {
        Some((id, parameters)) => (Some(id), Params::parse_query(parameters.as_bytes())?),
        None => (None, params),
    };
    bind(app, &client, &mut params, PATH, context).map_err(refuse)?;
    let asked = read(&client, &params).map_err(refuse)?;
    let proven = match &credentials {
        Some(credentials) => login::prove_password(app, memory, credentials, context.network),
        None => Err(ChallengeRefusal::CredentialsMissing.into()),
    };
    let concluded = proven.and_then(|proven| issue(app, &asked, begun, proven, context));
    let refusal = match concluded {
        Ok(code) => return Ok(Challenged::Code(code)),
        Err(refusal) => refuse(refusal),
    };
    let error = error_of(&refusal);
    let auth_session = match named {
        _ if error != ErrorCode::InsufficientAuthorization => None,
        Some(name) => Some(name),
        // An app that asks without end goes on without: it may send all of it each time.
        None => keep(app, &client.id, params.to_form(&PARAMETERS), context).ok(),
    };
    Ok(Challenged::Refused { refusal, error, auth_session })
}

/// draft-ietf-oauth-first-party-apps §5.2.2: a password that is wrong is authorization that does not suffice.
fn error_of(refusal: &Refusal) -> ErrorCode {
    let code = refusal.reason.row().code;
    if code == ErrorCode::InvalidGrant { ErrorCode::InsufficientAuthorization } else { code }
}

/// What is asked, as far as it can be asked here.
fn read(client: &Arc<Client>, params: &Params) -> Result<Asked, Refusal> {
    // The way that the client promised to ask in, and no other; objects and pushed requests are for browsers.
    sources::refuse_unpushed(client, &Source::Plain)?;
    sources::refuse_unsigned(client, &Source::Plain)?;
    for name in ["request", "request_uri"] {
        if params.find(name).is_some() {
            return Err(Refusal::from(RequestRefusal::MalformedParameter).about(name));
        }
    }
    let request = AuthorizeRequest::parse_challenge(params)?;
    // draft-ietf-oauth-first-party-apps §5.2.2.1: what needs a page is for a browser.
    let insists = request.insisted.sub.is_some() || !request.insisted.acr.is_empty() || request.id_token_hint.is_some();
    if insists || request.prompts.iter().any(|prompt| *prompt != Prompt::Login) {
        return Err(ChallengeRefusal::RedirectToWeb.into());
    }
    // RFC 7636: nothing else ties the code to the app that asked for it, whether that has a secret or not.
    if request.challenge.is_none() {
        return Err(AuthorizeRefusal::ChallengeMissing.into());
    }
    read_request(client, request)
}

/// What an app's further requests are bound to, in the place of a browser.
fn owner(client_id: &ClientId) -> Digest {
    Digest::sha256(format!("client {client_id}").as_bytes())
}

/// Keeps the request until the person has told the app more, under a name that only the app knows.
fn keep(app: &App, client_id: &ClientId, parameters: String, context: &RequestContext) -> Result<String, Refusal> {
    // ASVS 2.4.1: whoever asks without end fills nothing, from one network or from many.
    if parameters.len() > MAX_WAITING_BYTES {
        return Err(RequestRefusal::ParameterTooLarge.into());
    }
    app.challenges.admit(&app.cache, context.network)?;
    let name = encode_base64url(&app.random.bytes::<REQUEST_ID_BYTES>());
    let waiting = WaitingRequest::new(&name, owner(client_id), Waits::Client(parameters), app.clock.now());
    app.db.write_before(&context.deadline, move |tx| authorize_requests::insert(tx, &waiting))?;
    Ok(name)
}

/// The request that an app goes on with: its digest and its parameters.
fn find(app: &App, client: &Client, name: &str) -> Result<(Digest, String), Refusal> {
    let digest = Digest::sha256(name.as_bytes());
    let found = app.db.read(|tx| authorize_requests::find(tx, &digest))?;
    let mine = found.filter(|found| found.browser == owner(&client.id) && app.clock.now() < found.expires_at);
    match mine.map(|found| found.waits) {
        Some(Waits::Client(parameters)) => Ok((digest, parameters)),
        Some(Waits::Device(_) | Waits::Account) | None => Err(ChallengeRefusal::SessionUnknown.into()),
    }
}

/// Makes the code, of a log-in that no browser has a cookie of.
fn issue(
    app: &App,
    asked: &Asked,
    begun: Option<Digest>,
    proven: ProvenPassword,
    context: &RequestContext,
) -> Result<String, Refusal> {
    // What comes of it is a grant of a log-in, as at a browser, and ends with it; its cookie is nobody's.
    let place = Place::new(context.network, None);
    let session = NewSession::without_browser(app, &proven, &place, &context.deadline);
    let log_in = LogIn {
        session_id: session.id(),
        account_id: proven.account.id,
        credentials_version: proven.account.credentials_version,
        amr: proven.amr(),
        auth_time: proven.auth_time,
    };
    // draft-ietf-oauth-first-party-apps §6: there is no redirect URI, so a token request that names one is not about this code.
    let (code, sealed) = new_code(app, asked, String::new(), log_in)?;
    let not_after = proven.read_at.plus(context.deadline.remaining());
    let made = app.db.write_before(&context.deadline, move |tx: &mut Write<'_>| {
        // First, so that whoever comes second makes nothing at all.
        if let Some(id) = &begun
            && !authorize_requests::claim(tx, id)?
        {
            return Ok(Err(Refusal::from(ChallengeRefusal::SessionUnknown)));
        }
        if !session.insert(tx)? {
            return Ok(Err(LoginRefusal::AccountChanged.into()));
        }
        // Of a session of just now there is a code unless it is too late, and then there is neither.
        if authorization_codes::insert(tx, &code, not_after)? { Ok(Ok(())) } else { Err(store::Error::Expired) }
    })?;
    made?;
    tracing::info!(event = "logged_in", client_id = %asked.client.id, account_id = %proven.account.id);
    proven.remember(app);
    Ok(sealed)
}
