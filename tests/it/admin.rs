//! What operators may and may not make.

use countersign::admin::grants::{self, Whose};
use countersign::admin::{AdminError, accounts, clients};
use countersign::protocol::client_metadata::{ClientMetadata, ClientMetadataJson};
use countersign::secret::PlainSecret;

use crate::app::{PASSWORD, TestApp};
use crate::cli::Desk;

fn new(email: &str, username: Option<&str>, password: &str) -> accounts::NewAccount {
    accounts::NewAccount {
        email: email.to_owned(),
        username: username.map(str::to_owned),
        roles: Vec::new(),
        password: PlainSecret::new(password),
        claims: serde_json::Map::new(),
    }
}

#[test]
fn a_name_belongs_to_one_account_whatever_its_spelling() {
    let app = TestApp::start();
    accounts::create(&app.app, &new("ada@people.test", Some("ada"), PASSWORD), "test").unwrap();
    for (email, username) in
        [("ADA@People.Test", None), ("other@people.test", Some("ADA")), ("other@people.test", Some("\u{ff41}da"))]
    {
        let refused = accounts::create(&app.app, &new(email, username, PASSWORD), "test");
        assert!(matches!(refused, Err(AdminError::Taken(_))), "{email} {username:?}");
    }
    assert_eq!(accounts::list(&app.app, None, 100).unwrap().len(), 1);
}

#[test]
fn passwords_are_long_and_do_not_name_their_owner() {
    let app = TestApp::start();
    let create = |password: &str| {
        accounts::create(&app.app, &new("grace@people.test", Some("hopper"), password), "test").map(|_| ())
    };
    let long = format!("hunter-canary-{}", "a".repeat(1024));
    assert!(matches!(create("hunter-canary-"), Err(AdminError::PasswordTooShort(15))));
    assert!(matches!(create(&long), Err(AdminError::PasswordTooLong(1024))));
    for named in ["hunter-canary-of-Grace", "hunter-canary-HOPPER", "hunter-canary-countersign"] {
        assert!(matches!(create(named), Err(AdminError::PasswordNamesItsOwner)), "{named}");
    }
    // Fifteen characters, not bytes, and any of Unicode.
    assert!(create("hunter-canary-\u{1f511}").is_ok());
    // Nor the service, as people know it: four bytes of it or more.
    for (service_name, refused) in [("Orchard", true), ("ORCH\u{c4}RD", false), ("Dor", false)] {
        let app = TestApp::with(&[("pages.service_name", service_name)]);
        let created = accounts::create(&app.app, &new("grace@people.test", None, "hunter-canary-oRcHaRdoR"), "test");
        assert_eq!(matches!(created, Err(AdminError::PasswordNamesItsOwner)), refused, "{service_name}");
    }
}

#[test]
fn a_client_id_can_be_neither_a_resource_nor_a_person() {
    let app = TestApp::start();
    let (account, _) = app.account();
    let create = |id: &str| {
        clients::create(&app.app, id, ClientMetadata::try_from(ClientMetadataJson::default()).unwrap(), "test")
    };
    let sub = account.id.to_string();
    for id in ["", "https://api.example", "a b", "a/b", "urn:x", "\u{e4}", &sub, &"a".repeat(129)] {
        assert!(matches!(create(id), Err(AdminError::MalformedClientId)), "{id}");
    }
    assert!(create("web-1.2_3~4").is_ok());
    assert!(matches!(create("web-1.2_3~4"), Err(AdminError::Taken(_))));
}

#[test]
fn a_public_client_has_no_secret() {
    let app = TestApp::start();
    app.public_client();
    assert!(matches!(clients::rotate_secret(&app.app, "web", "test"), Err(AdminError::PublicClientHasNoSecret)));
    assert!(matches!(clients::rotate_secret(&app.app, "nobody", "test"), Err(AdminError::NotFound(_))));
}

