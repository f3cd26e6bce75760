//! What clients that registered themselves may take of what all share: anybody may be behind one, secret or not.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign::admin::registration_tokens;
use countersign::client_keys::KeysAway;
use countersign::fetch::Caller;
use countersign::jobs::sweep::Sweep;
use countersign::protocol::client_credentials::ClientId;
use countersign::protocol::client_metadata::ClientMetadata;
use countersign::protocol::scope::Scope;
use countersign::secret::Random;
use countersign::store::clients::Client;
use countersign::store::consents;
use serde_json::{Value, json};

use super::registration::{allowed, open, public, registered, send, text, web};
use crate::app::{AUDIENCE, TestApp};
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code};
use crate::client_key::{ClientKey, asserted, ath};
use crate::document_server::DocumentServer;
use crate::receiver::{Receiver, SILENCE};
use crate::relying_party::{Answer, basic};

const TOKEN: (&str, &str) = ("POST", "/token");

/// An open server that may call clients on this machine, with some settings more.
fn bench(more: &[(&str, &str)]) -> TestApp {
    let settings = [
        ("registration.mode", "open"),
        ("registration.allowed_scope", "openid email offline_access read"),
        ("registration.allowed_audiences", AUDIENCE),
        ("fetch.allow_loopback", "true"),
        ("http.trusted_proxies", "127.0.0.1/32"),
    ];
    TestApp::with(&[&settings[..], more].concat())
}

/// A network that no other test is in, since they share what counts.
fn network() -> String {
    let [one, two, three, four] = Random.bytes::<4>();
    format!("2001:{one:x}{two:02x}:{three:x}{four:02x}::1")
}

#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says that it is over, however it ended.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Does something while registrants have every way out that they may have.
fn while_none_may_call<T>(app: &TestApp, work: impl FnOnce() -> T) -> T {
    let slow = DocumentServer::start(&json!("x"));
    slow.says("hang");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let _ = app.app.fetcher.get(&slow.uri, Caller::Registrant);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        eventually("they call", || slow.asked.load(Ordering::SeqCst) >= 3);
        work()
    })
}

fn client(app: &TestApp, id: &str) -> Client {
    let id = ClientId::parse(id).unwrap();
    Client::clone(&app.app.clients.find(&id).unwrap())
}

#[test]
fn what_is_kept_of_a_registrant_is_what_is_known_and_little() {
    let app = open();
    let (key, party) = (ClientKey::p256(), app.relying_party());
    let mut body = public();
    body["jwks"] = key.jwks();
    body["jwks"]["keys"][0]["more"] = json!(vec![0; 20_000]);
    body["jwks"]["more"] = json!([[[[]]]]);
    let (path, json) = registered(&app, &body);
    assert_eq!(json["jwks"], key.jwks(), "and it is told so");
    let row = app.database.lines("SELECT metadata AS line FROM clients").concat();
    assert!(row.len() < 2000, "{row}");
    let long = |count: usize| {
        let mut body = public();
        body["client_id"] = json["client_id"].clone();
        body["redirect_uris"] = (0..count).map(|nth| format!("https://{nth}.example/{}", "a".repeat(1900))).collect();
        body
    };
    let token = json["registration_access_token"].as_str();
    for answer in [send(&party, "POST", "/register", None, &long(9)), send(&party, "PUT", &path, token, &long(9))] {
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client_metadata"));
        assert_eq!(answer.json()["error_description"], "the metadata is more than 16 KiB");
    }
    assert_eq!(send(&party, "PUT", &path, token, &long(7)).status, 200);
}

