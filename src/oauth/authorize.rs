//! The authorization endpoint (RFC 6749 §3.1): from a request in somebody's browser to a code for a client, with a person
//! in between.
//!
//! | check | decided by | refused on |
//! |---|---|---|
//! | where it comes from | `sources` | a page |
//! | client | `address` | a page |
//! | redirect URI | `address` | a page |
//! | pushed, signed, as the client promised | `sources` | the redirect URI |
//! | grant type, response type and mode, state | `read` | the redirect URI |
//! | scope | `read` | the redirect URI |
//! | resources | `read` | the redirect URI |
//! | PKCE | `read` | the redirect URI |
//! | log-in, and how long ago | `next` | the redirect URI, with `prompt=none` |
//! | strength of the log-in | `next` | the redirect URI |
//! | `id_token_hint` | `next` | the redirect URI, with `prompt=none` or when somebody else has logged in |
//! | which account | `next` | never: `prompt` has either `none` or `select_account` |
//! | consent | `next` | the redirect URI, with `prompt=none` |
//! | code | `issue` | the redirect URI |
//!
//! Before a `ReturnTo` exists there is nothing but a page to show: no error leads to a URI that nobody registered.

pub mod sources;
pub mod steps;

use std::sync::Arc;
use std::time::Duration;

use self::sources::{Brought, Resolved, Source};
use self::steps::Shown;
use super::RequestContext;
use super::token::{resources_of_client, scope_of_client};
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::{AccountId, SessionId};
use crate::identity::browser::Visitor;
use crate::identity::session;
use crate::protocol::authorize_request::{
    AuthorizeRequest, PARAMETERS, Prompt, ResponseMode, parse_state, parse_ui_locales,
};
use crate::protocol::authorize_response::{AuthorizeResponse, ReturnTo};
use crate::protocol::client_credentials::ClientId;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::params::Params;
use crate::protocol::redirect_uri;
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::GrantType;
use crate::protocol::user_code::UserCode;
use crate::reason::{AuthorizeRefusal, CapacityRefusal, ClientRefusal, Refusal, RequestRefusal};
use crate::secret::{Digest, encode_base64url};
use crate::store::Write;
use crate::store::authorization_codes::{self, AuthorizationCode, CodeHandle};
use crate::store::authorize_requests::{self, REQUEST_ID_BYTES, WaitingRequest, Waits};
use crate::store::browser_sessions::{self, SessionOfAccount};
use crate::store::clients::{Client, registrants};
use crate::store::device_codes::DeviceHandle;
use crate::store::{consents, pushed_requests};
use crate::token::issue::ACR_ONE_FACTOR;
use crate::token::{authorization_code, pairwise};

/// RFC 6749 §4.1.2: a code is short-lived.
const CODE_TTL: Duration = Duration::from_mins(1);
/// The most bytes of a request that waits.
pub(super) const MAX_WAITING_BYTES: usize = 8 * 1024;

/// What comes of a request.
pub enum Outcome {
    /// A code, on its way to the client.
    Answer(AuthorizeResponse),
    /// An error, on its way to the client.
    Refuse(AuthorizeResponse, Refusal),
    /// A person is asked first, under the name of the waiting request.
    Ask(Step, String),
    /// No client waited for the person, but the account's own page.
    Account,
    /// The person has said yes or no to a device, which learns of it when it asks.
    Answered(Answered),
}

/// What a person has said to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Yes.
    Allowed,
    /// No.
    Denied,
}

/// Where an answer goes.
#[derive(Clone)]
pub enum Destination {
    /// To the client, by way of the browser.
    Client(ReturnTo),
    /// Nowhere from here: the device comes for it.
    Device(WaitingDevice),
}

impl Destination {
    /// Languages that the client says the person reads.
    fn ui_locales(&self) -> &[String] {
        match self {
            Self::Client(to) => &to.ui_locales,
            Self::Device(_) => &[],
        }
    }
}

/// A device that a person is asked about.
#[derive(Clone)]
pub struct WaitingDevice {
    /// What the device shows.
    pub user_code: UserCode,
    pub(super) handle: DeviceHandle,
}

/// What a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To log in.
    LogIn,
    /// To say which account: whoever is logged in, or another.
    SelectAccount,
    /// To allow it.
    Consent,
}

