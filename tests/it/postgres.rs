//! What only PostgreSQL has: TLS, and a server that can go away. `scripts/test` leaves these out on SQLite.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign::store::{Db, epochs};

use crate::app::{Backend, TestApp, TestDatabase, backend, required};

fn with(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.query_pairs_mut().extend_pairs(parameters);
    url.to_string()
}

#[test]
fn a_verified_connection_wants_the_right_authority() {
    assert_eq!(backend(), Backend::Postgres, "not one for SQLite: scripts/test leaves it out there");
    let database = TestDatabase::prepared();
    let open = |parameters: &[(&str, &str)]| {
        let url = with(&database.url, parameters);
        let settings = database.settings(&[("database.url", &url)]);
        Db::open(&settings.database, 1).and_then(|db| db.read(epochs::load))
    };
    let (right, wrong) = (required("COUNTERSIGN_TEST_POSTGRES_CA"), required("COUNTERSIGN_TEST_POSTGRES_WRONG_CA"));
    open(&[("sslmode", "verify-full"), ("sslrootcert", &right)]).unwrap();
    let error = open(&[("sslmode", "verify-full"), ("sslrootcert", &wrong)]).unwrap_err().to_string();
    assert!(error.contains("certificate verify failed"), "{error}");
    let error = open(&[("sslmode", "verify-full"), ("sslrootcert", "/nowhere")]).unwrap_err().to_string();
    assert!(error.contains("root certificate"), "{error}");
}

#[test]
fn connections_that_the_server_closed_are_replaced_without_anyone_noticing() {
    assert_eq!(backend(), Backend::Postgres, "not one for SQLite: scripts/test leaves it out there");
    let app = TestApp::start();
    let (party, mut tokens) = app.log_in();
    for _ in 0..3 {
        app.database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
        tokens = party.refresh("web", tokens.refresh_token()).tokens();
    }
}

/// Where the server can be had too, but for this: it makes one redemption, and what it says of it is lost, and the connection.
fn lossy(server: SocketAddr, lost: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, lost) = (listener.local_addr().unwrap(), lost.clone());
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let (far, redeems) = (TcpStream::connect(server).unwrap(), Arc::<AtomicBool>::default());
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let (redeems_too, lost) = (redeems.clone(), lost.clone());
            std::thread::spawn(move || {
                carry(near, far, |bytes| {
                    if contains(bytes, b"WITH used AS") {
                        redeems_too.store(true, Ordering::SeqCst);
                    }
                    true
                });
            });
            std::thread::spawn(move || {
                carry(far_too, near_too, |bytes| {
                    let made = redeems.load(Ordering::SeqCst) && contains(bytes, b"INSERT 0 1\0");
                    !made || lost.swap(true, Ordering::SeqCst)
                });
            });
        }
    });
    address
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

/// Passes on what comes, until one of the two is closed or something may not pass; then both are.
fn carry(mut from: TcpStream, mut to: TcpStream, may_pass: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !may_pass(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_redemption_that_is_made_and_never_heard_of_finds_its_own_grant() {
    assert_eq!(backend(), Backend::Postgres, "not one for SQLite: scripts/test leaves it out there");
    let app = TestApp::start();
    let (_, _, request, code) = app.at_browser();
    let lost = Arc::<AtomicBool>::default();
    let mut url = url::Url::parse(&with(&app.database.url, &[("sslmode", "disable")])).unwrap();
    let way = lossy(([127, 0, 0, 1], url.port().unwrap()).into(), &lost);
    url.set_port(Some(way.port())).unwrap();
    let away = app.second_instance_with(&[("database.url", url.as_str())]);
    let tokens = request.redeem(&away.relying_party(), &code, &[]).tokens();
    assert!(lost.load(Ordering::SeqCst), "every answer came");
    assert_eq!(app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM grants"), ["1"]);
    let party = app.relying_party();
    let tokens = party.refresh("app", tokens.refresh_token()).tokens();
    assert_eq!(request.redeem(&party, &code, &[]).error(), "invalid_grant");
    assert_eq!(
        party.refresh("app", tokens.refresh_token()).error(),
        "invalid_grant",
        "RFC 6749 §4.1.2: the code was used twice"
    );
}

#[test]
fn a_command_always_ends_with_an_exit_code_of_its_own() {
    assert_eq!(backend(), Backend::Postgres, "not one for SQLite: scripts/test leaves it out there");
    // The process must not be torn down under a thread that still speaks TLS: one in twenty ended by a signal.
    let database = TestDatabase::prepared();
    for _ in 0..40 {
        let mut list = crate::cli::command(database.folder.path(), Some(&database), &["keys", "list"]);
        list.env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "master.key");
        assert_eq!(list.output().unwrap().status.code(), Some(0));
        list.env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "missing.key");
        assert_eq!(list.output().unwrap().status.code(), Some(1));
    }
}
