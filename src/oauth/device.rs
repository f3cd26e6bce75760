//! Devices without a keyboard or a browser (RFC 8628): such a device shows a code, a person types it elsewhere and says yes
//! or no there. Log-in and consent are the steps of [`super::authorize::steps`]; what the device gets for it is in
//! `grant/device_code.rs`.

use std::time::Duration;

use super::authorize::{Answered, Asked, Destination, Outcome, Step, ToKeep, WaitingDevice, wait_for};
use super::token::{resources_of_client, scope_of_client};
use super::{RequestContext, client_auth};
use crate::app::App;
use crate::identity::browser::Visitor;
use crate::limits::DevicePace;
use crate::protocol::authorize_request::AuthorizeRequest;
use crate::protocol::device_authorization::{DeviceAuthorizationRequest, DeviceAuthorizationResponse};
use crate::protocol::token_request::GrantType;
use crate::protocol::user_code::UserCode;
use crate::reason::{AuthorizeRefusal, CapacityRefusal, ClientRefusal, DeviceRefusal, Refusal};
use crate::secret::{Digest, PurposeKey, encode_base64url};
use crate::store::authorize_requests::{self, REQUEST_ID_BYTES, Waits};
use crate::store::browser_sessions::{self, SessionOfAccount};
use crate::store::device_codes::{self, Answer, Approval, DeviceCode, DeviceHandle};
use crate::store::{self, Write};
use crate::token::device_code;

/// RFC 8628 §6.1: time enough to find a telephone, and too little to guess a code in.
const DEVICE_TTL: Duration = Duration::from_mins(15);
/// How often another code is drawn when a device waits under the first: of 2.5 · 10^10 codes, two in a row are no chance.
const DRAWS: u32 = 3;
/// What the form to type a code into is about.
const FORM: [&[u8]; 1] = [b"device"];

/// Lets a device begin (RFC 8628 §3.1).
///
/// # Errors
/// The client is not who it says, or may not do this; [`CapacityRefusal::TooManyWait`].
pub fn begin(
    app: &App,
    request: &DeviceAuthorizationRequest,
    context: &RequestContext,
) -> Result<DeviceAuthorizationResponse, Refusal> {
    let client = client_auth::authenticate(app, &request.presented, context)?;
    // RFC 6749 §5.2: unauthorized_client.
    if !client.metadata.grant_types.contains(&GrantType::DeviceCode) {
        return Err(Refusal::from(ClientRefusal::GrantTypeNotAllowed).of_client(&client.id));
    }
    let scope = scope_of_client(&client, request.scope.as_ref())?;
    let audiences = resources_of_client(&client, &request.resources)?;
    app.device_codes.admit(&app.cache, context.network).map_err(|refusal| refusal.of_client(&client.id))?;
    let now = app.clock.now();
    let device = DeviceCode {
        handle: DeviceHandle(app.random.bytes()),
        client_id: client.id.clone(),
        scope,
        audiences,
        created_at: now,
        expires_at: now.plus(DEVICE_TTL),
        answer: Answer::None,
        grant_id: None,
    };
    let secrets = app.secrets.load();
    let sealed = device_code::seal(device.handle, &secrets.device_code_mac).ok_or(CapacityRefusal::CannotSign)?;
    let (_, key) = secrets.user_code_mac.last().ok_or(CapacityRefusal::CannotSign)?;
    let user_code = insert(app, &device, key, context)?;
    Ok(DeviceAuthorizationResponse {
        device_code: sealed,
        verification_uri: format!("{}/device", app.issuer),
        verification_uri_complete: format!("{}/device?user_code={user_code}", app.issuer),
        user_code: user_code.to_string(),
        expires_in: DEVICE_TTL.as_secs(),
        interval: DevicePace::INTERVAL.as_secs(),
    })
}