/// A request whose client, PKCE, scope and resources are in order.
pub(super) struct Asked {
    pub(super) client: Arc<Client>,
    pub(super) request: AuthorizeRequest,
    pub(super) scope: Scope,
    /// The scope, and what the claims by name come to: what the person is asked about.
    pub(super) wanted: Scope,
    pub(super) audiences: Resources,
}

/// What is to be done next about a request that is in order.
enum Next<'s> {
    /// There is nothing to ask whoever is logged in.
    Issue(&'s SessionOfAccount),
    /// A person is asked.
    Ask(Step),
}

/// Answers a request that just came.
///
/// # Errors
/// What only a page can say: the client or its redirect URI is not known, or nobody knows the client.
pub fn authorize(app: &App, params: Params, visitor: &Visitor, context: &RequestContext) -> Result<Outcome, Refusal> {
    let resolved = match sources::resolve(app, params)? {
        Brought::Request(resolved) => resolved,
        Brought::Spent(name) => return again(app, &name, visitor, context),
    };
    let params = &resolved.params;
    let ui_locales = parse_ui_locales(params);
    let (client, return_to) = address(app, params).map_err(|refusal| refusal.read_in(&ui_locales))?;
    let destination = Destination::Client(return_to.clone());
    let decided = sources::refuse_unpushed(&client, &resolved.source)
        .and_then(|()| sources::refuse_unsigned(&client, &resolved.source))
        .and_then(|()| read(&client, params));
    let decided = decided.and_then(|asked| {
        let found = session::find_here(app, visitor, Some(&client.id))?;
        match next(app, &asked, &destination, found.as_ref(), Progress::default())? {
            Next::Issue(session) => {
                use_up(app, &resolved.source, context)?;
                issue(app, &asked, (&return_to, session), None, context)
            }
            Next::Ask(step) => wait_for(app, to_keep(app, &resolved, &client), visitor, step, context),
        }
    });
    decided.or_else(|refusal| {
        let refusal = refusal.of_client(&client.id).read_in(&ui_locales);
        // RFC 9700 §4.11.2: nobody vouches for a client that registered itself, so that nobody is sent on to it by a mere link
        // to here: somebody has logged in first.
        if client.registration.is_some() && session::find_here(app, visitor, None)?.is_none() {
            return Err(refusal);
        }
        refuse(app, destination, refusal)
    })
}

/// What waits of a request that a browser brought.
fn to_keep(app: &App, resolved: &Resolved, client: &Client) -> ToKeep {
    let unused = client.unused_since.map(|_| client.id.clone());
    let waits = Waits::Client(resolved.params.to_form(&PARAMETERS));
    match &resolved.source {
        // A pushed request keeps its name, by which its browser finds it again.
        Source::Pushed(name) => ToKeep { name: name.clone(), waits, is_pushed: true, unused },
        Source::Plain | Source::Signed => {
            let name = encode_base64url(&app.random.bytes::<REQUEST_ID_BYTES>());
            ToKeep { name, waits, is_pushed: false, unused }
        }
    }
}

/// A pushed request that was brought before: the browser that brought it goes on where it was.
fn again(app: &App, name: &str, visitor: &Visitor, context: &RequestContext) -> Result<Outcome, Refusal> {
    match steps::show(app, name, visitor, context).map_err(|_| sources::spent())? {
        Shown::Question(question) => Ok(Outcome::Ask(question.step, name.to_owned())),
        Shown::Done(outcome) => Ok(*outcome),
    }
}

/// RFC 9126 §4: a pushed request is good once.
fn use_up(app: &App, source: &Source, context: &RequestContext) -> Result<(), Refusal> {
    let Source::Pushed(name) = source else { return Ok(()) };
    let digest = Digest::sha256(name.as_bytes());
    let mine = app.db.write_before(&context.deadline, move |tx| pushed_requests::claim(tx, &digest))?;
    if mine { Ok(()) } else { Err(sources::spent()) }
}

/// RFC 6749 §4.1.2.1: told to the client, whose URI it is; where there is none, to the person.
fn refuse(app: &App, destination: Destination, refusal: Refusal) -> Result<Outcome, Refusal> {
    match destination {
        Destination::Client(to) => Ok(Outcome::Refuse(AuthorizeResponse::error(to, &app.issuer, &refusal), refusal)),
        Destination::Device(_) => Err(refusal),
    }
}

