//! Settings that a server must not start with; each refusal names its key.

use countersign::settings::Settings;

fn refused(overrides: &[(&str, &str)]) -> String {
    Settings::with_overrides(overrides).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn the_defaults_are_good() {
    let settings = Settings::with_overrides(&[]).unwrap();
    assert_eq!(settings.tokens.access_ttl.as_secs(), 600);
    assert_eq!(settings.issuer_at(settings.http.listen), "http://127.0.0.1:8080");
}

#[test]
fn every_rule_names_its_key() {
    for (key, value) in [
        ("issuer", "http://id.example"),
        ("issuer", "https://id.example/"),
        ("issuer", "https://id.example/path"),
        ("issuer", "https://id.example?x=1"),
        ("issuer", "https://id.example#f"),
        ("issuer", "https://user@id.example"),
        ("issuer", "https://ID.example"),
        ("issuer", "ftp://id.example"),
        ("issuer", "id.example"),
        ("http.client_address_header", "X Forwarded"),
        ("http.max_connections", "0"),
        ("http.metrics_listen", "127.0.0.1:8080"),
        ("http.drain", "2m"),
        ("database.url", "mysql://x"),
        ("database.url", "sqlite:"),
        ("database.url", "sqlite::memory:"),
        ("database.connections", "0"),
        ("cache.url", "memcached://x"),
        ("keys.rsa_bits", "1024"),
        ("keys.rsa_bits", "4096"),
        ("tokens.access_ttl", "25h"),
        ("tokens.access_ttl", "0s"),
        ("tokens.refresh_leeway", "11m"),
        ("tokens.refresh_idle_ttl", "1s"),
        ("tokens.refresh_absolute_ttl", "1d"),
        ("passwords.min_length", "7"),
        ("passwords.memory_kib", "4096"),
        ("passwords.memory_kib", "1000000"),
        ("passwords.iterations", "1"),
        ("passwords.queue", "0"),
        ("limits.login_failures", "0"),
        ("limits.login_failures_ceiling", "101"),
        ("limits.login_delay_max", "2d"),
        ("limits.address_failures", "0"),
        ("limits.registrations", "0"),
        ("registration.allowed_scope", "a  b"),
        ("registration.allowed_audiences", "api"),
        ("registration.max_clients", "0"),
    ] {
        assert!(refused(&[(key, value)]).contains(key), "{key} = {value}: {}", refused(&[(key, value)]));
    }
}

#[test]
fn unknown_keys_and_wrong_types_are_named() {
    for (key, value, named) in [
        ("http.listn", "x", "listn"),
        ("tokenz.access_ttl", "10m", "tokenz"),
        ("tokens.access_ttl", "10 parsecs", "10 parsecs"),
        ("http.listen", "nowhere", "listen"),
        ("keys.rsa_bits", "many", "rsa_bits"),
        ("keys.algorithm", "ES256", "ES256"),
        ("keys.algorithm", "ps256", "ps256"),
        ("keys.algorithm", "none", "none"),
        ("http.trusted_proxies", "10.0.0.0/99", "trusted_proxies"),
        ("log.level", "loud", "loud"),
    ] {
        assert!(refused(&[(key, value)]).contains(named), "{key}: {}", refused(&[(key, value)]));
    }
}

#[test]
fn a_server_that_others_can_reach_must_say_who_it_is() {
    assert!(refused(&[("http.listen", "0.0.0.0:8080")]).contains("issuer"));
    let settings = Settings::with_overrides(&[("http.listen", "0.0.0.0:8080"), ("issuer", "https://id.example")]);
    assert_eq!(settings.unwrap().issuer.as_deref(), Some("https://id.example"));
    assert!(Settings::with_overrides(&[("issuer", "http://localhost:8080")]).is_ok());
}

#[test]
fn well_known_and_short_passwords_are_refused_without_being_shown() {
    for password in ["postgres", "Password", "short", "super-secret", "changeme"] {
        let url = format!("postgres://countersign:{password}@db.example/countersign");
        let message = refused(&[("database.url", &url)]);
        assert!(message.contains("database.url") && !message.contains(password), "{message}");
        let url = format!("redis://:{password}@cache.example/");
        assert!(refused(&[("cache.url", &url)]).contains("cache.url"));
    }
    for url in ["postgres://x:hunter%zz-canary@db.example/x", "postgres:x:hunter-canary-1@db.example/x"] {
        let message = refused(&[("database.url", url)]);
        assert!(message.contains("database.url") && !message.contains("canary"), "{message}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.toml");
    std::fs::write(&file, "[database]\nurl = \"postgres://x:hunter-canary-1@db.example/x\n").unwrap();
    let message = Settings::load(&[file]).unwrap_err().to_string();
    assert!(message.contains("line 2") && !message.contains("canary"), "{message}");
    let good = "postgres://countersign:Zk3vQ1w8YtR7@db.example/countersign";
    let settings = Settings::with_overrides(&[("database.url", good)]).unwrap();
    let printed = format!("{} {settings:?}", settings.printable());
    assert!(printed.contains("db.example") && !printed.contains("Zk3vQ1w8YtR7"));
}

#[test]
fn off_this_machine_postgresql_is_verified_unless_said_otherwise() {
    use countersign::settings::DatabaseUrl;
    let url = |text: &str| match Settings::with_overrides(&[("database.url", text)]).unwrap().database {
        DatabaseUrl::Postgres(url) => url.expose().to_owned(),
        DatabaseUrl::Sqlite(path) => panic!("{}", path.display()),
    };
    assert!(url("postgres://db.example/x").contains("sslmode=verify-full"));
    assert!(!url("postgres://db.example/x?sslmode=disable").contains("verify-full"));
    assert!(url("postgres://db.example/x?host=127.0.0.1").contains("verify-full"), "a parameter names the host");
    assert!(url("postgres://127.0.0.1/x?host=db.example").contains("verify-full"));
    assert!(!url("postgres://db.example/x?host=/run/postgresql").contains("sslmode"));
    assert!(url("postgres://db.example/x").contains("tcp_user_timeout="));
    assert!(!url("postgres://127.0.0.1/x").contains("sslmode"));
    assert!(!url("postgres://localhost/x").contains("sslmode"));
}

#[test]
fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, "postgres://x:Zk3vQ1w8YtR7@127.0.0.1/y\n").unwrap();
    let path = file.display().to_string();
    assert!(Settings::with_overrides(&[("database.url_file", &path)]).is_ok());
    std::fs::write(&file, "postgres://x:postgres@127.0.0.1/y\n").unwrap();
    assert!(refused(&[("database.url_file", &path)]).contains("database.url"));
    assert!(refused(&[("database.url_file", "/nowhere/at/all")]).contains("database.url_file"));
}

#[test]
fn the_file_for_production_is_good_once_its_secrets_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("countersign_database_url", "postgres://countersign:Zk3vQ1w8YtR7@db.example/countersign\n"),
        ("countersign_cache_url", "redis://cache.example/\n"),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let shipped = std::fs::read_to_string("config/production.toml").unwrap();
    let file = folder.path().join("production.toml");
    std::fs::write(&file, shipped.replace("/run/secrets", &folder.path().display().to_string())).unwrap();
    let refused = Settings::load(std::slice::from_ref(&file)).unwrap_err().to_string();
    assert!(refused.contains("issuer"), "it has no issuer of its own: {refused}");
    let own = folder.path().join("own.toml");
    std::fs::write(&own, "issuer = \"https://id.example\"\n").unwrap();
    let settings = Settings::load(&[file, own]).unwrap();
    assert_eq!(settings.issuer.as_deref(), Some("https://id.example"));
    assert!(settings.http.metrics_listen.is_some());
}
