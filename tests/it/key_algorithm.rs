//! What keys sign by: a server set to PS256, one that moves from one algorithm to the other, and whoever mixes them up.
//! What the server signs is verified by a library that is not ours.

use std::sync::Arc;
use std::time::Duration;

use countersign::admin::clients;
use countersign::admin::keys;
use countersign::app::App;
use countersign::clock::Clock;
use countersign::protocol::client_metadata::ClientMetadata;
use countersign::protocol::jose::OwnAlgorithm;
use countersign::secret::{Digest, encode_base64url};
use countersign::store::signing_keys::KeyState;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::app::{AUDIENCE, BEGINNING, Backend, TestApp, TestDatabase};
use crate::browser::{Browser, CALLBACK, CodeRequest, code};
use crate::client_key::ClientKey;
use crate::key_life::{in_state, openssl, pass, wait_for};
use crate::receiver::Receiver;

const DAY: Duration = Duration::from_hours(24);

/// A server that signs by this algorithm from its first start.
fn server(algorithm: &str, more: &[(&str, &str)]) -> TestApp {
    let settings = [&[("keys.algorithm", algorithm)], more].concat();
    TestApp::on(Arc::new(TestDatabase::empty()), Clock::manual(BEGINNING), &settings)
}

fn jwks(app: &TestApp) -> Value {
    app.relying_party().get("/jwks.json", &[]).json()
}

fn algorithms(jwks: &Value) -> Vec<&str> {
    jwks["keys"].as_array().unwrap().iter().map(|key| key["alg"].as_str().unwrap()).collect()
}

/// What the metadata says of signatures, once, since it says it twice.
#[track_caller]
fn metadata(app: &TestApp) -> Value {
    let document = app.relying_party().get("/.well-known/openid-configuration", &[]).json();
    assert_eq!(document["id_token_signing_alg_values_supported"], document["userinfo_signing_alg_values_supported"]);
    document["id_token_signing_alg_values_supported"].clone()
}

/// The algorithm of a token that is good under that JWKS, to a library that takes the algorithm from the key; and its claims.
#[track_caller]
fn verified(jwks: &Value, token: &str) -> (String, Value) {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let named = |key: &&Value| key["kid"] == *header.kid.as_ref().unwrap();
    let key = jwks["keys"].as_array().unwrap().iter().find(named).expect("a verifier lacks the key");
    let alg = key["alg"].as_str().unwrap();
    let key = DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap()).unwrap();
    let mut rules = Validation::new(alg.parse::<Algorithm>().unwrap());
    // The clock is the test's.
    (rules.validate_exp, rules.validate_aud) = (false, false);
    rules.required_spec_claims.clear();
    (alg.to_owned(), jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap().claims)
}

fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_else(|| panic!("no {name}: {json}")).to_owned()
}

fn userinfo(app: &TestApp, token: &str) -> crate::relying_party::Answer {
    app.relying_party().get("/userinfo", &[("Authorization", &format!("Bearer {token}"))])
}

/// A client that is told everything that can be signed, by `algorithm` as it is registered.
fn told_everything(algorithm: &str) -> Value {
    json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": [CALLBACK], "scope": "openid email offline_access", "audiences": [AUDIENCE], "first_party": true,
        "userinfo_signed_response_alg": algorithm, "id_token_signed_response_alg": algorithm })
}

/// A person who logs in at the client `app`: the browser, and the answer of the token endpoint.
fn log_in(app: &TestApp) -> (Browser, Value) {
    let (_, email) = app.account();
    let browser = Browser::new(app);
    let request = CodeRequest::of("app", CALLBACK).with("scope", "openid email offline_access");
    let done = browser.log_in(&browser.get(&request.path()), &email);
    let tokens = request.redeem(&app.relying_party(), &code(&done), &[]).json();
    (browser, tokens)
}

