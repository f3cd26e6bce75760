//! What a client is registered with: an operator replaces it by the command line, and the page for developers lists all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign::admin::{AdminError, clients};
use countersign::protocol::client_credentials::ClientId;
use countersign::protocol::client_metadata::registrant::{Registrable, Registrant};
use countersign::protocol::client_metadata::{ClientMetadata, ClientMetadataJson, MetadataError};
use countersign::protocol::scope::Scope;
use countersign::store::consents;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::cli::{Desk, Served, command};
use crate::relying_party::RelyingParty;

const AUDIT: &str =
    "SELECT event || ' ' || subject || ' ' || details AS line FROM audit_events WHERE event <> 'client_created'";

fn made(desk: &Desk, metadata: &Value) -> Value {
    desk.json(&["clients", "create", "--metadata", "-"], &metadata.to_string())
}

fn replaced(desk: &Desk, id: &str, metadata: &Value) -> Value {
    desk.json(&["clients", "replace", id, "--metadata", "-"], &metadata.to_string())
}

#[test]
fn metadata_is_shown_edited_and_replaced_as_a_whole() {
    let desk = Desk::new();
    let metadata = json!({"client_id": "svc", "client_name": "Service", "grant_types": ["client_credentials"], "scope": "jobs",
        "audiences": ["https://api.example"], "access_token_ttl": 300, "extra_claims": {"tenant": "one"}});
    let before = made(&desk, &metadata);
    let shown = desk.json(&["clients", "show", "svc", "--metadata"], "");
    for members in [&metadata, &shown] {
        let same = members.as_object().unwrap().iter().all(|(name, value)| shown[name] == *value);
        assert!(same && shown.get("secrets").is_none(), "{shown}");
    }
    // What is shown for people is the same JSON.
    let text = desk.run(&["clients", "show", "svc", "--metadata"], "").stdout;
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), shown);
    let again = replaced(&desk, "svc", &shown);
    assert_eq!(desk.json(&["clients", "show", "svc", "--metadata"], ""), shown, "what is shown is what is taken");
    assert_eq!(again["client_id_issued_at"], before["client_id_issued_at"]);
    let mut edited = shown.clone();
    edited["scope"] = "jobs read".into();
    edited.as_object_mut().unwrap().remove("access_token_ttl");
    let file = desk.database.folder.path().join("svc.json");
    std::fs::write(&file, edited.to_string()).unwrap();
    let after = desk.json(&["clients", "replace", "svc", "--metadata", file.to_str().unwrap()], "");
    assert_eq!(
        (&after["scope"], after.get("access_token_ttl")),
        (&"jobs read".into(), None),
        "what is left out is gone"
    );
    assert_eq!(
        (&after["secrets"], after.get("client_secret")),
        (&1.into(), None),
        "its secret stays, and is not shown"
    );
    assert_eq!(after["client_id_issued_at"], before["client_id_issued_at"]);
    let audited: Vec<Value> = desk
        .database
        .lines(AUDIT)
        .iter()
        .map(|line| serde_json::from_str(line.strip_prefix("client_replaced svc ").unwrap()).unwrap())
        .collect();
    let changed = |names: &[&str]| json!({"changed": names, "secret_made": false});
    assert_eq!(audited.len(), 2);
    assert!(
        audited.contains(&changed(&[])) && audited.contains(&changed(&["access_token_ttl", "scope"])),
        "{audited:?}"
    );
}

