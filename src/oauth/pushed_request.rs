//! The pushed authorization request endpoint (RFC 9126): a client says beforehand, and by itself, what a browser will ask for.

use std::time::Duration;

use super::authorize::sources::{PREFIX, refuse_nested, refuse_unsigned, resolve_object};
use super::authorize::{MAX_WAITING_BYTES, address, read};
use super::{RequestContext, client_auth, possession};
use crate::app::App;
use crate::metrics::Endpoint;
use crate::protocol::authorize_request::PARAMETERS;
use crate::protocol::client_credentials::{ClientId, PresentedClient};
use crate::protocol::params::Params;
use crate::protocol::token_response::PushedResponse;
use crate::reason::{Refusal, RequestRefusal};
use crate::secret::{Digest, encode_base64url};
use crate::store::clients::registrants;
use crate::store::pushed_requests::{self, PushedRequest};

/// How long a browser may take to bring it (FAPI 2.0 §5.3.2.2: less than 600 s; ASVS 10.4.13: as short as can be).
const TTL: Duration = Duration::from_mins(1);
/// Random bytes of its name: 256 bits (RFC 9126 §7.1).
const NAME_BYTES: usize = 32;
/// Where the endpoint is, for proofs of possession.
const PATH: &str = Endpoint::PushedRequest.path();

/// A request that could be read, before anyone is believed.
pub struct PushCall {
    presented: PresentedClient,
    params: Params,
}

impl PushCall {
    /// Reads header and form.
    ///
    /// # Errors
    /// Whatever is wrong with the request itself.
    pub fn parse(content_type: Option<&str>, authorization: Option<&[u8]>, body: &[u8]) -> Result<Self, Refusal> {
        let params = Params::parse(content_type, body)?;
        let presented = PresentedClient::parse(authorization, &params)?;
        Ok(Self { presented, params })
    }

    /// Who pushes, as far as it says.
    pub fn client_id(&self) -> &ClientId {
        &self.presented.client_id
    }
}

/// Judges a request as the authorization endpoint would, and keeps it for a browser to bring.
///
/// # Errors
/// Whatever is wrong with the client or the request.
pub fn push(app: &App, call: PushCall, context: &RequestContext) -> Result<PushedResponse, Refusal> {
    let PushCall { presented, mut params } = call;
    let client = client_auth::authenticate(app, &presented, context)?;
    let refuse = |refusal: Refusal| refusal.of_client(&client.id);
    refuse_nested(&params).map_err(refuse)?;
    // ASVS 2.4.1: each request is a row. A client of an operator's that has proven itself asks for all its people from one
    // network.
    if client.is_anybodys() {
        app.pushed_requests.admit(&app.cache, context.network).map_err(refuse)?;
    }
    params.set("client_id", client.id.as_str());
    let mut resolved = resolve_object(app, params).map_err(refuse)?;
    possession::bind(app, &client, &mut resolved.params, PATH, context).map_err(refuse)?;
    refuse_unsigned(&client, &resolved.source).map_err(refuse)?;
    // RFC 9126 §2.1 no. 3: as it would be judged at the authorization endpoint.
    address(app, &resolved.params).map_err(refuse)?;
    read(&client, &resolved.params).map_err(refuse)?;
    let parameters = resolved.params.to_form(&PARAMETERS);
    if parameters.len() > MAX_WAITING_BYTES {
        return Err(refuse(RequestRefusal::ParameterTooLarge.into()));
    }
    let name = encode_base64url(&app.random.bytes::<NAME_BYTES>());
    let row = PushedRequest {
        id: Digest::sha256(name.as_bytes()),
        client_id: client.id.clone(),
        parameters,
        expires_at: app.clock.now().plus(TTL),
    };
    let (unused, now) = (client.unused_since.is_some(), app.clock.now());
    app.db.write_before(&context.deadline, move |tx| {
        if unused {
            registrants::postpone(tx, &row.client_id, now)?;
        }
        pushed_requests::insert(tx, &row)
    })?;
    Ok(PushedResponse { request_uri: format!("{PREFIX}{name}"), expires_in: TTL.as_secs() })
}