#[test]
fn registrants_take_no_place_from_clients_that_an_operator_made() {
    let app = bench(&[]);
    let (id, key) = (registered(&app, &public()).1["client_id"].as_str().unwrap().to_owned(), ClientKey::p256());
    let server = DocumentServer::start(&key.jwks());
    app.client("bank", json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": server.uri }));
    // One whose keys are nowhere, over and over.
    let nowhere = json!({ "jwks_uri": "https://10.0.0.1/" }).to_string();
    let registrant = Client { metadata: ClientMetadata::parse(&nowhere).unwrap().1, ..client(&app, &id) };
    let find = |client: &Client| app.app.client_keys.find_all(&app.app.fetcher, client, app.app.clock.monotonic());
    for nth in 0..1000 {
        let other = Client { id: ClientId::parse(&format!("r{nth}")).unwrap(), ..registrant.clone() };
        assert_eq!(find(&other), Err(KeysAway::Unusable));
    }
    assert_eq!(find(&registrant), Err(KeysAway::BeingFetched), "there is no room for more of them");
    assert!(find(&client(&app, "bank")).is_ok());
}

#[test]
fn keys_that_are_known_are_used_while_nobody_can_be_asked_for_others() {
    let app = bench(&[]);
    let key = ClientKey::p256();
    let server = DocumentServer::start(&key.jwks());
    let mut body = web();
    (body["token_endpoint_auth_method"], body["jwks_uri"]) = (json!("private_key_jwt"), json!(server.uri));
    let (_, json) = registered(&app, &body);
    let registrant = client(&app, text(&json, "client_id"));
    let find = || app.app.client_keys.find_all(&app.app.fetcher, &registrant, app.app.clock.monotonic());
    let known = find().unwrap();
    while_none_may_call(&app, || {
        app.advance(Duration::from_mins(59));
        assert_eq!(find(), Ok(known));
        let (client_id, key) = (registrant.id.as_str(), ClientKey::p256());
        let form = [("grant_type", "authorization_code"), ("code", "csc_x"), ("redirect_uri", CALLBACK)];
        let assertion = key.assertion(&app, client_id, &json!({}));
        let answer = app.relying_party().form("/token", &[], &asserted(&assertion, &form));
        assert_eq!(answer.status, 503, "a key that is not there may be a new one: {}", answer.body);
        app.advance(Duration::from_mins(2));
        assert_eq!(find(), Err(KeysAway::BeingFetched), "not for ever");
    });
    assert!(find().is_ok(), "and the next one asks");
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn lists_of_sectors_are_fetched_so_often_whoever_has_a_token() {
    let app = bench(&[("registration.mode", "token"), ("limits.registrations", "2")]);
    let (party, here) = (app.relying_party(), network());
    let sector = DocumentServer::start(&json!([CALLBACK]));
    let created = registration_tokens::create(&app.app, 20, Duration::from_secs(3600), "test").unwrap();
    let bearer = format!("Bearer {}", created.token.expose());
    let register = |uri: Option<&str>| {
        let mut body = public();
        (body["sector_identifier_uri"], body["subject_type"]) = (json!(uri), json!("pairwise"));
        let headers = [("Content-Type", "application/json"), ("Authorization", &bearer), ("X-Forwarded-For", &here)];
        party.send("POST", "/register", &headers, body.to_string().as_bytes()).status
    };
    let with_list = || register(Some(&sector.uri));
    assert_eq!([with_list(), with_list(), with_list()], [201, 201, 429]);
    assert_eq!(sector.asked.load(Ordering::SeqCst), 2);
    for _ in 0..3 {
        assert_eq!(register(None), 201, "nobody has to be asked for anything");
    }
}

#[test]
fn a_client_that_could_not_be_called_has_not_failed() {
    let app = bench(&[]);
    let receiver = Receiver::start();
    let mut body = public();
    body["backchannel_logout_uri"] = json!(format!("{}/out", receiver.base));
    let (_, json) = registered(&app, &body);
    let (browser, tokens) = allowed(&app, text(&json, "client_id"));
    let row = || {
        let sql =
            "SELECT CAST(attempts AS TEXT) || ':' || CAST(due_at - created_at AS TEXT) AS line FROM logout_notices";
        app.database.lines(sql).concat()
    };
    while_none_may_call(&app, || {
        let sid = tokens.claims()["sid"].as_str().unwrap().to_owned();
        let page = Form::of(&browser.get("/account"));
        assert_eq!(page.send(&browser, &[("grant", &sid)]).status, 303);
        assert_eq!(row(), "0:0");
        eventually("that was no try, and the next is in a second", || row() == "0:1000000");
    });
    app.advance(Duration::from_secs(1));
    receiver.wait_for(1);
    eventually("it knows", || row().is_empty());
}

#[test]
fn a_registrant_with_a_secret_is_anybody() {
    let app = bench(&[("limits.authorize_requests", "3"), ("limits.proofs", "2")]);
    let (party, key) = (app.relying_party(), ClientKey::p256());
    let (_, json) = registered(&app, &web());
    let (id, secret) = (text(&json, "client_id"), text(&json, "client_secret"));
    let own = app.client(
        "shop",
        json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "openid" }),
    );
    let own = own.unwrap();
    let many = |call: &dyn Fn(&str) -> Answer| {
        let here = network();
        [call(&here).status, call(&here).status, call(&here).status, call(&here).status]
    };
    let push = |id: &str, secret: &str, here: &str| {
        let request = CodeRequest::of(id, CALLBACK).with("scope", "openid");
        let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        party.form("/par", &[("Authorization", &basic(id, secret)), ("X-Forwarded-For", here)], &pairs)
    };
    assert_eq!(many(&|here| push(id, secret, here)), [201, 201, 201, 429]);
    assert_eq!(many(&|here| push("shop", &own, here)), [201; 4], "an operator knows whose it is");
    let prove = |id: &str, secret: &str, here: &str| {
        let proof = key.proof(&app, TOKEN, &json!({}));
        let headers = [("Authorization", &basic(id, secret)[..]), ("DPoP", &proof), ("X-Forwarded-For", here)];
        party.form(
            "/token",
            &headers,
            &[("grant_type", "authorization_code"), ("code", "csc_x"), ("redirect_uri", CALLBACK)],
        )
    };
    assert_eq!(many(&|here| prove(id, secret, here)), [400, 400, 429, 429]);
    assert_eq!(many(&|here| prove("shop", &own, here)), [400; 4]);
}