/// Adds the row under a code that no other device waits under.
fn insert(app: &App, device: &DeviceCode, key: &PurposeKey, context: &RequestContext) -> Result<UserCode, Refusal> {
    let mut draws = 1;
    loop {
        let user_code = UserCode::new(&app.random);
        let (row, digest) = (device.clone(), digest(key, &user_code));
        match app.db.write_before(&context.deadline, move |tx| device_codes::insert(tx, &row, &digest)) {
            Ok(()) => return Ok(user_code),
            Err(store::Error::Conflict(_)) if draws < DRAWS => draws += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is kept of a user code. It has few bits, so that its digest has a key.
fn digest(key: &PurposeKey, user_code: &UserCode) -> Digest {
    key.mac(&[user_code.letters().as_bytes()])
}

/// What the form to type a code into must send back so that it is known to be ours.
///
/// # Errors
/// [`CapacityRefusal::CannotSign`] when there is no key.
pub fn form_token(app: &App, visitor: &Visitor) -> Result<String, Refusal> {
    Ok(visitor.browser.form_token(app, &FORM).ok_or(CapacityRefusal::CannotSign)?)
}

/// Takes the code that a person typed, and goes on to the questions about its device.
///
/// # Errors
/// [`DeviceRefusal::UnknownUserCode`]; [`CapacityRefusal::TooManyWait`] for whoever guesses.
pub fn enter(
    app: &App,
    (typed, form_token): (&str, &str),
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    // ASVS 3.5.1: only a form that we showed in this browser does anything.
    if !visitor.browser.showed(app, &FORM, form_token) {
        return Err(AuthorizeRefusal::CrossSite.into());
    }
    let user_code = UserCode::parse(typed).ok_or(DeviceRefusal::UnknownUserCode)?;
    // RFC 8628 §5.1: what is typed is rate-limited.
    app.user_code_guesses.reserve(&app.cache, context.network)?;
    let refund = || app.user_code_guesses.refund(&app.cache, context.network);
    let found = find(app, &user_code).inspect_err(|_| refund())?;
    let Some((digest, _)) = found.filter(|(_, device)| waits(app, device)) else {
        return Err(DeviceRefusal::UnknownUserCode.into());
    };
    refund();
    // The code goes with the name, of which only a digest is kept: a page can show it, a stolen database cannot.
    let name = format!("{}.{}", encode_base64url(&app.random.bytes::<REQUEST_ID_BYTES>()), user_code.letters());
    let to_keep = ToKeep { name, waits: Waits::Device(digest), is_pushed: false, unused: None };
    wait_for(app, to_keep, visitor, Step::Consent, context)
}

/// The device that waits under a code, by whichever version of the key its digest was made.
fn find(app: &App, user_code: &UserCode) -> Result<Option<(Digest, DeviceCode)>, Refusal> {
    for (_, key) in app.secrets.load().user_code_mac.iter().rev() {
        let digest = digest(key, user_code);
        if let Some(device) = app.db.read(|tx| device_codes::find_by_user_code(tx, &digest))? {
            return Ok(Some((digest, device)));
        }
    }
    Ok(None)
}

/// Whether nobody has answered yet, and the device is still there.
fn waits(app: &App, device: &DeviceCode) -> bool {
    matches!(device.answer, Answer::None) && app.clock.now() < device.expires_at
}

/// What a waiting request is about when it is about a device.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`] when the device waits no more, or its client may not do this any more.
pub(super) fn load(app: &App, name: &str, digest: &Digest) -> Result<(Asked, Destination), Refusal> {
    let found = app.db.read(|tx| device_codes::find_by_user_code(tx, digest))?;
    let device = found.filter(|device| waits(app, device)).ok_or(AuthorizeRefusal::StepUnknown)?;
    let user_code = name.rsplit_once('.').and_then(|(_, letters)| UserCode::parse(letters));
    let user_code = user_code.ok_or(AuthorizeRefusal::StepUnknown)?;
    let client = app.clients.find(&device.client_id);
    let client = client.filter(|client| {
        // A client's disabling is final for whatever it held then.
        client.disabled_at.is_none()
            && device.created_at > client.not_before
            && client.metadata.grant_types.contains(&GrantType::DeviceCode)
    });
    let client = client.ok_or(AuthorizeRefusal::StepUnknown)?;
    let asked = Asked {
        client,
        request: AuthorizeRequest::default(),
        wanted: device.scope.clone(),
        scope: device.scope,
        audiences: device.audiences,
    };
    Ok((asked, Destination::Device(WaitingDevice { user_code, handle: device.handle })))
}

/// Notes the person's yes. What else the person allows the client is left as it is: this was about one device.
///
/// # Errors
/// [`AuthorizeRefusal::SessionChanged`] when the log-in has ended; [`AuthorizeRefusal::StepUnknown`] when the device waits no
/// more.
pub(super) fn allow(
    app: &App,
    device: &WaitingDevice,
    found: &SessionOfAccount,
    request: Digest,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let by = Approval {
        session_id: found.session.id,
        account_id: found.session.account_id,
        credentials_version: found.credentials_version,
        amr: found.session.amr.clone(),
        auth_time: found.session.auth_time,
    };
    let (handle, now) = (device.handle, app.clock.now());
    let not_after = found.read_at.plus(context.deadline.remaining());
    let allowed = app.db.write_before(&context.deadline, move |tx: &mut Write<'_>| {
        if !authorize_requests::claim(tx, &request)? {
            return Ok(Err(AuthorizeRefusal::StepUnknown));
        }
        if !browser_sessions::touch(tx, by.session_id, now)? {
            return Ok(Err(AuthorizeRefusal::SessionChanged));
        }
        let noted = device_codes::allow(tx, handle, &by, (now, not_after))?;
        Ok(if noted { Ok(()) } else { Err(AuthorizeRefusal::StepUnknown) })
    })?;
    allowed?;
    Ok(Outcome::Answered(Answered::Allowed))
}

/// Notes the person's no.
///
/// # Errors
/// [`AuthorizeRefusal::StepUnknown`] when the device was answered before.
pub(super) fn deny(
    app: &App,
    device: &WaitingDevice,
    request: Digest,
    context: &RequestContext,
) -> Result<Outcome, Refusal> {
    let handle = device.handle;
    let denied = app.db.write_before(&context.deadline, move |tx: &mut Write<'_>| {
        Ok(authorize_requests::claim(tx, &request)? && device_codes::deny(tx, handle)?)
    })?;
    if denied { Ok(Outcome::Answered(Answered::Denied)) } else { Err(AuthorizeRefusal::StepUnknown.into()) }
}
