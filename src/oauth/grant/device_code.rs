//! `urn:ietf:params:oauth:grant-type:device_code` (RFC 8628 §3.4, §3.5): a device that asks whether the person has answered,
//! and gets its grant once the answer is yes.

use super::refresh::narrow_resources;
use super::{Allowed, First, ProvenClient, prepare};
use crate::app::App;
use crate::oauth::RequestContext;
use crate::protocol::claims_request::ClaimsRequest;
use crate::protocol::token_request::{GrantType, TokenRequest};
use crate::protocol::token_response::TokenResponse;
use crate::reason::{DeviceRefusal, Refusal};
use crate::secret::{Digest, PlainSecret};
use crate::store::clients::Client;
use crate::store::device_codes::{self, Answer, Approval, DeviceCode};
use crate::store::grants::{self, Grant};
use crate::store::{self, DatabaseTime, Write, accounts, browser_sessions};
use crate::token::device_code;

/// Redeems a device code for tokens, if a person has let the device in.
///
/// # Errors
/// A [`DeviceRefusal`]; [`DeviceRefusal::Pending`] and [`DeviceRefusal::TooFast`] as long as nobody has answered.
pub fn redeem(
    app: &App,
    asking: &ProvenClient,
    (request, presented): (&TokenRequest, &PlainSecret),
    context: &RequestContext,
) -> Result<TokenResponse, Refusal> {
    let client = &asking.client;
    let refuse = |reason: DeviceRefusal| Refusal::from(reason).of_client(&client.id);
    // A forged or mangled code dies here, before any database call.
    let handle = device_code::open(presented.expose(), &app.secrets.load().device_code_mac)
        .ok_or_else(|| refuse(DeviceRefusal::NotAuthentic))?;
    let found = app.db.read(|tx| device_codes::find(tx, handle))?;
    // One of ours that has no row was over long ago.
    let (device, read_at) = found.ok_or_else(|| refuse(DeviceRefusal::Expired))?;
    let by = judge(app, client, &device).map_err(refuse)?;
    // RFC 8707 §2.2: less than was granted may be asked for here.
    let audiences =
        narrow_resources(&device.audiences, &request.resources).map_err(|refusal| refusal.of_client(&client.id))?;
    let account = app.db.read(|tx| accounts::find(tx, by.account_id))?;
    let account = account.ok_or_else(|| refuse(DeviceRefusal::SessionOver))?;
    let allowed = Allowed {
        account_id: account.id,
        session_id: Some(by.session_id),
        scope: device.scope.clone(),
        audiences: device.audiences.clone(),
        amr: by.amr.clone(),
        auth_time: by.auth_time,
        claims: ClaimsRequest::default(),
    };
    let first = First { grant_type: GrantType::DeviceCode, audiences, nonce: None };
    let (grant, tokens) = prepare(app, asking, account, allowed, first)?;
    let not_after = read_at.plus(context.deadline.remaining());
    make(app, &device, by, (&grant, not_after), context)?.map_err(refuse)?;
    tracing::info!(event = "device_let_in", client_id = %client.id, account_id = %grant.account_id, grant_id = %grant.id);
    Ok(tokens)
}

/// Who let the device in, if somebody did and it is still to be had.
fn judge<'d>(app: &App, client: &Client, device: &'d DeviceCode) -> Result<&'d Approval, DeviceRefusal> {
    // RFC 8628 §3.4, RFC 6749 §5.2: issued to this client. Before anything else is judged, so that another's asking changes
    // nothing.
    if device.client_id != client.id {
        return Err(DeviceRefusal::OtherClient);
    }
    if device.grant_id.is_some() {
        return Err(DeviceRefusal::Used);
    }
    // A client's disabling is final for whatever it held then.
    if device.created_at <= client.not_before {
        return Err(DeviceRefusal::SessionOver);
    }
    let now = app.clock.now();
    match &device.answer {
        Answer::Denied => Err(DeviceRefusal::Denied),
        Answer::None | Answer::Allowed(_) if now >= device.expires_at => Err(DeviceRefusal::Expired),
        Answer::Allowed(by) => Ok(by),
        Answer::None => {
            let (name, life) = (Digest::sha256(&device.handle.0), device.expires_at.since(now));
            let too_fast = app.device_pace.is_too_fast(&app.cache, &name, life);
            Err(if too_fast { DeviceRefusal::TooFast } else { DeviceRefusal::Pending })
        }
    }
}

/// Uses the device code up and makes the grant, both or neither.
fn make(
    app: &App,
    device: &DeviceCode,
    by: &Approval,
    (grant, not_after): (&Grant, DatabaseTime),
    context: &RequestContext,
) -> Result<Result<(), DeviceRefusal>, Refusal> {
    let (handle, by, row) = (device.handle, by.clone(), grant.clone());
    let made = app.db.write_before(&context.deadline, move |tx: &mut Write<'_>| {
        if !device_codes::claim(tx, handle, row.id)? {
            return Ok(Err(DeviceRefusal::Used));
        }
        // Nothing comes of a log-in that is over. Whoever ends it waits for this transaction, or is waited for.
        if !browser_sessions::touch(tx, by.session_id, row.created_at)? {
            return Ok(Err(DeviceRefusal::SessionOver));
        }
        if grants::insert(tx, &row, by.credentials_version, not_after)? {
            return Ok(Ok(()));
        }
        // Whoever was only too late has used nothing up and may try again.
        let too_late = accounts::are_credentials(tx, row.account_id, by.credentials_version)?;
        if too_late { Err(store::Error::Expired) } else { Ok(Err(DeviceRefusal::SessionOver)) }
    })?;
    Ok(made)
}
