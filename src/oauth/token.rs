//! The token endpoint (RFC 6749 §3.2). The phases that every grant type passes stand here, so none can skip one; a code is
//! used up only after its tokens are signed, so its grant type, and a device's, does both by itself.

use std::sync::Arc;
use std::time::Duration;

use super::grant::{
    ProvenClient, authorization_code, client_credentials, device_code, password, refresh, token_exchange,
};
use super::refresh_cookie::{self, Cookie, Page};
use super::{RequestContext, client_auth, possession};
use crate::app::App;
use crate::metrics::Endpoint;
use crate::password_hash::HashMemory;
use crate::protocol::client_credentials::{ClientId, Method, PresentedClient};
use crate::protocol::params::Params;
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::{GrantType, Offer, TokenRequest};
use crate::protocol::token_response::TokenResponse;
use crate::reason::{ClientRefusal, Refusal};
use crate::store::clients::Client;
use crate::token::issue;

/// Where the endpoint is, for proofs of possession.
const TOKEN_PATH: &str = Endpoint::Token.path();

/// A token request that could be read, before anyone is believed.
pub struct TokenCall {
    presented: PresentedClient,
    request: TokenRequest,
    page: Page,
}

/// Which lane a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKind {
    /// Where it stands: one signature and no waiting.
    Here,
    /// SQL and one signature.
    Token,
    /// A password hash.
    Hash,
}

impl TokenCall {
    /// Reads header and form.
    ///
    /// # Errors
    /// Whatever is wrong with the request itself.
    pub fn parse(content_type: Option<&str>, authorization: Option<&[u8]>, body: &[u8]) -> Result<Self, Refusal> {
        let params = Params::parse(content_type, body)?;
        let presented = PresentedClient::parse(authorization, &params)?;
        Ok(Self { presented, request: TokenRequest::parse(&params)?, page: Page::default() })
    }

    /// What a browser says of the page that the call comes from.
    #[must_use]
    pub fn from_page(mut self, page: Page) -> Self {
        self.page = page;
        self
    }

    /// Who calls, as far as it says.
    pub fn client_id(&self) -> &ClientId {
        &self.presented.client_id
    }

    /// Where this call belongs, so that a flood of one kind does not drown another.
    pub fn lane(&self, app: &App, context: &RequestContext) -> LaneKind {
        // What is good once is used up in the database, and keys may have to be fetched.
        let asserts = matches!(self.presented.method, Method::Assertion(_));
        let proves = !context.keys.proofs.is_empty() || asserts || context.keys.certificate.is_some();
        match self.request.offer {
            // A life that the active key has not signed yet is written into its row first.
            Offer::ClientCredentials if proves || !app.keyring.knows_life(self.access_ttl(app)) => LaneKind::Token,
            Offer::ClientCredentials => LaneKind::Here,
            // Keys may have to be fetched: whoever may not send passwords holds nobody up who does.
            Offer::Password(_) if self.sends_passwords(app) => LaneKind::Hash,
            Offer::Password(_)
            | Offer::RefreshToken { .. }
            | Offer::AuthorizationCode(_)
            | Offer::TokenExchange(_)
            | Offer::DeviceCode(_) => LaneKind::Token,
        }
    }

    fn sends_passwords(&self, app: &App) -> bool {
        let client = app.clients.find(&self.presented.client_id);
        client.is_some_and(|client| client.metadata.grant_types.contains(&GrantType::Password))
    }

    fn access_ttl(&self, app: &App) -> Duration {
        let client = app.clients.find(&self.presented.client_id);
        client.map_or(app.settings.tokens.access_ttl, |client| issue::access_ttl(app, &client))
    }
}

/// Exchanges what was offered for tokens, and says what becomes of the client's cookie, if it has one.
///
/// # Errors
/// The refusal of the first phase that fails; nothing was changed unless the refusal says so.
pub fn exchange(
    app: &App,
    call: TokenCall,
    context: &RequestContext,
    memory: &mut HashMemory,
) -> Result<(TokenResponse, Cookie), Refusal> {
    let TokenCall { presented, request, page } = call;
    let client = client_auth::authenticate(app, &presented, context)?;
    // RFC 6749 §5.2: unauthorized_client.
    if !client.metadata.grant_types.contains(&request.grant_type()) {
        return Err(Refusal::from(ClientRefusal::GrantTypeNotAllowed).of_client(&client.id));
    }
    let by_cookie = refresh_cookie::is_used(app, &client, &page)?;
    let confirmation =
        possession::prove(app, &client, TOKEN_PATH, context).map_err(|refusal| refusal.of_client(&client.id))?;
    let asking = ProvenClient { client, confirmation };
    let offered = Offered { request: &request, page: &page, by_cookie };
    let mut tokens = redeem(app, &asking, &offered, context, memory)?;
    let cookie = refresh_cookie::put_away(app, by_cookie, &mut tokens);
    Ok((tokens, cookie))
}

/// What a client that is believed offers.
struct Offered<'a> {
    request: &'a TokenRequest,
    page: &'a Page,
    by_cookie: bool,
}

/// What the grant type makes of it.
fn redeem(
    app: &App,
    asking: &ProvenClient,
    Offered { request, page, by_cookie }: &Offered<'_>,
    context: &RequestContext,
    memory: &mut HashMemory,
) -> Result<TokenResponse, Refusal> {
    let client = &asking.client;
    let (authorization, refresh_token) = match &request.offer {
        Offer::ClientCredentials => (client_credentials::authorize(asking, request)?, None),
        Offer::TokenExchange(presented) => (
            token_exchange::authorize(app, asking, (request, presented))
                .map_err(|refusal| refusal.of_client(&client.id))?,
            None,
        ),
        Offer::RefreshToken { token, attempt } => {
            let token = refresh_cookie::presented(*by_cookie, token.as_ref(), page)
                .map_err(|refusal| refusal.of_client(&client.id))?;
            let (authorization, next) = refresh::redeem(app, asking, request, (token, *attempt), context)?;
            (authorization, Some(next))
        }
        // Both mint by themselves, before the code is used up.
        Offer::AuthorizationCode(code) => {
            return authorization_code::redeem(app, asking, (request, code), context)
                .map_err(|refusal| refusal.of_client(&client.id));
        }
        Offer::DeviceCode(code) => {
            return device_code::redeem(app, asking, (request, code), context)
                .map_err(|refusal| refusal.of_client(&client.id));
        }
        Offer::Password(credentials) => password::authorize(app, asking, (request, credentials), context, memory)?,
    };
    issue::mint(app, &authorization, refresh_token).map_err(|refusal| refusal.of_client(&client.id))
}

/// RFC 6749 §3.3: what a client gets of its registered scope: what it asks for, or all of it.
pub(super) fn scope_of_client(client: &Client, asked: Option<&Scope>) -> Result<Scope, Refusal> {
    match asked {
        None => Ok(client.metadata.scope.clone()),
        Some(scope) if scope.is_within(&client.metadata.scope) => Ok(scope.clone()),
        Some(_) => Err(Refusal::from(ClientRefusal::ScopeNotAllowed).of_client(&client.id)),
    }
}

/// RFC 8707 §2.2: what a client gets of its registered resources: those it asks for, or all of them.
pub(super) fn resources_of_client(client: &Arc<Client>, asked: &Resources) -> Result<Resources, Refusal> {
    if asked.is_empty() {
        return Ok(client.metadata.audiences.clone());
    }
    if !asked.is_subset(&client.metadata.audiences) {
        return Err(Refusal::from(ClientRefusal::ResourceNotAllowed).of_client(&client.id));
    }
    Ok(asked.clone())
}
