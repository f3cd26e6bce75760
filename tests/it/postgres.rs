//! What only PostgreSQL has: TLS, and a server that can go away. `scripts/test` leaves these out on SQLite.

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
