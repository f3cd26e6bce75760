//! `/openapi.json`: every endpoint, and every parameter that the code reads.

use std::collections::BTreeSet;
use std::fs;

use countersign::protocol::client_metadata::registrant::OPERATORS;
use countersign::protocol::params::{KNOWN, REPEATABLE};
use countersign::protocol::token_request::GrantType;
use serde_json::Value;

use crate::app::TestApp;

/// Parameters of forms that our own pages send, which nobody else makes.
const OF_OUR_PAGES: [&str; 8] =
    ["form_token", "decision", "another", "remember", "remembered", "session", "grant", "everything"];
/// A parameter that is read to be refused.
const REFUSED: &str = "registration";

/// Where parameters are read, for each endpoint.
const READERS: [(&str, &str, &[&str]); 8] = [
    ("/token", "post", &["protocol/token_request", "protocol/client_credentials"]),
    ("/authorize", "get", &["protocol/authorize_request", "oauth/authorize", "oauth/authorize/sources"]),
    ("/par", "post", &["protocol/authorize_request", "oauth/authorize", "protocol/client_credentials"]),
    (
        "/authorize-challenge",
        "post",
        &["oauth/authorize_challenge", "protocol/authorize_request", "protocol/client_credentials"],
    ),
    ("/device_authorization", "post", &["protocol/device_authorization", "protocol/client_credentials"]),
    ("/revoke", "post", &["oauth", "protocol/client_credentials"]),
    ("/introspect", "post", &["oauth", "protocol/client_credentials"]),
    ("/logout", "get", &["oauth/end_session", "web/pages/logout"]),
];

#[test]
fn the_description_is_made_from_the_code() {
    let app = TestApp::with(&[("registration.mode", "open")]);
    let json = app.relying_party().get("/openapi.json", &[]).json();
    let paths: Vec<_> = json["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        paths,
        [
            "/.well-known/oauth-authorization-server",
            "/account",
            "/authorize",
            "/authorize-challenge",
            "/device",
            "/device_authorization",
            "/introspect",
            "/jwks.json",
            "/livez",
            "/logout",
            "/metrics",
            "/par",
            "/readyz",
            "/register",
            "/register/{client_id}",
            "/revoke",
            "/status",
            "/status/events",
            "/status/receipts",
            "/status/{list}",
            "/token",
            "/userinfo"
        ]
    );
    let party = app.relying_party();
    for path in paths {
        assert_ne!(party.get(&path.replace("{list}", "0"), &[]).status, 404, "{path}");
    }
    assert!(json["paths"]["/token"]["post"]["responses"]["429"].is_object());
}

fn description() -> Value {
    TestApp::start().relying_party().get("/openapi.json", &[]).json()
}

/// The properties of a schema, of those that it refers to and of those that it is made of.
fn properties(description: &Value, schema: &Value) -> BTreeSet<String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/")) {
        return properties(description, &description["components"]["schemas"][name]);
    }
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.chain(parts.flat_map(|part| properties(description, part))).collect()
}

/// The parameters of an endpoint's query or form.
fn described(description: &Value, path: &str, method: &str) -> BTreeSet<String> {
    let endpoint = &description["paths"][path][method];
    let in_query = endpoint["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "query");
    let form = &endpoint["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
    in_query.map(|one| one["name"].as_str().unwrap().to_owned()).chain(properties(description, form)).collect()
}

/// The parameters that a file reads: `find("…")`, `require("…")`, and lists of their names.
fn read_in(file: &str) -> BTreeSet<String> {
    let is_known = |name: &str| KNOWN.iter().chain(&REPEATABLE).any(|known| *known == name);
    let source = fs::read_to_string(format!("src/{file}.rs")).unwrap();
    let code = source.split("#[cfg(test)]").next().unwrap();
    let called = ["find(\"", "require(\""].iter().flat_map(|call| code.split(call).skip(1)).filter_map(|rest| {
        let (name, _) = rest.split_once('"')?;
        Some(name)
    });
    let of_list = |list: &str| -> Vec<String> { list.split('"').skip(1).step_by(2).map(str::to_owned).collect() };
    let lists = code.split('[').skip(1).filter_map(|rest| Some(of_list(rest.split_once(']')?.0)));
    let lists = lists.filter(|list| list.len() > 1 && list.iter().all(|name| is_known(name)));
    let named = [(".resources()", "resource"), (".audiences()", "audience")];
    let repeated = named.iter().filter(|(call, _)| code.contains(call)).map(|(_, name)| (*name).to_owned());
    let all = called.map(str::to_owned).chain(lists.flatten()).chain(repeated);
    all.filter(|name| is_known(name)).collect()
}

#[test]
fn every_parameter_that_an_endpoint_reads_is_described_there() {
    let description = description();
    for (path, method, files) in READERS {
        let mut read: BTreeSet<String> = files.iter().flat_map(|file| read_in(file)).collect();
        let described = described(&description, path, method);
        let of_others = match path {
            // RFC 9126 §2.1: pushed requests have a name only afterwards; objects and names are for browsers.
            "/par" => vec![REFUSED, "request_uri"],
            "/authorize-challenge" => {
                vec![REFUSED, "request", "request_uri", "redirect_uri", "response_mode", "state"]
            }
            _ => vec![REFUSED, "form_token"],
        };
        read.retain(|name| !of_others.contains(&name.as_str()));
        let missing: Vec<_> = read.difference(&described).collect();
        assert!(missing.is_empty() && read.len() > 4, "{path}: {missing:?} of {read:?}");
    }
}

#[test]
fn every_parameter_that_is_known_is_described_somewhere_and_no_other() {
    let description = description();
    let mut all: BTreeSet<String> =
        READERS.iter().flat_map(|(path, method, _)| described(&description, path, method)).collect();
    all.extend(described(&description, "/device", "get"));
    let known = KNOWN.iter().chain(&REPEATABLE).filter(|name| **name != REFUSED && !OF_OUR_PAGES.contains(name));
    assert_eq!(all, known.map(|name| (*name).to_owned()).collect());
    let grant_types = &description["components"]["schemas"]["TokenForm"]["allOf"];
    let text = grant_types.to_string();
    assert!(GrantType::ALL.iter().all(|grant_type| text.contains(grant_type.as_str())), "{text}");
}

#[test]
fn what_a_client_may_register_by_itself_is_described_and_nothing_more() {
    let description = description();
    let members = properties(&description, &description["components"]["schemas"]["ClientMetadataJson"]);
    assert!(members.contains("redirect_uris") && members.len() > 25, "{members:?}");
    assert!(!OPERATORS.iter().any(|member| members.contains(*member)), "{members:?}");
    let pages = &description["components"]["schemas"]["ClientMetadataJson"]["properties"]["jwks_uri"];
    assert!(pages["description"].is_string(), "{pages}");
}