/// Who asks, and where the answer goes. What is wrong with either is told to the person alone (RFC 6749 §4.1.2.1).
pub(super) fn address(app: &App, params: &Params) -> Result<(Arc<Client>, ReturnTo), Refusal> {
    // RFC 9700 §4.1: two of them could be read differently by whoever checks and whoever uses them.
    for name in ["client_id", "redirect_uri"] {
        if params.is_repeated(name) {
            return Err(Refusal::from(AuthorizeRefusal::Ambiguous).about(name));
        }
    }
    let client = ClientId::parse(params.require("client_id")?).and_then(|id| app.clients.find(&id));
    let client = client.filter(|client| client.disabled_at.is_none()).ok_or(AuthorizeRefusal::UnknownClient)?;
    // OpenID Connect Core §3.1.2.1: REQUIRED there, though OAuth 2.1 §2.3.2 lets a client leave out the only one.
    if params.find("scope").is_some_and(|scope| scope.split(' ').any(|token| token == "openid")) {
        params.require("redirect_uri")?;
    }
    let metadata = &client.metadata;
    let redirect =
        redirect_uri::validate(&metadata.redirect_uris, params.find("redirect_uri"), metadata.application_type)
            .ok_or_else(|| Refusal::from(AuthorizeRefusal::RedirectNotRegistered).of_client(&client.id))?;
    let mode = ResponseMode::parse(params).unwrap_or_default();
    let state = parse_state(params).unwrap_or_default();
    Ok((client, ReturnTo { redirect, mode, state, ui_locales: parse_ui_locales(params) }))
}

/// What is asked, as far as the client may ask it.
pub(super) fn read(client: &Arc<Client>, params: &Params) -> Result<Asked, Refusal> {
    // RFC 6749 §4.1.2.1: unauthorized_client.
    if !client.metadata.grant_types.contains(&GrantType::AuthorizationCode) {
        return Err(ClientRefusal::GrantTypeNotAllowed.into());
    }
    ResponseMode::parse(params)?;
    parse_state(params)?;
    let asked = read_request(client, AuthorizeRequest::parse(params)?)?;
    let Asked { request, scope, .. } = &asked;
    // RFC 9700 §2.1.1: every client uses PKCE; a confidential one may rely on the nonce of OpenID Connect, if an operator
    // says that it checks it.
    let by_nonce = client.metadata.pkce_optional && request.nonce.is_some() && scope.contains("openid");
    if request.challenge.is_none() && !by_nonce {
        return Err(AuthorizeRefusal::ChallengeMissing.into());
    }
    Ok(asked)
}

/// What a well-formed request asks, as far as the client may ask it.
pub(super) fn read_request(client: &Arc<Client>, mut request: AuthorizeRequest) -> Result<Asked, Refusal> {
    let scope = scope_of_client(client, request.scope.as_ref())?;
    let audiences = resources_of_client(client, &request.resources)?;
    // OpenID Connect Core §5.5: a claim by name is no way around what the client is registered for, nor around consent.
    let wanted = scope.union(&request.claims.keep_within(&client.metadata.scope));
    Ok(Asked { client: client.clone(), request, scope, wanted, audiences })
}

/// How far a person has come with a request that waits.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// The log-in that was made for it.
    logged_in: Option<SessionId>,
    /// Whether the person has just allowed it.
    consented: bool,
}

