//! What a person is asked on the way to a code: to log in, and to allow it. Each step belongs to a request that waits in the
//! database and to the browser that brought it (RFC 9700 §4.7); which step is due is worked out anew each time, so that
//! none can be left out or taken twice.

use std::sync::Arc;

use super::{Asked, Concluded, Destination, Next, Outcome, Progress, Step, address, issue, next, read, refuse};
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
    progress: Progress,
    asked: Asked,
    destination: Destination,
}

/// What waits for a person.
enum Found {
    /// A client's request, or a device of a client's.
    Client(Box<Waiting>),
    /// The account's own page.
    Account {
        /// The name's digest.
        id: Digest,
        /// The log-in that was made for it.
        logged_in: Option<SessionId>,
    },
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

/// Finds out what is due of a request that waits.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`] when there is no such request, or it is another browser's.
pub fn show(app: &App, id: &str, visitor: &Visitor, context: &RequestContext) -> Result<Shown, Refusal> {
    let waiting = match load(app, id, visitor)? {
        Found::Client(waiting) => *waiting,
        Found::Account { id: digest, logged_in } => {
            let found = session::find_here(app, visitor, None)?;
            // The account's page is seen by whoever logged in for it, or just now.
            let may = |found: &SessionOfAccount| logged_in == Some(found.session.id) || session::is_fresh(app, found);
            if found.as_ref().is_some_and(may) {
                app.db.write_before(&context.deadline, move |tx| authorize_requests::claim(tx, &digest))?;
                return Ok(Shown::Done(Box::new(Outcome::Account)));
            }
            let due = Due { step: Step::LogIn, waiting: None, found };
            return question(app, id, visitor, due).map(Shown::Question);
        }
    };
    let found = session::find_here(app, visitor, Some(&waiting.asked.client.id))?;
    let done = match next(app, &waiting.asked, &waiting.destination, found.as_ref(), waiting.progress) {
        Ok(Next::Ask(step)) => {
            let due = Due { step, waiting: Some(waiting), found };
            return question(app, id, visitor, due).map(Shown::Question);
        }
        Ok(Next::Issue(session)) => conclude(app, waiting, session, context),
        Err(refusal) => refuse(app, waiting.destination, refusal),
    };
    done.map(|done| Shown::Done(Box::new(done)))
}

/// Asks to log in, whoever is logged in.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`] when there is no such request, or it is another browser's.
pub fn show_log_in(app: &App, id: &str, visitor: &Visitor) -> Result<Box<Question>, Refusal> {
    let (waiting, found) = match load(app, id, visitor)? {
        Found::Client(waiting) => (Some(*waiting), None),
        Found::Account { .. } => (None, session::find_here(app, visitor, None)?),
    };
    question(app, id, visitor, Due { step: Step::LogIn, waiting, found })
}

/// What each form of a step sends.
pub struct StepForm {
    /// The name of the waiting request.
    pub request: String,
    /// What the page put into it.
    pub form_token: String,
}

/// A log-in form as it was sent.
pub struct LogInForm {
    /// What it is about.
    pub step: StepForm,
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
    hash_memory: &mut HashMemory,
    form: &LogInForm,
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<(LoggedIn, Outcome), Refusal> {
    let StepForm { request: name, form_token } = &form.step;
    let waits = load(app, name, visitor)?;
    let (request, client_id, ui_locales) = match &waits {
        Found::Client(waiting) => {
            (waiting.id, Some(waiting.asked.client.id.clone()), waiting.destination.ui_locales().to_vec())
        }
        Found::Account { id, .. } => (*id, None, Vec::new()),
    };
    refuse_foreign_form(app, visitor, &subject(name, Step::LogIn, None), form_token)
        .map_err(|refusal| refusal.read_in(&ui_locales))?;
    let current = session::find_unended(app, visitor.session.as_ref())?;
    let proven =
        login::prove_password(app, hash_memory, &form.credentials, context.network).map_err(
            |refusal| match &client_id {
                Some(client_id) => refusal.of_client(client_id),
                None => refusal,
            },
        )?;
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
    let (mut waiting, client_id) = match (waits, client_id) {
        (Found::Client(waiting), Some(client_id)) => (*waiting, client_id),
        (Found::Client(_) | Found::Account { .. }, _) => {
            app.db.write_before(&context.deadline, move |tx| authorize_requests::claim(tx, &request))?;
            return Ok((cookies, Outcome::Account));
        }
    };
    let found = session::find(app, Some(&begun.token), Some(&client_id))?;
    waiting.progress.logged_in = Some(begun.id);
    let outcome = match next(app, &waiting.asked, &waiting.destination, found.as_ref(), waiting.progress) {
        Ok(Next::Issue(session)) => conclude(app, waiting, session, context)?,
        Ok(Next::Ask(step)) => Outcome::Ask(step, name.clone()),
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
    form: &StepForm,
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let id = &form.request;
    let waiting = load_of_client(app, id, visitor)?;
    let found = session::find_here(app, visitor, Some(&waiting.asked.client.id))?;
    if let Some(session) = &found {
        // ASVS 3.5.1: what was shown to one person is not another's to go on with.
        refuse_foreign_form(app, visitor, &subject(id, Step::SelectAccount, Some(session)), &form.form_token)?;
        let (request, seen) = (waiting.id, waiting.parameters);
        let selected = with_account_selected(&seen);
        app.db
            .write_before(&context.deadline, move |tx| authorize_requests::rewrite(tx, &request, (&seen, &selected)))?;
    }
    match show(app, id, visitor, context)? {
        Shown::Question(question) => Ok(Outcome::Ask(question.step, id.clone())),
        Shown::Done(outcome) => Ok(*outcome),
    }
}

/// Takes the person's yes or no.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`]; [`AuthorizeRefusal::CrossSite`].
pub fn consent(
    app: &App,
    form: &StepForm,
    allowed: bool,
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let id = &form.request;
    let mut waiting = load_of_client(app, id, visitor)?;
    let found = session::find_here(app, visitor, Some(&waiting.asked.client.id))?;
    waiting.progress.consented = true;
    let session = match next(app, &waiting.asked, &waiting.destination, found.as_ref(), waiting.progress) {
        Ok(Next::Issue(session)) => session,
        // Whoever was logged in is no more.
        Ok(Next::Ask(step)) => return Ok(Outcome::Ask(step, id.clone())),
        Err(refusal) => return refuse(app, waiting.destination, refusal),
    };
    // ASVS 3.5.1: what was shown to one person is not another's to allow.
    let mut shown = subject(id, Step::Consent, Some(session));
    shown.push(what_is_shown(&waiting.asked, &waiting.destination));
    refuse_foreign_form(app, visitor, &shown, &form.form_token)
        .map_err(|refusal| refusal.read_in(waiting.destination.ui_locales()))?;
    let (account_id, client_id) = (session.session.account_id, waiting.asked.client.id.clone());
    tracing::info!(event = "consent", %account_id, %client_id, allowed);
    if allowed {
        return conclude(app, waiting, session, context);
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
    let progress = Progress { logged_in: found.session_id, consented: false };
    let parameters = match found.waits {
        Waits::Client(parameters) => parameters,
        Waits::Account => return Ok(Found::Account { id: found.id, logged_in: found.session_id }),
        Waits::Device(digest) => {
            let (asked, destination) = device::load(app, id, &digest)?;
            let waiting = Waiting { id: found.id, parameters: String::new(), progress, asked, destination };
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
    Ok(Found::Client(Box::new(Waiting { id: found.id, parameters, progress, asked, destination })))
}

/// The same of a client alone.
fn load_of_client(app: &App, id: &str, visitor: &Visitor) -> Result<Waiting, Refusal> {
    match load(app, id, visitor)? {
        Found::Client(waiting) => Ok(*waiting),
        Found::Account { .. } => Err(AuthorizeRefusal::StepUnknown.into()),
    }
}

fn conclude(
    app: &App,
    waiting: Waiting,
    session: &SessionOfAccount,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let Waiting { id: request, asked, destination, progress: Progress { consented, .. }, .. } = waiting;
    let concluded = match &destination {
        Destination::Client(to) => issue(app, &asked, (to, session), Some(Concluded { request, consented }), context),
        Destination::Device(device) => device::allow(app, device, session, request, context),
    };
    concluded.or_else(|refusal| refuse(app, destination, refusal.of_client(&asked.client.id)))
}

/// What is to be asked of whom.
struct Due {
    step: Step,
    /// Of a client's request, if not of the account's own page.
    waiting: Option<Waiting>,
    /// Who is logged in, as far as that matters.
    found: Option<SessionOfAccount>,
}

fn question(app: &App, id: &str, visitor: &Visitor, due: Due) -> Result<Box<Question>, Refusal> {
    let Due { step, waiting, found } = due;
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
    Ok(Box::new(Question { step, asker, form_token, login_hint, logged_in, ui_locales }))
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
