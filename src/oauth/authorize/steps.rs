//! What a person is asked on the way to a code: to log in, and to allow it. Each step belongs to a request that waits in the
//! database and to the browser that brought it (RFC 9700 §4.7); which step is due is worked out anew each time, so that
//! none can be left out or taken twice.

use std::sync::Arc;

use super::{Asked, Destination, Next, Outcome, Step, address, issue, next, read, refuse};
use crate::app::App;
use crate::id::SessionId;
use crate::identity::browser::Visitor;
use crate::identity::login;
use crate::identity::remembered::Memory;
use crate::identity::session::{self, Beginning};
use crate::oauth::{RequestContext, device};
use crate::password_hash::HashMemory;
use crate::protocol::authorize_request::{parse_ui_locales, with_account_selected};
use crate::protocol::client_credentials::ClientId;
use crate::protocol::params::Params;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::Credentials;
use crate::reason::{AuthorizeRefusal, CapacityRefusal, Refusal};
use crate::secret::{Digest, PlainSecret};
use crate::store::authorize_requests::Waits;
use crate::store::browser_sessions::SessionOfAccount;
use crate::store::clients::Client;
use crate::store::{authorize_requests, consents};

/// A request that waits for a person.
struct Waiting {
    id: Digest,
    parameters: String,
    logged_in: Option<SessionId>,
    asked: Asked,
    destination: Destination,
}

/// What waits for a person.
enum Found {
    /// A client's request, or a device of a client's.
    Client(Box<Waiting>),
    /// The account's own page, and the log-in that was made for it.
    Account(Digest, Option<SessionId>),
}

/// A client that asks.
pub struct Asker {
    /// The client.
    pub client: Arc<Client>,
    /// Where the answer goes.
    pub destination: Destination,
    /// What it wants.
    pub scope: Scope,
}

/// What a page needs to ask.
pub struct Question {
    /// What is asked.
    pub step: Step,
    /// Who asks; nobody when the account's own page waits.
    pub asker: Option<Asker>,
    /// What the form must send back so that it is known to be ours.
    pub form_token: String,
    /// The name that the log-in page begins with: what the client suggests, or whoever is logged in.
    pub login_hint: Option<String>,
    /// The e-mail address of whoever is logged in.
    pub logged_in: Option<String>,
    /// Languages that the client says the person reads.
    pub ui_locales: Vec<String>,
}

/// What to show.
pub enum Shown {
    /// A question.
    Question(Box<Question>),
    /// There is nothing left to ask.
    Done(Box<Outcome>),
}