#[test]
fn metadata_that_is_refused_replaces_nothing() {
    let desk = Desk::new();
    made(&desk, &json!({"client_id": "svc", "grant_types": ["client_credentials"], "scope": "jobs"}));
    let shown = desk.json(&["clients", "show", "svc"], "");
    for (id, metadata, code, named) in [
        ("svc", r#"{"redirect_uri":[]}"#, 1, "redirect_uri"),
        ("svc", r#"{"grant_types":["implicit"]}"#, 1, "grant_types"),
        ("svc", r#"{"token_endpoint_auth_method":"none","grant_types":["client_credentials"]}"#, 1, "grant_types"),
        ("svc", r#"{"token_endpoint_auth_method":"private_key_jwt"}"#, 1, "jwks"),
        ("svc", r#"{"extra_claims":{"sub":1}}"#, 1, "extra_claims"),
        ("svc", r#"{"client_id":"other"}"#, 2, "differ"),
        ("svc", "", 1, "a JSON object is wanted"),
        ("svc", "[]", 1, "a JSON object is wanted"),
        ("svc", r#"{"scope":"jobs""#, 1, "client metadata"),
        ("nobody", "{}", 1, "no such client"),
        ("a b", "{}", 1, "no such client"),
    ] {
        let error = desk.refused(&["clients", "replace", id, "--metadata", "-"], metadata, code);
        assert!(error.contains(named), "{metadata}: {error}");
    }
    desk.refused(&["clients", "replace", "svc"], "", 2);
    assert!(desk.refused(&["clients", "replace", "svc", "--metadata", "no-such-file"], "", 1).contains("no-such-file"));
    assert_eq!(desk.json(&["clients", "show", "svc"], ""), shown);
    assert_eq!(desk.database.lines(AUDIT), Vec::<String>::new());
}

#[test]
fn a_client_that_proves_itself_otherwise_has_the_secret_that_it_needs_and_no_other() {
    let desk = Desk::new();
    let with = |method: &str| {
        json!({"token_endpoint_auth_method": method, "grant_types": ["password"], "scope": "read",
            "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}})
    };
    let first = desk.json(&["clients", "create", "--id", "app", "--grant", "password"], "")["client_secret"].clone();
    let post = replaced(&desk, "app", &with("client_secret_post"));
    assert_eq!((post.get("client_secret"), &post["secrets"]), (None, &1.into()), "one secret is as good as the other");
    for without in ["none", "private_key_jwt"] {
        let bare = replaced(&desk, "app", &with(without));
        assert_eq!((bare.get("client_secret"), &bare["secrets"]), (None, &0.into()), "{without}");
        assert!(desk.refused(&["clients", "rotate-secret", "app"], "", 1).contains("no secret"));
        let basic = replaced(&desk, "app", &with("client_secret_basic"));
        let secret = basic["client_secret"].as_str().unwrap();
        assert!(secret.starts_with("css_") && first != secret && basic["secrets"] == 1, "{without}");
        assert!(desk.json(&["clients", "show", "app"], "").get("client_secret").is_none(), "shown once");
    }
    assert_eq!(desk.database.lines(AUDIT).iter().filter(|line| line.contains(r#""secret_made":true"#)).count(), 2);
    assert!(!desk.database.lines(AUDIT).join(" ").contains("css_"));
}

#[test]
fn a_server_that_runs_goes_by_replaced_metadata_within_a_second_or_so() {
    let desk = Desk::new();
    let served = Served::start(command(desk.database.folder.path(), Some(&desk.database), &["serve"]), 3);
    let metadata = json!({"client_id": "svc", "grant_types": ["client_credentials"], "scope": "jobs"});
    let secret = made(&desk, &metadata)["client_secret"].as_str().unwrap().to_owned();
    let party = RelyingParty::new(&served.base);
    let given = |scope: &str| {
        (0..60).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            party.client_credentials("svc", &secret, &[("scope", scope)]).status == 200
        })
    };
    assert!(given("jobs"));
    replaced(&desk, "svc", &json!({"grant_types": ["client_credentials"], "scope": "read"}));
    assert!(given("read"), "by the secret that it had");
    assert_eq!(party.client_credentials("svc", &secret, &[("scope", "jobs")]).error(), "invalid_scope");
    desk.json(&["clients", "disable", "svc"], "");
    replaced(&desk, "svc", &metadata);
    assert!(desk.json(&["clients", "show", "svc"], "")["disabled_at"].is_string(), "it stays disabled");
}

#[test]
fn what_was_granted_goes_on_as_it_was_granted_when_the_client_may_ask_for_less() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let less =
        json!({"token_endpoint_auth_method": "none", "grant_types": ["password", "refresh_token"], "scope": "read"});
    let (_, less) = ClientMetadata::parse(&less.to_string()).unwrap();
    clients::replace(&app.app, "web", less, "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    let refreshed = party.refresh("web", tokens.refresh_token()).tokens();
    assert_eq!(
        (&refreshed.claims()["scope"], &refreshed.claims()["aud"]),
        (&"read write".into(), &tokens.claims()["aud"])
    );
    let (_, email) = app.account();
    let anew = party.log_in("web", &email).tokens();
    assert_eq!(anew.claims()["scope"], "read");
}

#[test]
fn people_are_asked_anew_by_a_client_of_another_name_or_place_and_by_no_other() {
    let app = TestApp::start();
    let (account, _) = app.account();
    let with = |name: &str, callback: &str, scope: &str| {
        let json = json!({"client_name": name, "grant_types": ["authorization_code"], "redirect_uris": [callback], "scope": scope});
        ClientMetadata::parse(&json.to_string()).unwrap().1
    };
    let (one, other) = ("https://app.example/cb", "https://app.example/other");
    clients::create(&app.app, "app", with("App", one, "read"), "test").unwrap();
    for (metadata, forgotten) in [
        (with("App", one, "read write"), false),
        (with("Bank", one, "read write"), true),
        (with("Bank", other, "read write"), true),
    ] {
        let (id, now) = (ClientId::parse("app").unwrap(), app.app.clock.now());
        let scope = Scope::parse("read").map_err(|refusal| refusal.reason).unwrap();
        app.app.db.write(move |tx| consents::put(tx, (account.id, &id), &scope, now)).unwrap();
        clients::replace(&app.app, "app", metadata, "test").unwrap();
        let left = app.database.lines("SELECT client_id AS line FROM consents");
        assert_eq!(left.is_empty(), forgotten, "{left:?}");
    }
}

/// The members of the table of docs/CLIENTS.md, and who sets each.
fn listed() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string("docs/CLIENTS.md").unwrap();
    let (_, table) = page.split_once("| member | means | by default | set by |\n|---|---|---|---|\n").unwrap();
    let mut listed = BTreeMap::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [members, means, default, by] = cells.as_slice() else { panic!("{row}") };
        assert!(!means.is_empty() && !default.is_empty(), "{row}");
        for member in members.split('`').skip(1).step_by(2) {
            assert_eq!(listed.insert(member.to_owned(), (*by).to_owned()), None, "{member} is there twice");
        }
    }
    listed
}

#[test]
fn the_page_lists_every_member_and_who_sets_it() {
    let refused = ClientMetadata::parse(r#"{"?":0}"#).map(drop).unwrap_err().to_string();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for member in refused.split('`').skip(3).step_by(2) {
        let json = json!({"redirect_uris": ["https://app.example/cb"], member: 0}).to_string();
        let refused = Registrant::parse(json.as_bytes(), &Registrable::default()).map(drop);
        let is_operators = matches!(refused, Err(MetadataError::NotForRegistrants { .. })) || member == "client_id";
        known.insert(member.to_owned(), if is_operators { "operators" } else { "registrants too" }.to_owned());
    }
    assert!(known.len() > 40, "{refused}");
    assert_eq!(listed(), known);
}

#[test]
fn of_two_replacements_at_once_one_makes_the_secret() {
    let app = TestApp::start();
    app.public_client();
    let metadata = || ClientMetadata::try_from(ClientMetadataJson::default()).unwrap();
    let held = app.database.hold("UPDATE clients SET not_before = not_before", "ROLLBACK");
    let shown = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| clients::replace(&app.app, "web", metadata(), "test").unwrap().1));
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
        both.map(|replacing| replacing.join().unwrap().is_some())
    });
    assert_eq!(shown.into_iter().filter(|shown| *shown).count(), 1, "{shown:?}");
    assert_eq!(clients::find(&app.app, "web").unwrap().secrets.len(), 1);
}

#[test]
fn of_two_rotations_at_once_one_makes_a_secret() {
    let app = TestApp::start();
    app.confidential_client();
    // Whoever has looked at the secrets waits here with what it adds.
    let held = app.database.hold("UPDATE epochs SET value = value", "ROLLBACK");
    let rotated = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| clients::rotate_secret(&app.app, "svc", "test")));
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
        both.map(|rotating| rotating.join().unwrap())
    });
    assert_eq!(rotated.iter().filter(|rotated| rotated.is_ok()).count(), 1);
    assert!(rotated.iter().any(|rotated| matches!(rotated, Err(AdminError::TwoSecretsInForce))));
    assert_eq!(clients::find(&app.app, "svc").unwrap().secrets.len(), 2);
}

#[test]
fn a_secret_is_not_made_for_a_client_that_gives_its_secrets_up_at_that_moment() {
    let app = TestApp::start();
    app.confidential_client();
    let held = app.database.hold("UPDATE epochs SET value = value", "ROLLBACK");
    std::thread::scope(|scope| {
        let public = r#"{"token_endpoint_auth_method":"none","grant_types":["password"],"scope":"read"}"#;
        let public = ClientMetadata::parse(public).unwrap().1;
        let replacing = scope.spawn(|| clients::replace(&app.app, "svc", public, "test").map(drop));
        std::thread::sleep(Duration::from_millis(300));
        let rotating = scope.spawn(|| clients::rotate_secret(&app.app, "svc", "test").map(drop));
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
        replacing.join().unwrap().unwrap();
        assert!(matches!(rotating.join().unwrap(), Err(AdminError::PublicClientHasNoSecret)));
    });
    assert_eq!(clients::find(&app.app, "svc").unwrap().secrets.len(), 0);
}
