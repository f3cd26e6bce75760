//! A relying party on the crates `openidconnect` and `oauth2`: registers itself, has a person log in, and uses everything that it got.
//!
//! usage: `interop-openidconnect ISSUER E-MAIL`. What a browser is to open goes to standard output, where it ended up is read from
//! standard input, a line each; the last line is what was done, as JSON.

use std::error::Error;
use std::io::{BufRead as _, stdin};

use oauth2::basic::BasicClient;
use oauth2::{IntrospectionUrl, TokenIntrospectionResponse as _};
use openidconnect::core::{
    CoreApplicationType, CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreRegisterErrorResponseType, CoreResponseType,
    CoreSubjectIdentifierType, CoreUserInfoClaims,
};
use openidconnect::registration::{
    AdditionalClientMetadata, ClientRegistrationRequest, EmptyAdditionalClientRegistrationResponse,
};
use openidconnect::{
    AuthorizationCode, ClientId, CsrfToken, EndSessionUrl, IssuerUrl, LogoutRequest, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl, RegistrationUrl, Scope,
    TokenResponse as _, ureq,
};
use serde::{Deserialize, Serialize};

const CALLBACK: &str = "https://app.example/cb";
const AFTERWARDS: &str = "https://app.example/bye";

/// What the crate's own metadata lacks.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct More {
    post_logout_redirect_uris: Vec<String>,
}

impl AdditionalClientMetadata for More {}

type Registration = ClientRegistrationRequest<
    More,
    EmptyAdditionalClientRegistrationResponse,
    CoreApplicationType,
    CoreClientAuthMethod,
    CoreRegisterErrorResponseType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Has a browser open a URL; where it ends up.
fn browse(url: &str) -> Result<String, Box<dyn Error>> {
    println!("{url}");
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = openidconnect::url::Url::parse(url).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let (issuer, person) = (&arguments[1], &arguments[2]);
    let http = ureq::AgentBuilder::new().redirects(0).build();
    let mut done = Vec::new();

    let provider = ProviderMetadataWithLogout::discover(&IssuerUrl::new(issuer.clone())?, &http)?;
    let endpoint: &RegistrationUrl = provider.registration_endpoint().ok_or("no registration endpoint")?;
    let more = More { post_logout_redirect_uris: vec![AFTERWARDS.to_owned()] };
    let registered = Registration::new(vec![RedirectUrl::new(CALLBACK.to_owned())?], more)
        .set_grant_types(Some(vec![CoreGrantType::AuthorizationCode, CoreGrantType::RefreshToken]))
        .set_token_endpoint_auth_method(Some(CoreClientAuthMethod::ClientSecretBasic))
        .register(endpoint, &http)?;
    let (id, secret) = (registered.client_id().clone(), registered.client_secret().cloned());
    assert!(secret.is_some());
    done.push("registered");
    let logout: EndSessionUrl =
        provider.additional_metadata().end_session_endpoint.clone().ok_or("no end session endpoint")?;
    done.push("discovered");

    let client = CoreClient::from_provider_metadata(provider, ClientId::new(id.to_string()), secret.clone())
        .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned())?);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (url, state, nonce) = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scope(Scope::new("email".to_owned()))
        .add_scope(Scope::new("offline_access".to_owned()))
        .set_pkce_challenge(challenge)
        .url();
    let answer = browse(url.as_str())?;
    assert_eq!(parameter(&answer, "state").as_ref(), Some(state.secret()));
    assert_eq!(parameter(&answer, "iss").as_ref(), Some(issuer));
    done.push("asked");
    let code = AuthorizationCode::new(parameter(&answer, "code").ok_or("no code")?);
    let tokens = client.exchange_code(code)?.set_pkce_verifier(verifier).request(&http)?;
    let id_token = tokens.id_token().ok_or("no ID token")?;
    let claims = id_token.claims(&client.id_token_verifier(), &nonce)?;
    let sub = claims.subject().clone();
    done.push("code");

    let user: CoreUserInfoClaims =
        client.user_info(tokens.access_token().clone(), Some(sub.clone()))?.request(&http)?;
    assert_eq!(user.email().map(|email| email.as_str()), Some(person.as_str()));
    done.push("userinfo");
    let old = tokens.refresh_token().ok_or("no refresh token")?;
    let refreshed = client.exchange_refresh_token(old)?.request(&http)?;
    assert_ne!(refreshed.refresh_token().map(|token| token.secret()), Some(old.secret()));
    done.push("refreshed");

    let mut plain =
        BasicClient::new(id.clone()).set_introspection_url(IntrospectionUrl::new(format!("{issuer}/introspect"))?);
    if let Some(secret) = secret {
        plain = plain.set_client_secret(secret);
    }
    let seen = plain.introspect(refreshed.access_token()).request(&http)?;
    assert!(seen.active() && seen.sub() == Some(sub.as_str()));
    done.push("introspected");

    let bye = LogoutRequest::from(logout)
        .set_id_token_hint(id_token)
        .set_post_logout_redirect_uri(PostLogoutRedirectUrl::new(AFTERWARDS.to_owned())?)
        .set_state(CsrfToken::new("out".to_owned()));
    assert_eq!(browse(bye.http_get_url().as_str())?, format!("{AFTERWARDS}?state=out"));
    done.push("logged_out");
    // The crate revokes over https alone; a spent token, shown once more after the next was used, ends the grant as well.
    let newest = refreshed.refresh_token().ok_or("no refresh token")?;
    client.exchange_refresh_token(newest)?.request(&http)?;
    // By way of ureq it says only the status of a refusal.
    let refused = client.exchange_refresh_token(old)?.request(&http).map(drop);
    assert!(format!("{refused:?}").contains("status: 400"), "a spent token was taken: {refused:?}");
    done.push("replayed");
    println!("{}", serde_json::json!({ "library": "openidconnect", "done": done }));
    Ok(())
}