/// Finds out what is due of a request that waits; with `anew`, whoever is logged in is asked to log in.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`] when there is no such request, or it is another browser's.
pub fn show(
    app: &App,
    (id, anew): (&str, bool),
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<Shown, Refusal> {
    let waiting = match load(app, id, visitor)? {
        Found::Client(waiting) => *waiting,
        Found::Account(digest, logged_in) => {
            return show_account(app, (id, digest), (logged_in, anew), visitor, context);
        }
    };
    let found = session::find_here(app, visitor, Some(&waiting.asked.client.id))?;
    if anew {
        let question = question(app, id, visitor, (Step::LogIn, Some(waiting), None))?;
        return Ok(Shown::Question(Box::new(question)));
    }
    let due = next(app, &waiting.asked, &waiting.destination, found.as_ref(), (waiting.logged_in, false));
    match due {
        Ok(Next::Ask(step)) => Ok(Shown::Question(Box::new(question(app, id, visitor, (step, Some(waiting), found))?))),
        Ok(Next::Issue(session)) => {
            conclude(app, waiting, session, false, context).map(|done| Shown::Done(Box::new(done)))
        }
        Err(refusal) => refuse(app, waiting.destination, refusal).map(|done| Shown::Done(Box::new(done))),
    }
}

/// The account's page is seen by whoever logged in for it, or just now.
fn show_account(
    app: &App,
    (id, digest): (&str, Digest),
    (logged_in, anew): (Option<SessionId>, bool),
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<Shown, Refusal> {
    let found = session::find_here(app, visitor, None)?;
    let done = |found: &SessionOfAccount| logged_in == Some(found.session.id) || session::is_fresh(app, found);
    if !anew && found.as_ref().is_some_and(done) {
        app.db.write_before(&context.deadline, move |tx| authorize_requests::claim(tx, &digest))?;
        return Ok(Shown::Done(Box::new(Outcome::Account)));
    }
    Ok(Shown::Question(Box::new(question(app, id, visitor, (Step::LogIn, None, found))?)))
}

/// A log-in form as it was sent.
pub struct LogInForm {
    /// The name of the waiting request.
    pub request: String,
    /// What the page put into it.
    pub form_token: String,
    /// What the person typed.
    pub credentials: Credentials,
    /// Whether the browser is to be remembered.
    pub remember: bool,
}

/// What a browser is known by after a log-in.
pub struct LoggedIn {
    /// The value of the session's cookie.
    pub session: PlainSecret,
    /// What becomes of what the browser remembers.
    pub memory: Memory,
}

/// Logs a person in, and says what comes next; the cookie that the browser is known by from now on goes with it.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`]; a [`crate::reason::LoginRefusal`], after which the same page asks again.
pub fn log_in(
    app: &App,
    memory: &mut HashMemory,
    form: &LogInForm,
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<(LoggedIn, Outcome), Refusal> {
    let waits = load(app, &form.request, visitor)?;
    let (request, client_id, ui_locales) = match &waits {
        Found::Client(waiting) => {
            (waiting.id, Some(waiting.asked.client.id.clone()), waiting.destination.ui_locales().to_vec())
        }
        Found::Account(digest, _) => (*digest, None, Vec::new()),
    };
    refuse_foreign_form(app, visitor, &subject(&form.request, Step::LogIn, None), &form.form_token)
        .map_err(|refusal| refusal.read_in(&ui_locales))?;
    let current = session::find_unended(app, visitor.session.as_ref())?;
    let proven =
        login::prove_password(app, memory, &form.credentials, context.network).map_err(|refusal| match &client_id {
            Some(client_id) => refusal.of_client(client_id),
            None => refusal,
        })?;
    let beginning = Beginning {
        current: current.as_ref(),
        remembered: visitor.remembered.as_ref(),
        request,
        place: &visitor.place,
        remember: form.remember,
    };
    let begun = session::begin(app, &proven, &beginning, &context.deadline)?;
    let named = client_id.as_ref().map(ClientId::as_str);
    tracing::info!(event = "logged_in", client_id = named, account_id = %proven.account.id);
    proven.remember(app);
    let cookies = LoggedIn { session: begun.cookie, memory: begun.memory };
    let (waiting, client_id) = match (waits, client_id) {
        (Found::Client(waiting), Some(client_id)) => (*waiting, client_id),
        (Found::Client(_) | Found::Account(..), _) => {
            app.db.write_before(&context.deadline, move |tx| authorize_requests::claim(tx, &request))?;
            return Ok((cookies, Outcome::Account));
        }
    };
    let found = session::find(app, Some(&begun.token), Some(&client_id))?;
    let outcome = match next(app, &waiting.asked, &waiting.destination, found.as_ref(), (Some(begun.id), false)) {
        Ok(Next::Issue(session)) => conclude(app, waiting, session, false, context)?,
        Ok(Next::Ask(step)) => Outcome::Ask(step, form.request.clone()),
        Err(refusal) => refuse(app, waiting.destination, refusal)?,
    };
    Ok((cookies, outcome))
}

/// The person goes on as whoever is logged in.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`]; [`AuthorizeRefusal::CrossSite`].
pub fn select_account(
    app: &App,
    (id, form_token): (&str, &str),
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let waiting = load_of_client(app, id, visitor)?;
    let found = session::find_here(app, visitor, Some(&waiting.asked.client.id))?;
    if let Some(session) = &found {
        // ASVS 3.5.1: what was shown to one person is not another's to go on with.
        refuse_foreign_form(app, visitor, &subject(id, Step::SelectAccount, Some(session)), form_token)?;
        let (request, seen) = (waiting.id, waiting.parameters);
        let selected = with_account_selected(&seen);
        app.db
            .write_before(&context.deadline, move |tx| authorize_requests::rewrite(tx, &request, (&seen, &selected)))?;
    }
    match show(app, (id, false), visitor, context)? {
        Shown::Question(question) => Ok(Outcome::Ask(question.step, id.to_owned())),
        Shown::Done(outcome) => Ok(*outcome),
    }
}

/// Takes the person's yes or no.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`]; [`AuthorizeRefusal::CrossSite`].
pub fn consent(
    app: &App,
    (id, form_token, allowed): (&str, &str, bool),
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let waiting = load_of_client(app, id, visitor)?;
    let found = session::find_here(app, visitor, Some(&waiting.asked.client.id))?;
    let due = next(app, &waiting.asked, &waiting.destination, found.as_ref(), (waiting.logged_in, true));
    let session = match due {
        Ok(Next::Issue(session)) => session,
        // Whoever was logged in is no more.
        Ok(Next::Ask(step)) => return Ok(Outcome::Ask(step, id.to_owned())),
        Err(refusal) => return refuse(app, waiting.destination, refusal),
    };
    // ASVS 3.5.1: what was shown to one person is not another's to allow.
    let mut shown = subject(id, Step::Consent, Some(session));
    shown.push(what_is_shown(&waiting.asked, &waiting.destination));
    refuse_foreign_form(app, visitor, &shown, form_token)
        .map_err(|refusal| refusal.read_in(waiting.destination.ui_locales()))?;
    let (account_id, client_id) = (session.session.account_id, waiting.asked.client.id.clone());
    tracing::info!(event = "consent", %account_id, %client_id, allowed);
    if allowed {
        return conclude(app, waiting, session, true, context);
    }
    let claimed = waiting.id;
    if let Destination::Device(waiting) = &waiting.destination {
        return device::deny(app, waiting, claimed, context);
    }
    let denied = app.db.write_before(&context.deadline, move |tx| {
        if !authorize_requests::claim(tx, &claimed)? {
            return Ok(false);
        }
        // What was allowed before is not any more.
        consents::remove(tx, (account_id, &client_id))?;
        Ok(true)
    })?;
    if !denied {
        return Err(AuthorizeRefusal::StepUnknown.into());
    }
    let refusal = Refusal::from(AuthorizeRefusal::AccessDenied).of_client(&waiting.asked.client.id);
    refuse(app, waiting.destination, refusal)
}

fn load(app: &App, id: &str, visitor: &Visitor) -> Result<Found, Refusal> {
    let digest = Digest::sha256(id.as_bytes());
    let found = app.db.read(|tx| authorize_requests::find(tx, &digest))?;
    // RFC 9700 §4.7, CVE-2022-39222: the step belongs to the browser that began it.
    let mine = found.filter(|found| found.browser == visitor.browser.digest() && app.clock.now() < found.expires_at);
    let found = mine.ok_or(AuthorizeRefusal::StepUnknown)?;
    let parameters = match found.waits {
        Waits::Client(parameters) => parameters,
        Waits::Account => return Ok(Found::Account(found.id, found.session_id)),
        Waits::Device(digest) => {
            let (asked, destination) = device::load(app, id, &digest)?;
            let (id, logged_in) = (found.id, found.session_id);
            let waiting = Waiting { id, parameters: String::new(), logged_in, asked, destination };
            return Ok(Found::Client(Box::new(waiting)));
        }
    };
    // The client may have been changed since.
    let params = Params::parse_query(parameters.as_bytes())?;
    let ui_locales = parse_ui_locales(&params);
    let (client, return_to) = address(app, &params).map_err(|refusal| refusal.read_in(&ui_locales))?;
    let asked =
        read(&client, &params).map_err(|refusal| refusal.of_client(&client.id).read_in(&return_to.ui_locales))?;
    let destination = Destination::Client(return_to);
    Ok(Found::Client(Box::new(Waiting { id: found.id, parameters, logged_in: found.session_id, asked, destination })))
}

/// The same of a client alone.
fn load_of_client(app: &App, id: &str, visitor: &Visitor) -> Result<Waiting, Refusal> {
    match load(app, id, visitor)? {
        Found::Client(waiting) => Ok(*waiting),
        Found::Account(..) => Err(AuthorizeRefusal::StepUnknown.into()),
    }
}

fn conclude(
    app: &App,
    waiting: Waiting,
    session: &SessionOfAccount,
    consented: bool,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let Waiting { id, asked, destination, .. } = waiting;
    let concluded = match &destination {
        Destination::Client(to) => issue(app, &asked, (to, session), Some((id, consented)), context),
        Destination::Device(device) => device::allow(app, device, session, id, context),
    };
    concluded.or_else(|refusal| refuse(app, destination, refusal.of_client(&asked.client.id)))
}

fn question(
    app: &App,
    id: &str,
    visitor: &Visitor,
    (step, waiting, found): (Step, Option<Waiting>, Option<SessionOfAccount>),
) -> Result<Question, Refusal> {
    let mut parts = subject(id, step, found.as_ref());
    if let Some(waiting) = waiting.as_ref().filter(|_| step == Step::Consent) {
        parts.push(what_is_shown(&waiting.asked, &waiting.destination));
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let form_token = visitor.browser.form_token(app, &parts).ok_or(CapacityRefusal::CannotSign)?;
    let logged_in = found.map(|found| found.email);
    let (mut login_hint, mut ui_locales) = (None, Vec::new());
    let asker = waiting.map(|Waiting { asked: Asked { client, request, wanted: scope, .. }, destination, .. }| {
        (login_hint, ui_locales) = (request.login_hint, request.ui_locales);
        Asker { client, destination, scope }
    });
    let login_hint = login_hint.or_else(|| logged_in.clone());
    Ok(Question { step, asker, form_token, login_hint, logged_in, ui_locales })
}

/// What a form is about: the request, the step, and who is logged in, unless it is to log in.
fn subject(id: &str, step: Step, found: Option<&SessionOfAccount>) -> Vec<Vec<u8>> {
    let who = found.filter(|_| step != Step::LogIn).map(|found| found.session.id.as_bytes().to_vec());
    let step: &[u8] = match step {
        Step::LogIn => b"log in",
        Step::SelectAccount => b"select account",
        Step::Consent => b"consent",
    };
    vec![id.as_bytes().to_vec(), step.to_vec(), who.unwrap_or_default()]
}

/// RFC 9700 §2.1, CVE-2026-7571: what the page says is what is allowed, whatever becomes of the client until the person answers.
fn what_is_shown(asked: &Asked, destination: &Destination) -> Vec<u8> {
    let to = match destination {
        Destination::Client(to) => to.redirect.as_str(),
        Destination::Device(_) => "",
    };
    let (wanted, resources) = (asked.wanted.to_string(), format!("{:?}", asked.audiences));
    let parts = [&asked.client.metadata.name, to, &wanted, &resources].map(str::as_bytes);
    Digest::sha256_of(&parts).as_bytes().to_vec()
}

/// ASVS 3.5.1: only a form that we showed in this browser does anything.
fn refuse_foreign_form(app: &App, visitor: &Visitor, subject: &[Vec<u8>], form_token: &str) -> Result<(), Refusal> {
    let parts: Vec<&[u8]> = subject.iter().map(Vec::as_slice).collect();
    if visitor.browser.showed(app, &parts, form_token) { Ok(()) } else { Err(AuthorizeRefusal::CrossSite.into()) }
}