#[test]
fn a_server_set_to_ps256_from_its_first_start_signs_everything_by_it() {
    let (app, receiver) = (server("PS256", &[("fetch.allow_loopback", "true")]), Receiver::start());
    let mut client = told_everything("PS256");
    client["backchannel_logout_uri"] = json!(format!("{}/out", receiver.base));
    app.client("app", client);
    assert_eq!((algorithms(&jwks(&app)), metadata(&app)), (vec!["PS256", "PS256"], json!(["PS256"])));
    let (browser, tokens) = log_in(&app);
    let (access, id_token) = (text(&tokens, "access_token"), text(&tokens, "id_token"));
    let told = userinfo(&app, &access);
    assert_eq!(told.header("content-type"), Some("application/jwt"));
    let list = app.relying_party().get("/status/0", &[]).body;
    // Its own ID token is understood (OpenID Connect RP-Initiated Logout §2).
    assert!(browser.get(&format!("/logout?id_token_hint={id_token}")).body.contains("You are logged out"));
    let notice = receiver.wait_for(1)[0].1.strip_prefix("logout_token=").unwrap().to_owned();
    for (typ, token) in [
        ("at+jwt", &access),
        ("JWT", &id_token),
        ("userinfo+jwt", &told.body),
        ("statuslist+jwt", &list),
        ("logout+jwt", &notice),
    ] {
        let header = jsonwebtoken::decode_header(token).unwrap();
        assert_eq!((header.typ.as_deref(), header.alg), (Some(typ), Algorithm::PS256));
        let (_, claims) = verified(&jwks(&app), token);
        assert_eq!(claims.get("iss").unwrap_or(&json!(app.base)), &json!(app.base), "{typ}");
        // RFC 7518 §3.5: the same key, asked by the other algorithm, did not make it.
        let otherwise: Value = serde_json::from_str(&jwks(&app).to_string().replace("PS256", "RS256")).unwrap();
        assert!(std::panic::catch_unwind(|| verified(&otherwise, token)).is_err(), "{typ}");
    }
    // OpenID Connect Core §3.1.3.6: by the hash of the algorithm, SHA-256.
    let half = encode_base64url(&Digest::sha256(access.as_bytes()).as_bytes()[..16]);
    assert_eq!(verified(&jwks(&app), &id_token).1["at_hash"], half);
    // And by the crate that services verify with.
    let keys = countersign_verifier::KeySet::parse(jwks(&app).to_string().as_bytes()).unwrap();
    assert_eq!(keys.kids().count(), 2);
    let now = app.app.clock.now().unix_seconds();
    countersign_verifier::verify_own::<Value>(&access, &app.base, &keys, now).unwrap();
}

/// Lets the standby sign, as it would by itself when it has been published for long enough.
#[track_caller]
fn rotate(app: &TestApp) {
    pass(&app.database, DAY, "'standby'");
    wait_for("the rotation", || {
        keys::rotate(&app.app, None, keys::Run { force: false, dry_run: false }, "a test").is_ok()
    });
    wait_for("this instance follows", || {
        let active = in_state(&app.app, KeyState::Active);
        let published = jwks(app)["keys"].as_array().unwrap().len() == app.app.keyring.list().len();
        published
            && app.app.keyring.list().iter().any(|key| key.state == KeyState::Active && active == [key.kid.clone()])
    });
}

