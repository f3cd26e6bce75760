//! Status lists (draft-ietf-oauth-status-list): the place of each token, the lists as they are served, and how places
//! become free again.

use std::time::Duration;

use countersign::admin;
use countersign::jobs::loosen;
use countersign::jobs::sweep::Sweep;
use countersign::secret::decode_base64url;
use countersign_verifier::status_list::LIST_BYTES;

use super::{bit, claims, eventually, is_over, list, place};
use crate::app::TestApp;

#[test]
fn every_token_names_its_place_and_those_of_one_grant_the_same() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let second = party.refresh("web", first.refresh_token()).tokens();
    assert_eq!(place(&first.claims()), place(&second.claims()));
    let uri = first.claims()["status"]["status_list"]["uri"].as_str().unwrap().to_owned();
    assert_eq!(uri, format!("{}/status/0", app.app.issuer));
    let (_, email) = app.account();
    let other = party.log_in("web", &email).tokens();
    assert_ne!(place(&first.claims()), place(&other.claims()));
    let secret = app.confidential_client();
    let machine = || party.client_credentials("svc", &secret, &[]).tokens().claims();
    assert_eq!(place(&machine()), place(&machine()), "a client has one place for itself");
}

#[test]
fn places_of_log_ins_that_follow_each_other_say_nothing() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let (_, email) = app.account();
    let mut indices = vec![place(&first.claims()).1];
    indices.extend((0..20).map(|_| place(&party.log_in("web", &email).tokens().claims()).1));
    let close = indices.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 1000).count();
    assert!(close <= 2, "{indices:?}");
    assert!(!indices.is_sorted() && !indices.iter().rev().is_sorted(), "{indices:?}");
}

#[test]
fn a_list_is_a_status_list_token() {
    let app = TestApp::start();
    let (party, _) = app.log_in();
    let answer = party.get("/status/0", &[]);
    assert_eq!(answer.header("content-type"), Some("application/statuslist+jwt"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=15"));
    let header = decode_base64url(answer.body.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&"statuslist+jwt".into(), &"RS256".into()));
    let (claims, bits) = list(&party, "/status/0");
    assert_eq!(claims["sub"], format!("{}/status/0", app.app.issuer));
    assert_eq!((&claims["ttl"], &claims["status_list"]["bits"]), (&15.into(), &1.into()));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 360);
    assert_eq!(bits.len(), LIST_BYTES);
    assert!(bits.iter().all(|byte| *byte == 0));
    // RFC 9110 §13.1.2, §8.8.3, §12.5.3.
    let etag = answer.header("etag").unwrap().to_owned();
    assert_eq!(party.get("/status/0", &[("If-None-Match", &etag)]).status, 304);
    let gzipped = party.send("HEAD", "/status/0", &[("Accept-Encoding", "gzip")], b"");
    assert_eq!((gzipped.status, gzipped.header("content-encoding")), (200, Some("gzip")));
    assert_ne!(gzipped.header("etag"), Some(etag.as_str()));
    let refused = party.send("HEAD", "/status/0", &[("Accept-Encoding", "gzip;q=0")], b"");
    assert_eq!(refused.header("content-encoding"), None);
    for missing in ["/status/7", "/status/00", "/status/-1", "/status/x", "/status/4294967296"] {
        assert_eq!(party.get(missing, &[]).status, 404, "{missing}");
    }
    let all = party.get("/status", &[]).json();
    assert_eq!(all["status_lists"][0], format!("{}/status/0", app.app.issuer));
    let metadata = party.get("/.well-known/oauth-authorization-server", &[]).json();
    assert_eq!(metadata["status_list_aggregation_endpoint"], format!("{}/status", app.app.issuer));
    assert_eq!(metadata["status_events_endpoint"], format!("{}/status/events", app.app.issuer));
}