/// What is to be done, as things stand: `found` is who is logged in at the browser.
fn next<'s>(
    app: &App,
    asked: &Asked,
    destination: &Destination,
    found: Option<&'s SessionOfAccount>,
    Progress { logged_in, consented }: Progress,
) -> Result<Next<'s>, Refusal> {
    let silent = asked.request.prompts.contains(&Prompt::None);
    let Some(found) = found.filter(|found| is_fresh(asked, found, logged_in, app.clock.now())) else {
        // OpenID Connect Core §3.1.2.1: none MUST NOT show any page.
        return if silent { Err(AuthorizeRefusal::LoginRequired.into()) } else { Ok(Next::Ask(Step::LogIn)) };
    };
    // OpenID Connect Core §5.5.1.1: an acr that is essential and cannot be had is a failed log-in.
    let acr = &asked.request.insisted.acr;
    if !acr.is_empty() && !acr.iter().any(|wanted| wanted == ACR_ONE_FACTOR) {
        return Err(AuthorizeRefusal::StrengthUnmet.into());
    }
    // OpenID Connect Core §3.1.2.1: the one whom the client means, or nobody. A hint that no published key verifies, since it
    // is too old or not ours, may mean anybody: the person says who it is.
    let hint = asked.request.id_token_hint.as_ref();
    let meant = hint.map(|hint| app.keyring.verify_id_token(hint.expose(), &app.issuer).ok());
    let anew = logged_in == Some(found.session.id);
    let insisted = asked.request.insisted.sub.as_deref();
    let is_somebody_else = |sub: &str| -> Result<bool, Refusal> {
        let subject = pairwise::subject(app, &asked.client, found.session.account_id)?;
        Ok(sub != subject.unwrap_or_else(|| found.session.account_id.to_string()))
    };
    let refused = match &meant {
        None => false,
        Some(Some(meant)) => is_somebody_else(&meant.sub)?,
        Some(None) => !anew,
    };
    let refused = refused || insisted.map(is_somebody_else).transpose()?.unwrap_or(false);
    if refused {
        return if silent || anew { Err(AuthorizeRefusal::LoginRequired.into()) } else { Ok(Next::Ask(Step::LogIn)) };
    }
    // OpenID Connect Core §3.1.2.1: select_account. Whoever has just logged in has said which.
    if asked.request.prompts.contains(&Prompt::SelectAccount) && !anew {
        return Ok(Next::Ask(Step::SelectAccount));
    }
    if !consented && wants_consent(asked, destination, found) {
        return if silent { Err(AuthorizeRefusal::ConsentRequired.into()) } else { Ok(Next::Ask(Step::Consent)) };
    }
    Ok(Next::Issue(found))
}

/// OpenID Connect Core §3.1.2.1: whether the log-in is as recent as the request wants it. One that was made for it always is.
fn is_fresh(asked: &Asked, found: &SessionOfAccount, logged_in: Option<SessionId>, now: Timestamp) -> bool {
    if logged_in == Some(found.session.id) {
        return true;
    }
    // OpenID Connect Core §3.1.2.1: max_age=0 is prompt=login, whatever the clocks of two instances say.
    let anew = asked.request.prompts.contains(&Prompt::Login);
    let max_age = asked.request.max_age.or(asked.client.metadata.default_max_age);
    !anew && max_age != Some(Duration::ZERO) && max_age.is_none_or(|age| now <= found.session.auth_time.plus(age))
}

/// Whether the person must be asked before the client gets what it wants.
fn wants_consent(asked: &Asked, destination: &Destination, found: &SessionOfAccount) -> bool {
    // RFC 8628 §5.4: whoever began it may be far away, so the person compares the code each time.
    let Destination::Client(return_to) = destination else { return true };
    let metadata = &asked.client.metadata;
    // RFC 8252 §8.6, RFC 9700 §2.1: whoever answers there may be another program that only names itself so.
    let unsure = metadata.is_public() && return_to.redirect.may_be_taken();
    // RFC 9700 §4.11: what was allowed of an answer to one place holds for no other, if nobody vouches for their being one's.
    let one_place = asked.client.registration.is_none() || redirect_uri::are_of_one_origin(&metadata.redirect_uris);
    let covered = one_place && found.consented.as_ref().is_some_and(|consented| asked.wanted.is_within(consented));
    asked.request.prompts.contains(&Prompt::Consent) || unsure || !(metadata.first_party || covered)
}

/// What is to be kept for a person, under a name that nobody else knows.
pub(super) struct ToKeep {
    pub(super) name: String,
    pub(super) waits: Waits,
    /// Whether it is a pushed request, which is used up by it.
    pub(super) is_pushed: bool,
    /// Its client, if nobody has allowed that anything yet.
    pub(super) unused: Option<ClientId>,
}

/// Keeps it until the person has been asked.
pub(super) fn wait_for(
    app: &App,
    ToKeep { name, waits, is_pushed, unused }: ToKeep,
    visitor: &Visitor,
    step: Step,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    // ASVS 2.4.1: whoever asks without end fills nothing, from one network or from many.
    if matches!(&waits, Waits::Client(parameters) if parameters.len() > MAX_WAITING_BYTES) {
        return Err(RequestRefusal::ParameterTooLarge.into());
    }
    let rule = if matches!(&waits, Waits::Device(_)) { &app.device_steps } else { &app.authorize_requests };
    rule.admit(&app.cache, context.network)?;
    let now = app.clock.now();
    let waiting = WaitingRequest::new(&name, visitor.browser.digest(), waits, now);
    let kept = app.db.write_before(&context.deadline, move |tx| {
        // RFC 9126 §4: good once.
        if is_pushed && !pushed_requests::claim(tx, &waiting.id)? {
            return Ok(false);
        }
        if let Some(client_id) = &unused {
            registrants::postpone(tx, client_id, now)?;
        }
        authorize_requests::insert(tx, &waiting)?;
        Ok(true)
    })?;
    if kept { Ok(Outcome::Ask(step, name)) } else { Err(sources::spent()) }
}

