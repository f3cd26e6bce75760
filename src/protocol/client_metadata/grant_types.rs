//! What a client exchanges for tokens, as it is registered (RFC 7591 §2).

use std::collections::BTreeSet;

use super::json::ClientMetadataJson;
use super::proof::AuthMethod;
use super::{MetadataError, refuse};
use crate::protocol::token_request::GrantType;

/// What it exchanges for tokens, with the default.
pub(super) fn parse(json: &ClientMetadataJson) -> Result<BTreeSet<GrantType>, MetadataError> {
    let public = json.token_endpoint_auth_method == AuthMethod::None;
    let mut grant_types = BTreeSet::new();
    // RFC 7591 §2: whoever gives none has authorization_code. One that nobody is sent back to can only introspect.
    if json.grant_types.is_empty() && !json.redirect_uris.is_empty() {
        grant_types.insert(GrantType::AuthorizationCode);
    }
    for name in &json.grant_types {
        let Some(grant_type) = GrantType::parse(name) else {
            return refuse(
                "grant_types",
                "each is one of authorization_code, password, client_credentials, refresh_token, \
                 urn:ietf:params:oauth:grant-type:token-exchange, urn:ietf:params:oauth:grant-type:device_code",
            );
        };
        // RFC 6749 §4.4: the client credentials grant MUST only be used by confidential clients.
        if public && matches!(grant_type, GrantType::ClientCredentials | GrantType::TokenExchange) {
            return refuse("grant_types", "a public client may use neither client_credentials nor token-exchange");
        }
        grant_types.insert(grant_type);
    }
    let begins = |grant_type: &GrantType| {
        matches!(grant_type, GrantType::Password | GrantType::AuthorizationCode | GrantType::DeviceCode)
    };
    if grant_types.contains(&GrantType::RefreshToken) && !grant_types.iter().any(begins) {
        return refuse(
            "grant_types",
            "refresh_token needs a grant that begins one beside it: authorization_code, password or \
             urn:ietf:params:oauth:grant-type:device_code",
        );
    }
    Ok(grant_types)
}

#[cfg(test)]
mod tests {
    use super::super::ClientMetadata;
    use super::*;

    #[test]
    fn whoever_names_redirect_uris_alone_has_authorization_code() {
        for (json, grant_types) in [
            (r#"{"redirect_uris":["https://a.example"]}"#, vec![GrantType::AuthorizationCode]),
            (r#"{"redirect_uris":["https://a.example"],"grant_types":["password"]}"#, vec![GrantType::Password]),
            (r"{}", vec![]),
        ] {
            let (_, metadata) = ClientMetadata::parse(json).unwrap();
            assert!(metadata.grant_types.iter().eq(&grant_types), "{json}");
        }
    }
}