/// A server that signs by one algorithm is set to the other while it runs, and rotates twice.
#[track_caller]
fn moves(from: &str, to: &str) {
    let before = server(from, &[]);
    before.app.reload_keys().unwrap();
    let secret = before.confidential_client();
    before.client("app", told_everything(from));
    let (_, first) = log_in(&before);
    let app = before.second_instance_with(&[("keys.algorithm", to)]);
    drop(before);
    let party = app.relying_party();
    let sign = || party.client_credentials("svc", &secret, &[]).tokens().access;
    let mut given = vec![text(&first, "access_token"), sign()];
    let good_under =
        |jwks: &Value, given: &[String]| given.iter().map(|token| verified(jwks, token).0).collect::<Vec<_>>();
    // The setting is for keys that are made from now on.
    assert_eq!((algorithms(&jwks(&app)), metadata(&app)), (vec![from, from], json!([from])));
    let both = json!(["RS256", "PS256"]);
    for (signs, published, said) in [(from, vec![from, from, to], both), (to, vec![from, from, to, to], json!([to]))] {
        let cached = jwks(&app);
        rotate(&app);
        given.push(sign());
        let fresh = jwks(&app);
        assert_eq!((algorithms(&fresh), metadata(&app)), (published, said));
        // RFC 7517 §4.4: what a key is for does not change while a verifier has it in his cache.
        for key in cached["keys"].as_array().unwrap() {
            assert!(fresh["keys"].as_array().unwrap().contains(key), "{key}");
        }
        // Whoever has the JWKS from before the rotation, and whoever has it from after, takes everything.
        assert_eq!(good_under(&cached, &given).last().unwrap(), signs);
        assert_eq!(good_under(&fresh, &given)[..2], [from, from]);
        // And so does the server itself, by the algorithm of each key.
        for token in &given {
            assert_eq!(party.introspect("svc", &secret, token).json()["active"], true);
        }
    }
    // A person of before: what is signed of him now is signed by the new algorithm, whatever the client was registered with.
    let told = userinfo(&app, &given[0]);
    assert_eq!((told.status, verified(&jwks(&app), &told.body).0.as_str()), (200, to));
    let refreshed = party.refresh("app", &text(&first, "refresh_token")).json();
    assert_eq!(verified(&jwks(&app), &text(&refreshed, "id_token")).0, to);
    let hinted = Browser::new(&app).get(&format!("/logout?id_token_hint={}", text(&first, "id_token")));
    assert_eq!(hinted.status, 200, "an ID token of before is still ours: {}", hinted.body);
    // Registered otherwise, it has to say what is so, or nothing.
    let replace = |metadata: &Value| {
        let (_, metadata) = ClientMetadata::parse(&metadata.to_string()).unwrap();
        clients::replace(&app.app, "app", metadata, "a test").map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = replace(&told_everything(from)).unwrap_err();
    assert_eq!(
        refused,
        format!("client metadata: id_token_signed_response_alg: this server signs by {to} alone: that, or nothing")
    );
    replace(&told_everything(to)).unwrap();
    // What was signed by the former algorithm ends when it expires, and not before.
    app.advance(Duration::from_secs(599));
    assert_eq!(party.introspect("svc", &secret, &given[1]).json()["active"], true);
    app.advance(Duration::from_secs(2));
    assert_eq!(party.introspect("svc", &secret, &given[1]).json()["active"], false);
}

#[test]
fn a_server_moves_to_ps256_by_rotation_and_nobody_refuses_anything() {
    moves("RS256", "PS256");
}

#[test]
fn a_server_moves_back_to_rs256_by_rotation() {
    moves("PS256", "RS256");
}

#[test]
fn a_signature_by_another_algorithm_than_the_keys_is_refused_though_the_key_made_it() {
    for (own, other) in [("RS256", "PS256"), ("PS256", "RS256")] {
        let app = server(own, &[]);
        let secret = app.confidential_client();
        app.client("app", told_everything(own));
        // A key whose private half we know.
        let pem = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-quiet"]);
        let (key, kid) = (ClientKey::rsa_of(&pem), crate::key_life::import(&app, &pem).unwrap());
        app.app.reload_keys().unwrap();
        let (_, tokens) = log_in(&app);
        let (_, access) = verified(&jwks(&app), &text(&tokens, "access_token"));
        let (_, id_token) = verified(&jwks(&app), &text(&tokens, "id_token"));
        let signed = |alg: &str, typ: &str, claims: &Value| {
            key.sign_with(&json!({ "alg": alg, "typ": typ, "kid": kid }), claims)
        };
        // The header says the one and the signature is the other.
        let mixed = |typ: &str, claims: &Value| {
            let (says, made) = (signed(own, typ, claims), signed(other, typ, claims));
            format!("{}.{}", says.rsplit_once('.').unwrap().0, made.rsplit_once('.').unwrap().1)
        };
        let is_active =
            |token: &str| app.relying_party().introspect("svc", &secret, token).json()["active"] == json!(true);
        assert!(is_active(&signed(own, "at+jwt", &access)), "{own}: the key is one of ours");
        assert_eq!(userinfo(&app, &signed(own, "at+jwt", &access)).status, 200);
        for bad in [signed(other, "at+jwt", &access), mixed("at+jwt", &access)] {
            assert!(!is_active(&bad), "{other} with a key for {own}");
            assert_eq!(userinfo(&app, &bad).status, 401);
        }
        app.app.keyring.verify_id_token(&signed(own, "JWT", &id_token), &app.base).unwrap();
        for alg in ["none", "HS256", "RS512"] {
            assert!(!is_active(&signed(alg, "at+jwt", &access)), "{alg}");
        }
        for bad in [signed(other, "JWT", &id_token), mixed("JWT", &id_token)] {
            assert!(app.app.keyring.verify_id_token(&bad, &app.base).is_err(), "{other} with a key for {own}");
        }
    }
}

#[test]
fn a_client_cannot_pick_another_algorithm_than_its_server_signs_by() {
    for (own, other) in [("RS256", "PS256"), ("PS256", "RS256")] {
        let app = server(own, &[("registration.mode", "open")]);
        let create = |id: &str, member: &str, alg: &str| {
            let json = json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], member: alg });
            let (_, metadata) = ClientMetadata::parse(&json.to_string()).unwrap();
            clients::create(&app.app, id, metadata, "test").map(|_| ()).map_err(|error| error.to_string())
        };
        let register = |more: &Value| {
            let mut body = json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let headers = [("Content-Type", "application/json")];
            app.relying_party().send("POST", "/register", &headers, body.to_string().as_bytes())
        };
        for member in ["id_token_signed_response_alg", "userinfo_signed_response_alg"] {
            let refused = create("x", member, other).unwrap_err();
            assert_eq!(
                refused,
                format!("client metadata: {member}: this server signs by {own} alone: that, or nothing")
            );
            create(&member[..8], member, own).unwrap();
            let answer = register(&json!({ member: other }));
            assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client_metadata"), "{}", answer.body);
            assert!(answer.body.contains(member), "{}", answer.body);
            let answer = register(&json!({ member: own }));
            assert_eq!((answer.status, &answer.json()[member]), (201, &json!(own)), "{}", answer.body);
        }
        // OpenID Connect Registration §2: whoever is told nothing takes it for RS256.
        let told = register(&json!({})).json();
        let expected = if own == "RS256" { Value::Null } else { json!("PS256") };
        assert_eq!(
            (&told["id_token_signed_response_alg"], &told["userinfo_signed_response_alg"]),
            (&expected, &Value::Null)
        );
    }
}