#[test]
fn assertions_of_registrants_are_bounded_by_the_minute() {
    let app = bench(&[("limits.proofs", "2")]);
    let (party, key) = (app.relying_party(), ClientKey::p256());
    let method = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": key.jwks() });
    let mut body = web();
    body.as_object_mut().unwrap().extend(method.as_object().unwrap().clone());
    let (_, json) = registered(&app, &body);
    let mut own = json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "openid" });
    own.as_object_mut().unwrap().extend(method.as_object().unwrap().clone());
    app.client("shop", own);
    let many = |id: &str| {
        let here = network();
        let ask = || {
            let assertion = key.assertion(&app, id, &json!({}));
            let form = [("grant_type", "authorization_code"), ("code", "csc_x"), ("redirect_uri", CALLBACK)];
            party.form("/token", &[("X-Forwarded-For", &here)], &asserted(&assertion, &form)).status
        };
        [ask(), ask(), ask(), ask()]
    };
    let rows = || app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM one_time_values").concat();
    assert_eq!(many(text(&json, "client_id")), [400, 400, 429, 429]);
    assert_eq!(rows(), "2");
    assert_eq!(many("shop"), [400; 4]);
    assert_eq!(rows(), "6");
}

#[test]
fn proofs_at_userinfo_are_bounded_by_the_minute() {
    let app = bench(&[("limits.proofs", "3")]);
    app.code_client();
    let (key, party) = (ClientKey::p256(), app.relying_party());
    let secret = app.client(
        "shop",
        json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "openid", "first_party": true }),
    );
    for (id, secret, expected) in [("app", None, [200, 200, 200, 429]), ("shop", secret, [200; 4])] {
        let (_, email) = app.account();
        let (browser, request) = (Browser::new(&app), CodeRequest::of(id, CALLBACK).with("scope", "openid"));
        let answer = browser.log_in(&browser.get(&request.path()), &email);
        let answer = if answer.header("location").unwrap().contains("code=") { answer } else { browser.allow(&answer) };
        let proof = key.proof(&app, TOKEN, &json!({}));
        let (elsewhere, here, header) = (network(), network(), secret.map(|secret| basic(id, &secret)));
        let mut headers = vec![("DPoP", proof.as_str()), ("X-Forwarded-For", &elsewhere)];
        headers.extend(header.as_deref().map(|header| ("Authorization", header)));
        let code = code(&answer);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", &request.verifier),
        ];
        form.extend(header.is_none().then_some(("client_id", id)));
        let access = party.form("/token", &headers, &form).tokens().access;
        let ask = || {
            let proof = key.proof(&app, ("GET", "/userinfo"), &json!({ "ath": ath(&access) }));
            let authorization = format!("DPoP {access}");
            let headers = [("Authorization", authorization.as_str()), ("DPoP", &proof), ("X-Forwarded-For", &here)];
            party.get("/userinfo", &headers).status
        };
        assert_eq!([ask(), ask(), ask(), ask()], expected, "{id}");
    }
}

