//! The places of a client: where it is answered, from where its pages call, and whose cookie carries its refresh token
//! (RFC 7591 §2, RFC 9700 §2.1).

use std::collections::BTreeSet;

use super::{AuthMethod, ClientMetadataJson, MetadataError, refuse};
use crate::protocol::origin::Origin;
use crate::protocol::redirect_uri::{ApplicationType, RedirectUri};
use crate::protocol::token_request::GrantType;

/// The most redirect URIs of each kind that a client may have.
const MAX_REDIRECT_URIS: usize = 50;
/// The most origins that a client may have.
const MAX_ORIGINS: usize = 20;

/// The origins whose pages may read answers.
pub(super) fn parse_origins(json: &ClientMetadataJson) -> Result<Vec<Origin>, MetadataError> {
    if json.allowed_origins.len() > MAX_ORIGINS {
        return refuse("allowed_origins", "at most 20");
    }
    let parsed = json.allowed_origins.iter().map(|text| Origin::parse(text));
    parsed.collect::<Result<_, _>>().or_else(|rule| refuse("allowed_origins", rule))
}

/// A cookie of ours is for our own pages: one that some third party's page makes a browser send is not the person's word.
pub(super) fn refuse_cookie(json: &ClientMetadataJson, grant_types: &BTreeSet<GrantType>) -> Result<(), MetadataError> {
    if !json.refresh_cookie {
        return Ok(());
    }
    if json.token_endpoint_auth_method != AuthMethod::None || !json.first_party {
        return refuse("refresh_cookie", "only a public client that is first_party");
    }
    if json.application_type == ApplicationType::Native {
        return refuse("refresh_cookie", "only a client in a browser");
    }
    if !grant_types.contains(&GrantType::RefreshToken) {
        return refuse("refresh_cookie", "needs the grant type refresh_token");
    }
    Ok(())
}

/// What a client registers of its own URIs.
pub(super) struct Redirects {
    pub(super) redirect_uris: Vec<RedirectUri>,
    pub(super) post_logout: Vec<RedirectUri>,
}

/// Where it is answered.
pub(super) fn parse_redirects(
    json: &ClientMetadataJson,
    grant_types: &BTreeSet<GrantType>,
) -> Result<Redirects, MetadataError> {
    let parse = |member, uris: &[String]| {
        if uris.len() > MAX_REDIRECT_URIS {
            return refuse(member, "at most 50");
        }
        let parsed = uris.iter().map(|uri| RedirectUri::parse(uri, json.application_type));
        parsed.collect::<Result<Vec<_>, _>>().or_else(|rule| refuse(member, rule))
    };
    let redirect_uris = parse("redirect_uris", &json.redirect_uris)?;
    let post_logout = parse("post_logout_redirect_uris", &json.post_logout_redirect_uris)?;
    let by_code = grant_types.contains(&GrantType::AuthorizationCode);
    // RFC 7591 §2.1: grant types and response types go together.
    if json.response_types.iter().any(|name| name != "code") || (!by_code && !json.response_types.is_empty()) {
        return refuse("response_types", "code, beside the grant type authorization_code");
    }
    // RFC 9700 §2.1: clients that use redirects MUST register them.
    if by_code && redirect_uris.is_empty() {
        return refuse("redirect_uris", "authorization_code needs at least one");
    }
    // RFC 9700 §2.1.1: public clients MUST use PKCE.
    if json.pkce_optional && json.token_endpoint_auth_method == AuthMethod::None {
        return refuse("pkce_optional", "only a confidential client may do without PKCE");
    }
    Ok(Redirects { redirect_uris, post_logout })
}