#[test]
fn a_bit_is_cleared_when_no_token_can_be_alive_and_its_place_rests_before_it_is_anybodys() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    party.revoke("web", &tokens.access);
    assert!(is_over(&app, &tokens.access));
    let positions = "SELECT CAST(position AS TEXT) AS line FROM status_bits";
    let ended = app.database.lines(positions);
    // Ten minutes of life, five of leeway, five of margin; by this clock and the database's.
    let life = Duration::from_mins(20);
    let database_time = |moved: &str| {
        app.database.execute(&format!("UPDATE status_bits SET ended_at = ended_at {moved}"));
    };
    loosen(&app.app, app.app.clock.now().plus(life).plus(Duration::from_hours(24 * 365 * 10)));
    assert!(is_over(&app, &tokens.access), "the database's clock says otherwise");
    let lived = i64::try_from(life.as_micros()).unwrap() + 1_000_000;
    let almost = lived - 60_000_000;
    database_time(&format!("- {almost}"));
    loosen(&app.app, app.app.clock.now().plus(Duration::from_hours(24 * 365 * 10)));
    assert!(is_over(&app, &tokens.access), "some verifiers still take it");
    database_time("- 60000000");
    // The clock of the test is years behind the database's: what counts is the later of the two.
    loosen(&app.app, app.app.clock.now());
    assert!(is_over(&app, &tokens.access), "our clock says otherwise");
    let now = countersign::clock::Clock::system().now();
    app.database.execute("UPDATE signing_keys SET longest_life = longest_life + 3600");
    loosen(&app.app, now);
    assert!(is_over(&app, &tokens.access), "a longer life was noted meanwhile");
    app.database.execute("UPDATE signing_keys SET longest_life = longest_life - 3600");
    loosen(&app.app, now);
    eventually("it is cleared", || !is_over(&app, &tokens.access));
    assert_eq!(app.database.lines(positions), ended, "it rests");

    let rests = Duration::from_mins(30);
    app.database.execute("UPDATE status_bits SET cleared_at = cleared_at - 1799000000");
    let (stop, stopped) = std::sync::mpsc::channel();
    let sweep_at = |at| {
        app.app.clock.advance(at);
        Sweep::new(&app.app).round(&stopped);
    };
    // The test's clock is moved to the database's.
    sweep_at(Duration::from_micros(u64::try_from(now.as_micros() - app.app.clock.now().as_micros()).unwrap()));
    assert_eq!(app.database.lines(positions), ended, "not yet");
    sweep_at(Duration::from_secs(60).min(rests));
    assert_eq!(app.database.lines(positions), ended, "the database's clock says otherwise");
    app.database.execute("UPDATE status_bits SET cleared_at = cleared_at - 60000000");
    sweep_at(Duration::ZERO);
    assert!(app.database.lines(positions).is_empty(), "it may be somebody's now");
    drop(stop);
}

#[test]
fn a_place_is_never_two_grants_and_none_that_rests() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let (_, email) = app.account();
    // Another instance hands out others.
    let second = app.second_instance();
    let mut places = vec![place(&tokens.claims())];
    for nth in 0..12 {
        let party = if nth % 2 == 0 { party.clone() } else { second.relying_party() };
        places.push(place(&party.log_in("web", &email).tokens().claims()));
    }
    let all = places.len();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), all);
    assert_eq!(app.database.lines("SELECT CAST(block AS TEXT) AS line FROM status_leases").len(), 2);
    drop(second);
    eventually("an instance that leaves gives up what it leased", || {
        app.database.lines("SELECT CAST(block AS TEXT) AS line FROM status_leases").len() == 1
    });
}

#[test]
fn when_a_list_is_full_there_is_another_and_verifiers_heard_of_it_before() {
    let app = TestApp::start();
    let watcher = super::follower(&app);
    let (party, _) = app.log_in();
    let before = super::head(&app, &watcher);
    // All blocks of the first list are somebody's.
    app.database.execute("DELETE FROM status_leases");
    let blocks: Vec<String> = (0..1024).map(|block| format!("({block}, '', 9000000000000000)")).collect();
    app.database.execute(&format!("INSERT INTO status_leases (block, holder, leased_at) VALUES {}", blocks.join(", ")));
    let second = app.second_instance();
    let (_, email) = app.account();
    let tokens = second.relying_party().log_in("web", &email).tokens();
    assert_eq!(place(&tokens.claims()).0, "/status/1", "the list that was empty until now");
    eventually("the newest list is announced", || {
        super::feed(&app, &watcher, Some(before)).iter().any(|(_, data)| data["lists"] == 3)
    });
    second.relying_party().revoke("web", &tokens.access);
    eventually("it is over", || is_over(&app, &tokens.access));
    assert_eq!(party.get("/status", &[]).json()["status_lists"].as_array().unwrap().len(), 3);
}

