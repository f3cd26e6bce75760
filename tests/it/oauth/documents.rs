//! The JWKS (RFC 7517) and the metadata (RFC 8414): what they say, and how they are served.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::TestApp;

const CACHING: &str = "public, max-age=300, stale-while-revalidate=60, stale-if-error=3600";

#[test]
fn the_jwks_holds_the_signing_key_and_the_standby_and_no_private_member() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let answer = party.get("/jwks.json", &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/jwk-set+json")));
    let json = answer.json();
    let keys = json["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        let members: BTreeSet<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"].into());
        assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&"RSA".into(), &"RS256".into(), &"sig".into()));
        assert_eq!(key["e"], "AQAB");
        assert_eq!(key["n"].as_str().unwrap().len(), 342, "2048 bits");
    }
    assert!(keys.iter().any(|key| key["kid"] == tokens.jose_header()["kid"]));
}

#[test]
fn documents_are_cached_by_their_etag() {
    let app = TestApp::start();
    let party = app.relying_party();
    for path in ["/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let answer = party.get(path, &[]);
        let etag = answer.header("etag").unwrap().to_owned();
        assert_eq!(answer.header("cache-control"), Some(CACHING));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        for known in [etag.as_str(), "*", &format!("W/{etag}"), &format!("\"other\", {etag}")] {
            let unchanged = party.get(path, &[("If-None-Match", known)]);
            assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{known}");
            assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
            assert_eq!(unchanged.header("cache-control"), Some(CACHING));
        }
        assert_eq!(party.get(path, &[("If-None-Match", "\"other\"")]).status, 200);
        assert_eq!(party.get(&format!("{path}?kid=1"), &[]).body, answer.body, "a query is ignored");
        let head = party.send("HEAD", path, &[], b"");
        assert_eq!((head.status, head.header("etag")), (200, Some(etag.as_str())));
        assert_eq!(party.send("POST", path, &[], b"x").status, 405);
    }
}

#[test]
fn metadata_says_what_is_there_and_nothing_else() {
    let app = TestApp::start();
    let party = app.relying_party();
    let json = party.get("/.well-known/oauth-authorization-server", &[]).json();
    let at = |path: &str| Value::from(format!("{}{path}", app.base));
    let algorithms = ["ES256", "EdDSA", "Ed25519", "PS256", "RS256"];
    let mut expected = serde_json::json!({
        "issuer": app.base,
        "authorization_endpoint": at("/authorize"),
        "authorization_challenge_endpoint": at("/authorize-challenge"),
        "token_endpoint": at("/token"),
        "device_authorization_endpoint": at("/device_authorization"),
        "userinfo_endpoint": at("/userinfo"),
        "jwks_uri": at("/jwks.json"),
        "end_session_endpoint": at("/logout"),
        "revocation_endpoint": at("/revoke"),
        "introspection_endpoint": at("/introspect"),
        "status_list_aggregation_endpoint": at("/status"),
        "status_events_endpoint": at("/status/events"),
        "status_receipts_endpoint": at("/status/receipts"),
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token",
            "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "scopes_supported": ["openid", "profile", "email", "address", "phone", "offline_access"],
        "claims_supported": ["sub", "auth_time", "acr", "amr", "name", "family_name", "given_name", "middle_name", "nickname", "preferred_username",
            "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at", "email",
            "email_verified", "address", "phone_number", "phone_number_verified"],
        "subject_types_supported": ["public", "pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "acr_values_supported": ["aal1"],
        "ui_locales_supported": ["en", "de"],
        "pushed_authorization_request_endpoint": at("/par"),
        "require_pushed_authorization_requests": false,
        "request_parameter_supported": true,
        "request_uri_parameter_supported": false,
        "request_object_signing_alg_values_supported": algorithms,
        "claims_parameter_supported": true,
        "userinfo_signing_alg_values_supported": ["RS256"],
        "dpop_signing_alg_values_supported": algorithms,
        "tls_client_certificate_bound_access_tokens": false,
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
    });
    for way in ["backchannel", "frontchannel"] {
        expected[format!("{way}_logout_supported")] = true.into();
        expected[format!("{way}_logout_session_supported")] = true.into();
    }
    assert_eq!(json, expected);
    let as_openid = party.get("/.well-known/openid-configuration", &[]).json();
    assert_eq!(as_openid, expected, "OpenID Connect Discovery §3");
    for (name, value) in expected.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_endpoint")) {
        let path = value.as_str().unwrap().strip_prefix(&app.base).unwrap();
        // It is there: a document, or something that wants credentials, or a POST.
        let expected = match path {
            "/status" | "/logout" => 200,
            "/authorize" => 400,
            "/status/events" | "/userinfo" => 401,
            _ => 405,
        };
        assert_eq!(party.get(path, &[]).status, expected, "{name}");
    }
}

#[test]
fn the_issuer_never_comes_from_the_request() {
    let app = TestApp::start();
    let party = app.relying_party();
    let plain = party.get("/.well-known/oauth-authorization-server", &[]);
    for (name, value) in [
        ("Host", "evil.example"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "host=evil.example;proto=https"),
    ] {
        assert_eq!(party.get("/.well-known/oauth-authorization-server", &[(name, value)]).body, plain.body, "{name}");
    }
    let secret = app.confidential_client();
    let header = crate::relying_party::basic("svc", &secret);
    let headers = [("Authorization", header.as_str()), ("Host", "evil.example"), ("X-Forwarded-Host", "evil.example")];
    let tokens = party.form("/token", &headers, &[("grant_type", "client_credentials")]).tokens();
    assert_eq!(tokens.claims()["iss"], app.base);
}