#[test]
fn ends_of_registrations_are_counted_with_their_changes() {
    let app = bench(&[("limits.registrations", "2")]);
    let (party, here, elsewhere) = (app.relying_party(), network(), network());
    let register = |nth: &str| {
        let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", nth)];
        party.send("POST", "/register", &headers, public().to_string().as_bytes()).json()
    };
    let told = [register(&here), register(&here), register(&elsewhere)];
    let end = |json: &Value| {
        let bearer = format!("Bearer {}", text(json, "registration_access_token"));
        let path = format!("/register/{}", text(json, "client_id"));
        let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", &here)];
        party.send("DELETE", &path, &headers, b"").status
    };
    assert_eq!(told.each_ref().map(end), [204, 204, 429]);
    assert_eq!(app.database.lines("SELECT id AS line FROM clients WHERE disabled_at IS NULL").len(), 1);
}

#[test]
fn a_client_that_deletes_itself_ends_what_it_has_whatever_is_noted_of_its_use() {
    let app = open();
    let (path, json) = registered(&app, &public());
    allowed(&app, text(&json, "client_id"));
    app.database.execute("UPDATE clients SET unused_since = 1");
    let token = json["registration_access_token"].as_str();
    assert_eq!(send(&app.relying_party(), "DELETE", &path, token, &Value::Null).status, 204);
    let ended = || app.database.lines("SELECT COALESCE(ended_by, 'not') AS line FROM grants").concat();
    eventually("what it was granted ends", || ended() == "client_disabled");
}

/// Somebody allowed it something at a server from before `unused_since`, and took it back.
#[test]
fn a_client_that_still_has_grants_holds_up_no_sweep() {
    let app = open();
    let (used, unused) = (registered(&app, &public()).1, registered(&app, &public()).1);
    allowed(&app, text(&used, "client_id"));
    app.database.execute("DELETE FROM consents");
    app.database.execute("UPDATE clients SET unused_since = 1");
    app.advance(Duration::from_hours(25));
    let (_stop, stopped) = std::sync::mpsc::channel();
    assert!(Sweep::new(&app.app).round(&stopped));
    let left = app.database.lines("SELECT id AS line FROM clients");
    assert_eq!(left, [text(&used, "client_id")], "and {} is gone", text(&unused, "client_id"));
    let marked = app.database.lines("SELECT id AS line FROM clients WHERE unused_since IS NOT NULL");
    assert!(marked.is_empty(), "nor is it looked at again");
}

/// A sector's server that lets us wait: what it answers when it is told to.
fn waiting_sector(listed: &Value) -> (String, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/sector", listener.local_addr().unwrap());
    let ((asked, is_asked), (answer, may_answer)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let body = listed.to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 2048]);
        asked.send(()).unwrap();
        may_answer.recv().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).unwrap();
    });
    (uri, is_asked, answer)
}