/// A request that waited for a person, whom it asks no more.
struct Concluded {
    request: Digest,
    /// Whether the person has just allowed it.
    consented: bool,
}

/// Makes the code; what waited for it is over with that.
fn issue(
    app: &App,
    asked: &Asked,
    (return_to, found): (&ReturnTo, &SessionOfAccount),
    done: Option<Concluded>,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let now = app.clock.now();
    let log_in = LogIn {
        session_id: found.session.id,
        account_id: found.session.account_id,
        credentials_version: found.credentials_version,
        amr: found.session.amr.clone(),
        auth_time: found.session.auth_time,
    };
    let (code, sealed) = new_code(app, asked, return_to.redirect.as_str().to_owned(), log_in)?;
    let not_after = found.read_at.plus(context.deadline.remaining());
    app.codes.admit(&app.cache, found.session.id)?;
    let touches = session::wants_touch(app, &found.session);
    let made = if done.is_none() && !touches {
        app.db.write_one(&context.deadline, move |tx| authorization_codes::insert(tx, &code, not_after))?
    } else {
        // What was allowed before stays allowed.
        let allowed =
            found.consented.as_ref().map_or_else(|| asked.wanted.clone(), |before| before.union(&asked.wanted));
        app.db.write_before(&context.deadline, move |tx: &mut Write<'_>| {
            // Nothing is written for a log-in that is over; a code that nobody is told of buys nothing.
            if !authorization_codes::insert(tx, &code, not_after)? {
                return Ok(false);
            }
            if let Some(done) = &done {
                if !authorize_requests::claim(tx, &done.request)? {
                    return Ok(false);
                }
                if done.consented {
                    consents::put(tx, (code.account_id, &code.client_id), &allowed, now)?;
                    registrants::keep(tx, &code.client_id)?;
                }
            }
            if touches {
                browser_sessions::touch(tx, code.session_id, now)?;
            }
            Ok(true)
        })?
    };
    if !made {
        let late = context.deadline.has_passed();
        return Err(if late {
            CapacityRefusal::DeadlinePassed.into()
        } else {
            Refusal::from(AuthorizeRefusal::SessionChanged)
        });
    }
    Ok(Outcome::Answer(AuthorizeResponse::code(return_to.clone(), &app.issuer, sealed)))
}

/// The log-in that a code comes from.
pub(super) struct LogIn {
    pub(super) session_id: SessionId,
    pub(super) account_id: AccountId,
    pub(super) credentials_version: i64,
    pub(super) amr: Vec<String>,
    pub(super) auth_time: Timestamp,
}

/// A code for what was asked, and how it is handed out.
pub(super) fn new_code(
    app: &App,
    asked: &Asked,
    redirect_uri: String,
    log_in: LogIn,
) -> Result<(AuthorizationCode, String), Refusal> {
    let now = app.clock.now();
    let code = AuthorizationCode {
        handle: CodeHandle(app.random.bytes()),
        session_id: log_in.session_id,
        account_id: log_in.account_id,
        credentials_version: log_in.credentials_version,
        client_id: asked.client.id.clone(),
        redirect_uri,
        challenge: asked.request.challenge,
        nonce: asked.request.nonce.clone(),
        scope: asked.scope.clone(),
        audiences: asked.audiences.clone(),
        amr: log_in.amr,
        auth_time: log_in.auth_time,
        created_at: now,
        expires_at: now.plus(CODE_TTL),
        failures: 0,
        grant_id: None,
        // RFC 9449 §10: bound to the key that the request named, or was proven with.
        confirmation: asked.request.dpop_jkt.clone().map(Confirmation::Jkt),
        claims: asked.request.claims.clone(),
    };
    let sealed = authorization_code::seal(code.handle, &app.secrets.load().authorization_code_mac);
    Ok((code, sealed.ok_or(CapacityRefusal::CannotSign)?))
}