#[test]
fn a_key_from_elsewhere_has_the_algorithm_of_the_setting_unless_it_is_said() {
    let app = server("PS256", &[]);
    let pem = || openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-quiet"]);
    let usual = crate::key_life::import(&app, &pem()).unwrap();
    let mut life = app.app.key_life();
    life.kind.algorithm = OwnAlgorithm::Rs256;
    let said = life.import(&pem(), "a test", false).unwrap();
    let public = countersign::keys::public_forms(&app.app.keyring.list()[0]).unwrap().0;
    assert!(life.import_public(("theirs", &public), DAY, "a test", false).is_err(), "it is ours");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem()).unwrap();
    let public = openssl(&["pkey", "-pubout", "-in", file.path().to_str().unwrap()]);
    life.import_public(("theirs", &public), DAY, "a test", false).unwrap();
    app.app.reload_keys().unwrap();
    let jwks = jwks(&app);
    let alg = |kid: &str| jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap()["alg"].clone();
    assert_eq!((alg(&usual), alg(&said), alg("theirs")), (json!("PS256"), json!("RS256"), json!("RS256")));
    // What somebody else's key signed by is nothing that we do; what stands by is.
    assert_eq!(metadata(&app), json!(["RS256", "PS256"]));
    keys::compromise(&app.app, &said, false, "a test").unwrap();
    app.app.reload_keys().unwrap();
    assert_eq!(metadata(&app), json!(["PS256"]));
    let details = app.database.lines("SELECT details AS line FROM audit_events WHERE event = 'key_imported'");
    assert_eq!(details.iter().filter(|line| line.contains(r#""algorithm":"RS256""#)).count(), 2, "{details:?}");
}

#[test]
fn a_row_whose_algorithm_somebody_else_changed_is_refused() {
    let database = Arc::new(TestDatabase::empty());
    let open = |algorithm| {
        let settings = database.settings(&[("keys.algorithm", algorithm)]);
        App::open(settings, "http://127.0.0.1".to_owned(), Clock::system())
    };
    let instances = [open("PS256").unwrap(), open("RS256").unwrap()];
    assert_eq!(database.lines("SELECT DISTINCT algorithm AS line FROM signing_keys"), ["PS256"]);
    drop(instances);
    for other in ["RS256", "PS256"] {
        database.execute(&format!("UPDATE signing_keys SET algorithm = '{other}' WHERE state = 'standby'"));
        assert_eq!(open("PS256").is_ok(), other == "PS256", "{other}");
    }
    // Keys from before there was a choice.
    let prepared = TestDatabase::prepared();
    assert_eq!(prepared.lines("SELECT DISTINCT algorithm AS line FROM signing_keys"), ["RS256"]);
    let unknown = std::panic::catch_unwind(|| prepared.execute("UPDATE signing_keys SET algorithm = 'ES256'"));
    assert!(unknown.is_err(), "the database knows both");
}

#[test]
fn the_way_back_takes_keys_for_ps256_out_of_the_jwks() {
    let backend = if crate::app::backend() == Backend::Sqlite { "sqlite" } else { "postgres" };
    let down =
        std::fs::read_to_string(format!("migrations/{backend}/2026-11-23-190000_key_algorithm/down.sql")).unwrap();
    let go_back = |database: &TestDatabase| {
        database.execute(&down);
        database.execute("DELETE FROM __diesel_schema_migrations WHERE version = '20261123190000'");
    };
    let open = |database: &TestDatabase| {
        App::open(database.settings(&[]), "http://127.0.0.1".to_owned(), Clock::system()).unwrap()
    };
    let states =
        |app: &App| app.keyring.list().iter().map(|key| (key.state.as_str(), key.algorithm)).collect::<Vec<_>>();
    let new = [("active", OwnAlgorithm::Rs256), ("standby", OwnAlgorithm::Rs256)];
    // Where one stands by, it goes and the others stay.
    let database = TestDatabase::prepared();
    let app = open(&database);
    let kids: Vec<String> = app.keyring.list().into_iter().map(|key| key.kid).collect();
    let mut life = app.key_life();
    life.kind.algorithm = OwnAlgorithm::Ps256;
    let gone = life.generate("a test").unwrap();
    drop(app);
    go_back(&database);
    let app = open(&database);
    assert_eq!(states(&app), new);
    assert_eq!(app.keyring.list().into_iter().map(|key| key.kid).collect::<Vec<_>>(), kids);
    assert_eq!(in_state(&app, KeyState::Retired), [gone]);
    // Where one signed, all go, and the next start makes new ones.
    let database = TestDatabase::empty();
    let settings = database.settings(&[("keys.algorithm", "PS256")]);
    let app = App::open(settings, "http://127.0.0.1".to_owned(), Clock::system()).unwrap();
    let mut life = app.key_life();
    life.kind.algorithm = OwnAlgorithm::Rs256;
    life.generate("a test").unwrap();
    drop(app);
    go_back(&database);
    let app = open(&database);
    assert_eq!((states(&app), in_state(&app, KeyState::Retired).len()), (new.to_vec(), 3));
}