#[test]
fn a_place_that_rests_is_nobodys() {
    let app = TestApp::start();
    let (party, _) = app.log_in();
    let (_, email) = app.account();
    // Of each block one half rests.
    app.database.execute(
        "INSERT INTO status_bits (position, ended_at, cleared_at) \
         WITH RECURSIVE numbers (p) AS (SELECT 1 UNION ALL SELECT p + 2 FROM numbers WHERE p < 1048573) \
         SELECT p, 1, 9000000000000000 FROM numbers",
    );
    // What was leased before is given up.
    app.app.status.leave(&app.app.db).unwrap();
    for _ in 0..8 {
        party.log_in("web", &email).tokens();
    }
    let rests = "SELECT CAST(grants.status_position AS TEXT) AS line FROM grants, status_bits \
        WHERE grants.status_position = status_bits.position";
    let after: Vec<String> = app.database.lines(rests);
    // The first log-in may have been at one that was made to rest afterwards.
    assert!(after.len() <= 1, "{after:?}");
}

#[test]
fn a_million_grants_of_which_one_in_a_hundred_is_over_fit_into_twenty_kilobytes() {
    let app = TestApp::start();
    let party = app.relying_party();
    // Every hundredth of a million positions; which bits those are, the permutation says.
    let bits: Vec<String> = (0..10_000).map(|nth| format!("({}, 9000000000000000)", nth * 100)).collect();
    app.database.execute(&format!("INSERT INTO status_bits (position, ended_at) VALUES {}", bits.join(", ")));
    // Any instance that starts now finds them.
    let second = app.second_instance();
    let (claims, bits) = list(&second.relying_party(), "/status/0");
    assert_eq!(bits.iter().map(|byte| byte.count_ones()).sum::<u32>(), 10_000);
    let wire = second.relying_party().send("HEAD", "/status/0", &[("Accept-Encoding", "gzip")], b"");
    let length: usize = wire.header("content-length").unwrap().parse().unwrap();
    println!("a million grants, 10,000 over: {length} bytes gzipped");
    assert!(length <= 20_000, "{length} bytes");
    assert!(claims["seq"].as_i64().is_some());
    drop(party);
}

#[test]
fn a_client_from_before_has_a_place_too() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let token = app.relying_party().client_credentials("svc", &secret, &[]).tokens().access;
    assert!(!bit(&list(&app.relying_party(), &place(&claims(&token)).0).1, place(&claims(&token)).1));
    admin::clients::disable(&app.app, "svc", "test").unwrap();
    assert!(is_over(&app, &token));
}

#[test]
fn a_database_that_lost_a_change_and_made_another_of_its_number_is_believed() {
    let app = TestApp::start();
    let (party, lost) = app.log_in();
    let (_, email) = app.account();
    let kept = party.log_in("web", &email).tokens();
    party.revoke("web", &lost.access);
    assert!(is_over(&app, &lost.access) && !is_over(&app, &kept.access));
    // The last change was about the other grant, and at another time; what serves is told last.
    let other = "SELECT MIN(status_position) FROM grants WHERE ended_at IS NULL";
    let head = "(SELECT seq FROM status_feed)";
    app.database.execute(&format!("UPDATE status_bits SET position = ({other})"));
    app.database.execute(&format!("UPDATE status_changes SET at = at + 1 WHERE seq = {head}"));
    app.database.execute("UPDATE status_feed SET at = at + 1");
    eventually("the number is the same", || is_over(&app, &kept.access) && !is_over(&app, &lost.access));
    // The same once more, and another change after it.
    app.database.execute("DELETE FROM status_bits");
    app.database.execute(&format!("UPDATE status_changes SET at = at + 1 WHERE seq = {head}"));
    app.database.execute(&format!(
        "INSERT INTO status_changes (seq, at, at_before, body) \
         SELECT seq + 1, at + 2, at, '{{}}' FROM status_changes WHERE seq = {head}"
    ));
    app.database.execute("UPDATE status_feed SET seq = seq + 1, at_before = at + 1, at = at + 3");
    eventually("the number has gone on", || !is_over(&app, &kept.access) && !is_over(&app, &lost.access));
}

#[test]
fn an_instance_that_has_signed_nothing_does_not_say_that_there_are_no_lists() {
    let app = TestApp::start();
    let party = app.relying_party();
    let statuses = || ["/status", "/status/0", "/status/9"].map(|path| party.get(path, &[]).status);
    assert_eq!(statuses(), [200, 200, 404]);
    app.app.status.publish(Vec::new());
    assert_eq!(statuses(), [503, 503, 503], "whoever believed it would forget its own");
}