#[test]
fn two_who_register_a_client_otherwise_at_once_do_it_one_after_the_other() {
    let app = bench(&[]);
    let (path, json) = registered(&app, &web());
    let (id, token) = (text(&json, "client_id"), text(&json, "registration_access_token"));
    let person = app.account().0.id;
    let put = |change: &Value| {
        let mut body = web();
        body["client_id"] = json!(id);
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = send(&app.relying_party(), "PUT", &path, Some(token), &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    let (sector, is_asked, answer) = waiting_sector(&json!([CALLBACK]));
    let told = std::thread::scope(|scope| {
        // It has been read that there is a secret, and which name people know.
        let first = scope.spawn(|| put(&json!({ "subject_type": "pairwise", "sector_identifier_uri": sector })));
        is_asked.recv().unwrap();
        put(&json!({ "token_endpoint_auth_method": "none", "client_name": "Your Bank" }));
        let (id, scope, now) =
            (ClientId::parse(id).unwrap(), Scope::from_stored("openid").unwrap(), app.app.clock.now());
        app.app.db.write(move |tx| consents::put(tx, (person, &id), &scope, now)).unwrap();
        answer.send(()).unwrap();
        first.join().unwrap()
    });
    assert_eq!(
        (text(&told, "client_name"), text(&told, "token_endpoint_auth_method")),
        ("Example", "client_secret_basic")
    );
    let secret = text(&told, "client_secret");
    assert_ne!(secret, text(&json, "client_secret"), "the one from before went with the change in between");
    assert_eq!(app.database.lines("SELECT client_id AS line FROM client_secrets").len(), 1);
    assert!(
        app.database.lines("SELECT client_id AS line FROM consents").is_empty(),
        "that was allowed to another name"
    );
    let proven = basic(id, secret);
    let form = [("grant_type", "authorization_code"), ("code", "csc_x"), ("redirect_uri", CALLBACK)];
    let answer = app.relying_party().form("/token", &[("Authorization", &proven)], &form);
    assert_eq!(answer.error(), "invalid_grant", "it proves itself by it");
}

#[test]
fn registrants_that_never_answer_keep_no_client_of_an_operator_from_being_told_of_a_log_out() {
    let (app, slow, quick) = (bench(&[]), Receiver::start(), Receiver::start());
    slow.answer(SILENCE);
    let mut own = json!({ "token_endpoint_auth_method": "none", "redirect_uris": [CALLBACK], "scope": "openid",
        "grant_types": ["authorization_code"], "first_party": true });
    own["backchannel_logout_uri"] = json!(format!("{}/out", quick.base));
    app.client("app", own);
    let mut body = public();
    body["backchannel_logout_uri"] = json!(format!("{}/out", slow.base));
    let log_out = |ids: &[String]| {
        let (browser, (_, email)) = (Browser::new(&app), app.account());
        browser.log_in(&browser.get("/account"), &email);
        for id in ids {
            let request = CodeRequest::of(id, CALLBACK).with("scope", "openid");
            let answer = browser.get(&request.path());
            let asked = !answer.header("location").unwrap().contains("code=");
            let answer = if asked { browser.allow(&answer) } else { answer };
            request.redeem(&app.relying_party(), &code(&answer), &[]).tokens();
        }
        assert_eq!(Form::of(&browser.get("/logout")).send(&browser, &[]).status, 200);
    };
    let registrants = (0..12).map(|_| {
        let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", &network())];
        let answer = app.relying_party().send("POST", "/register", &headers, body.to_string().as_bytes());
        text(&answer.json(), "client_id").to_owned()
    });
    log_out(&registrants.collect::<Vec<_>>());
    slow.wait_for(2);
    let began = Instant::now();
    log_out(&["app".to_owned()]);
    quick.wait_for(1);
    assert!(began.elapsed() < Duration::from_millis(2900), "{:?}", began.elapsed());
    assert_eq!(slow.received().len(), 2, "no more of them at once");
}