#[test]
fn ending_an_accounts_grants_ends_all_of_them_and_no_others() {
    let app = TestApp::start();
    app.public_client();
    let ((account, email), (_, other_email)) = (app.account(), app.account());
    let party = app.relying_party();
    let mine = [0, 1].map(|_| party.log_in("web", &email).tokens());
    let other = party.log_in("web", &other_email).tokens();
    assert_eq!(accounts::count_live_grants(&app.app, account.id).unwrap(), 2);
    let end = || grants::end(&app.app, Whose::Account(account.id), false, "test").unwrap().grants;
    assert_eq!((end(), end()), (2, 0));
    for tokens in mine {
        assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_grant");
    }
    party.refresh("web", other.refresh_token()).tokens();
}

/// Every command that changes accounts, clients or registration tokens, what it is given on standard input, and what it leaves in
/// the audit trail: the event and its subject, and members of its details.
#[test]
fn every_change_of_an_operators_leaves_one_row_and_a_refused_one_none() {
    const ROWS: &str = "SELECT actor || '|' || event || '|' || subject || '|' || details AS line FROM audit_events";
    let desk = Desk::new();
    let (email, anew) = ("ada@people.test", "hunter-canary-anew");
    let create = ["accounts", "create", "--email", email, "--role", "editor", "--password-stdin"];
    let id = desk.json(&create, PASSWORD)["id"].as_str().unwrap().to_owned();
    let mut seen = desk.database.lines(ROWS);
    let created = format!(r#"account_created|{id}|{{"roles":["editor"]}}"#);
    assert!(seen.len() == 1 && seen[0].starts_with("command line, uid ") && seen[0].ends_with(&created), "{seen:?}");
    let client = ["clients", "create", "--id", "web", "--grant", "client_credentials"];
    for (arguments, input, left) in [
        (&["accounts", "disable", email][..], "", format!(r#"account_disabled|{id}|{{"ended":0}}"#)),
        (&["accounts", "enable", email], "", format!("account_enabled|{id}|{{}}")),
        (&["accounts", "set-password", email, "--password-stdin"], anew, format!(r#"password_set|{id}|{{"ended":0}}"#)),
        (&client, "", r#"client_created|web|{"secret_made":true}"#.to_owned()),
        (&["clients", "rotate-secret", "web"], "", "client_secret_made|web|{}".to_owned()),
        (&["clients", "rotate-secret", "web", "--drop-old"], "", "client_secret_dropped|web|{}".to_owned()),
        (&["clients", "disable", "web"], "", "client_disabled|web|{}".to_owned()),
        (&["clients", "enable", "web"], "", "client_enabled|web|{}".to_owned()),
        (
            &["registration-tokens", "create", "--uses", "3"],
            "",
            r#"registration_token_made||{"expires_at":"#.to_owned(),
        ),
        (&["registration-tokens", "revoke-all"], "", r#"registration_tokens_revoked||{"revoked":1}"#.to_owned()),
    ] {
        desk.json(arguments, input);
        let after = desk.database.lines(ROWS);
        let new: Vec<&String> = after.iter().filter(|row| !seen.contains(row)).collect();
        assert!(after.len() == seen.len() + 1 && new[0].contains(&format!("|{left}")), "{arguments:?}: {new:?}");
        seen = after;
    }
    for (arguments, input) in [
        (&create[..], PASSWORD),
        (&["accounts", "set-password", email, "--password-stdin"], "short"),
        (&["accounts", "disable", "nobody"], ""),
        (&client, ""),
        (&["clients", "rotate-secret", "web", "--drop-old"], ""),
        (&["clients", "enable", "nobody"], ""),
        (&["clients", "disable", "nobody"], ""),
        (&["registration-tokens", "create", "--uses", "0"], ""),
    ] {
        desk.refused(arguments, input, 1);
        assert_eq!(desk.database.lines(ROWS).len(), seen.len(), "{arguments:?}");
    }
    assert!(!seen.iter().any(|row| row.contains(email) || row.contains("hunter-canary")), "{seen:?}");
}
