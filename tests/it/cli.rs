//! The command line, run as a person or a script would run it.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::app::{PASSWORD, TestDatabase, log_file};
use crate::relying_party::RelyingParty;

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// A command in a folder, on a database of the run's backend, logging to the run's log.
pub fn command(folder: &Path, database: Option<&TestDatabase>, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env_clear().env("PATH", crate::app::required("PATH"));
    command.env("COUNTERSIGN__LOG__LEVEL", "trace").env("COUNTERSIGN__LOG__FORMAT", "json");
    command.env("COUNTERSIGN__HTTP__LISTEN", "127.0.0.1:0");
    if let Some(database) = database {
        command.env("COUNTERSIGN__DATABASE__URL", &database.url);
    }
    command
}

pub fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    OpenOptions::new().create(true).append(true).open(log_file()).unwrap().write_all(&output.stderr).unwrap();
    output
}

/// A folder and a database for a test of commands.
pub struct Desk {
    pub database: TestDatabase,
}

impl Desk {
    pub fn new() -> Self {
        Self { database: TestDatabase::empty() }
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        run(command(self.database.folder.path(), Some(&self.database), arguments), input)
    }

    #[track_caller]
    pub fn json(&self, arguments: &[&str], input: &str) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let output = self.run(&all, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    pub fn refused(&self, arguments: &[&str], input: &str, code: i32) -> String {
        let output = self.run(arguments, input);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        error
    }
}

#[test]
fn accounts_are_made_shown_and_changed() {
    let desk = Desk::new();
    let create = [
        "accounts",
        "create",
        "--email",
        "ada@people.test",
        "--username",
        "Ada",
        "--role",
        "admin",
        "--password-stdin",
    ];
    let made = desk.json(&create, &format!("{PASSWORD}\n"));
    assert_eq!((&made["email"], &made["roles"][0]), (&"ada@people.test".into(), &"admin".into()));
    let id = made["id"].as_str().unwrap();
    for name in [id, "ADA@people.test", "ada"] {
        assert_eq!(desk.json(&["accounts", "show", name], "")["id"], id);
    }
    assert_eq!(desk.json(&["accounts", "list"], "").as_array().unwrap().len(), 1);
    assert_eq!(desk.json(&["accounts", "list", "--after", id], ""), serde_json::json!([]));
    assert_eq!(desk.json(&["accounts", "disable", "ada"], "")["ended_grants"], 0);
    assert!(desk.json(&["accounts", "show", "ada"], "")["disabled_at"].is_string());
    desk.json(&["accounts", "enable", "ada"], "");
    desk.json(&["accounts", "set-password", "ada", "--password-stdin"], "hunter-canary-another");
    assert_eq!(desk.json(&["grants", "end", "--account", "ada"], "")["ended_grants"], 0);
    assert!(desk.refused(&create, PASSWORD, 1).contains("is taken"));
    assert!(desk.refused(&["accounts", "show", "nobody"], "", 1).contains("no such account"));
    assert!(desk.refused(&["accounts", "create", "--email", "b@people.test"], "", 2).contains("--password-stdin"));
    assert!(desk.refused(&["accounts", "create", "--email", "b", "--password-stdin"], PASSWORD, 1).contains("e-mail"));
    assert!(
        desk.refused(&["accounts", "create", "--email", "b@people.test", "--password-stdin"], "hunter", 1)
            .contains("15")
    );
    assert!(
        desk.refused(&["accounts", "create", "--email", "b@people.test", "--password", "x"], "", 2)
            .contains("--password")
    );
}

#[test]
fn clients_are_made_shown_and_changed() {
    let desk = Desk::new();
    let create = [
        "clients",
        "create",
        "--id",
        "svc",
        "--grant",
        "client_credentials",
        "--scope",
        "jobs",
        "--audience",
        "https://api.example",
        "--access-ttl",
        "5m",
        "--claim",
        "tenant=\"one\"",
    ];
    let made = desk.json(&create, "");
    let secret = made["client_secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("css_") && secret.len() == 47);
    assert_eq!((&made["access_token_ttl"], &made["extra_claims"]["tenant"]), (&300.into(), &"one".into()));
    let shown = desk.json(&["clients", "show", "svc"], "");
    assert!(shown.get("client_secret").is_none() && !shown.to_string().contains(&secret), "shown once");
    let rotated = desk.json(&["clients", "rotate-secret", "svc"], "");
    assert_ne!(rotated["client_secret"], secret.as_str());
    assert!(desk.refused(&["clients", "rotate-secret", "svc"], "", 1).contains("two secrets"));
    desk.json(&["clients", "rotate-secret", "svc", "--drop-old"], "");
    desk.json(&["clients", "disable", "svc"], "");
    assert!(desk.json(&["clients", "show", "svc"], "")["disabled_at"].is_string());
    desk.json(&["clients", "enable", "svc"], "");
    let metadata =
        r#"{"client_id":"web","token_endpoint_auth_method":"none","grant_types":["password"],"scope":"a b"}"#;
    assert_eq!(desk.json(&["clients", "create", "--metadata", "-"], metadata)["client_id"], "web");
    assert_eq!(desk.json(&["clients", "list"], "").as_array().unwrap().len(), 2);
    for (arguments, input, named) in [
        (&["clients", "create", "--metadata", "-"][..], r#"{"client_id":"x","redirect_uri":[]}"#, "redirect_uri"),
        (&["clients", "create", "--id", "x", "--grant", "implicit"], "", "grant_types"),
        (&["clients", "create", "--id", "x", "--public", "--grant", "client_credentials"], "", "grant_types"),
        (&["clients", "create", "--id", "x", "--audience", "svc"], "", "audiences"),
        (&["clients", "create", "--id", "https://x"], "", "client_id"),
        (&["clients", "create", "--id", "x", "--claim", "sub=1"], "", "extra_claims"),
        (&["clients", "create", "--id", "svc"], "", "taken"),
    ] {
        let error = desk.refused(arguments, input, 1);
        assert!(error.contains(named), "{arguments:?}: {error}");
    }
    assert!(desk.refused(&["clients", "create"], "", 2).contains("--id"));
    assert!(desk.refused(&["clients", "create", "--id", "y", "--metadata", "-"], metadata, 2).contains("differ"));
}

#[test]
fn wrong_arguments_exit_with_two_and_help_with_nought() {
    let desk = Desk::new();
    for arguments in [&["nonsense"][..], &["serve", "--nonsense"], &["accounts"], &[]] {
        desk.refused(arguments, "", 2);
    }
    let help = desk.run(&["--help"], "");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("serve"));
}

#[test]
fn migrate_shows_and_applies() {
    let desk = Desk::new();
    let files = || std::fs::read_dir(desk.database.folder.path()).unwrap().count();
    let none = files();
    let before = desk.json(&["migrate", "--status"], "");
    assert!(before["applied"].as_array().unwrap().is_empty());
    assert_eq!(files(), none, "looking makes nothing");
    let after = desk.json(&["migrate"], "");
    assert_eq!((&after["applied"], &after["pending"]), (&before["pending"], &serde_json::json!([])));
}

#[test]
fn a_new_master_key_never_replaces_one() {
    let desk = Desk::new();
    let run = || desk.run(&["keys", "new-master-key", "my.key"], "");
    assert!(run().status.success());
    let first = std::fs::read(desk.database.folder.path().join("my.key")).unwrap();
    assert_eq!(run().status.code(), Some(1));
    assert_eq!(std::fs::read(desk.database.folder.path().join("my.key")).unwrap(), first);
}

#[test]
fn signing_keys_are_handled_by_commands() {
    let desk = Desk::new();
    desk.run(&["accounts", "create", "--email", "a@people.test", "--password-stdin"], PASSWORD);
    let keys = || desk.json(&["keys", "list"], "").as_array().unwrap().clone();
    let states = |keys: &[Value]| keys.iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(states(&keys()), ["active", "standby"]);
    let active = keys()[0]["kid"].as_str().unwrap().to_owned();
    assert!(desk.json(&["keys", "generate", "--dry-run"], "")["kid"].is_null());
    let made = desk.json(&["keys", "generate"], "")["kid"].as_str().unwrap().to_owned();
    assert_eq!(keys()[2]["kid"], made);
    let jwk = desk.json(&["keys", "export", &active, "--public"], "");
    assert_eq!((&jwk["kid"], &jwk["kty"]), (&active.as_str().into(), &"RSA".into()));
    desk.refused(&["keys", "export", &active], "", 2);
    let pem = String::from_utf8(desk.run(&["keys", "export", &active, "--public"], "").stdout).unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----"), "{pem}");
    let file = desk.database.folder.path().join("key.pem");
    std::fs::write(&file, &pem).unwrap();
    let path = file.to_str().unwrap();
    assert!(
        desk.refused(&["keys", "import", path, "--verify-only", "--kid", "ours", "--tokens-live", "1h"], "", 1)
            .contains("is here already")
    );
    let made_elsewhere =
        Command::new("openssl").args(["genrsa", "-out"]).arg(&file).stderr(Stdio::null()).status().unwrap();
    assert!(made_elsewhere.success());
    let public = Command::new("openssl").args(["pkey", "-pubout", "-in", path]).output().unwrap().stdout;
    std::fs::write(&file, public).unwrap();
    let verify_only = ["keys", "import", path, "--verify-only", "--kid", "theirs", "--tokens-live", "1h"];
    assert!(
        desk.refused(&["keys", "import", path], "", 1).contains("--verify-only imports it"),
        "a public half is no key to sign with"
    );
    desk.refused(&["keys", "import", path, "--verify-only"], "", 2);
    desk.refused(&["keys", "import", "no-such-file"], "", 1);
    assert_eq!(desk.json(&[&verify_only[..], &["--dry-run"]].concat(), "")["kid"], "theirs");
    assert_eq!(keys().len(), 3, "a dry run changes nothing");
    desk.refused(&[&verify_only[..], &["--algorithm", "ES256"]].concat(), "", 2);
    desk.json(&[&verify_only[..], &["--algorithm", "PS256"]].concat(), "");
    assert!(desk.refused(&verify_only, "", 1).contains("is here already"));
    assert_eq!(states(&keys()), ["active", "standby", "standby", "retiring"]);
    let algorithms: Vec<Value> = keys().iter().map(|key| key["algorithm"].clone()).collect();
    assert_eq!(algorithms, ["RS256", "RS256", "RS256", "PS256"], "that of the other issuer");
    assert_eq!(desk.json(&["keys", "export", "theirs", "--public"], "")["alg"], "PS256");
    let table = String::from_utf8(desk.run(&["keys", "list"], "").stdout).unwrap();
    assert!(table.lines().any(|line| line.contains("theirs") && line.contains("PS256")), "{table}");
    for unknown in ["../../etc/passwd", "' OR 1 --", "-h-YpZ", "--public-", &"k".repeat(100_000)] {
        assert!(desk.refused(&["keys", "compromise", unknown], "", 1).contains("no such published key"));
        desk.refused(&["keys", "rotate", "--force", "--to", unknown], "", 1);
        desk.refused(&["keys", "export", unknown, "--public"], "", 1);
    }
    let forced = desk.json(&["keys", "rotate", "--force", "--dry-run"], "");
    let members: Vec<&String> = forced.as_object().unwrap().keys().collect();
    assert_eq!(members, ["dry_run", "good_tokens_rejected_by", "signed_before", "signs_now"]);
    let ended = desk.json(&["keys", "compromise", &made], "");
    assert_eq!((&ended["was"], &ended["signs_now"]), (&"standby".into(), &active.as_str().into()));
    let accepting = ended["may_be_accepted_by"].as_array().unwrap().clone();
    assert_eq!(accepting.len(), 21);
    // A key that never signed is replaced by none: nobody meets a new one.
    assert!(accepting.iter().all(|one| one["accepts_for_seconds"] == one["once_it_meets_the_new_key_seconds"]));
    assert_eq!(ended["good_tokens_rejected_by"].as_array().unwrap().len(), 0);
    let planned = desk.json(&["keys", "compromise", &active, "--dry-run"], "");
    let rejecting = planned["good_tokens_rejected_by"].as_array().unwrap();
    let nginx = rejecting.iter().find(|one| one["verifier"] == "NGINX reference configuration").unwrap();
    assert_eq!(nginx["rejects_for_seconds"], 12 * 3600 + 360, "the standby was published just now");
    let all = desk.json(&["keys", "list", "--all"], "");
    assert!(!all.to_string().contains("wrapped") && all.as_array().unwrap().len() == 4);
    let planned = desk.json(&["keys", "rewrap", "--dry-run"], "");
    assert_eq!((&planned["master_key_version"], &planned["signing_keys"]), (&2.into(), &3.into()));
    desk.json(&["keys", "simulate", "--tokens", "20000"], "");
    let unsafe_plan = ["keys", "simulate", "--publish-lead", "0s", "--rotate-every", "5m", "--tokens", "20000"];
    assert!(desk.refused(&unsafe_plan, "", 1).contains("good tokens would be rejected"));
    let too_short = ["keys", "simulate", "--retain", "5m", "--tokens", "20000"];
    assert!(desk.refused(&too_short, "", 1).contains("keys.retain is 5m"), "what no server would do is no plan");
    for nothing in ["--instances", "--rotations", "--tokens"] {
        desk.refused(&["keys", "simulate", nothing, "0"], "", 2);
    }
}

#[test]
fn the_effective_settings_are_printed_without_secrets() {
    let desk = Desk::new();
    let mut check = command(desk.database.folder.path(), None, &["config", "check", "--json"]);
    check.env("COUNTERSIGN__DATABASE__URL", "postgres://countersign:Zk3vQ1w8YtR7@db.example/x?password=Zk3vQ1w8YtR7");
    let output = run(check, "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("db.example"), "{text}");
    assert!(!text.contains("Zk3vQ1w8YtR7"));
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&json["tokens"]["access_ttl"], &json["tokens"]["refresh_absolute_ttl"]),
        (&"10m".into(), &"90d".into())
    );
}

/// A server that was started by the command line, and where it listens.
pub struct Served {
    pub child: Child,
    pub lines: Vec<String>,
    pub base: String,
}

impl Served {
    pub fn start(mut command: Command, lines: usize) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log_file()).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Vec<_> = (0..lines).map_while(|_| output.next()).map(Result::unwrap).collect();
        let base = lines.first().and_then(|line| line.split(' ').find(|word| word.starts_with("http://")));
        let base = base.unwrap_or_else(|| panic!("{lines:?}")).to_owned();
        Self { child, lines, base }
    }

    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_on_nothing_makes_everything_and_says_three_lines() {
    let desk = Desk::new();
    let folder = desk.database.folder.path();
    let served = Served::start(command(folder, Some(&desk.database), &["serve"]), 3);
    let [listens, jwks, accounts] = served.lines.as_slice() else { panic!("{:?}", served.lines) };
    assert!(listens.contains(&served.base) && jwks.contains("/jwks.json"), "{:?}", served.lines);
    assert!(accounts.contains("accounts create") && accounts.contains("clients create"));
    let party = RelyingParty::new(&served.base);
    assert_eq!(party.get("/readyz", &[]).json()["status"], "ready");
    assert!(folder.join("keys/master.key").is_file());
    // The command line works beside the running server, which notices within a second or so.
    desk.json(&["accounts", "create", "--email", "ada@people.test", "--password-stdin"], PASSWORD);
    desk.json(&["clients", "create", "--id", "web", "--public", "--grant", "password", "--grant", "refresh_token"], "");
    let noticed = (0..40).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        party.log_in("web", "ada@people.test").status == 200
    });
    assert!(noticed);
    let health = run(command(folder, None, &["health", "--url", &format!("{}/readyz", served.base)]), "");
    assert!(health.status.success());
    let mut served = served;
    served.terminate();
    assert_eq!(served.child.wait().unwrap().code(), Some(0), "SIGTERM is no failure");
    let health = run(command(folder, None, &["health", "--url", &format!("{}/readyz", served.base)]), "");
    assert_eq!(health.status.code(), Some(1));
}

/// Environment, arguments, and what the refusal must name.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);

#[test]
fn serve_refuses_to_start_in_one_line_before_it_listens() {
    let database = TestDatabase::prepared();
    let folder = database.folder.path();
    std::fs::create_dir(folder.join("exposed")).unwrap();
    std::fs::write(folder.join("exposed/master.key"), "1 x").unwrap();
    std::fs::write(folder.join("keyless.toml"), "[keys]\nmaster_key_fil = \"x\"\n").unwrap();
    let newer = TestDatabase::prepared();
    newer.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000000')");
    let other_key = folder.join("other.key");
    countersign::keys::create_master_key(&other_key, &countersign::secret::Random).unwrap();
    let zeros = folder.join("zeros.key");
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&zeros).unwrap();
        file.write_all(format!("1 {}\n", "A".repeat(43)).as_bytes()).unwrap();
    }
    let own_key = folder.join("master.key").display().to_string();
    let newer_key = newer.folder.path().join("master.key").display().to_string();
    let cases: &[Case] = &[
        (&[("COUNTERSIGN__ISSUER", "http://id.example")], &[], "issuer"),
        (&[("COUNTERSIGN__TOKENS__ACCESS_TTL", "25h")], &[], "tokens.access_ttl"),
        (&[("COUNTERSIGN__TOKENS__ACCES_TTL", "10m")], &[], "acces_ttl"),
        (&[], &["--config", "keyless.toml"], "master_key_fil"),
        (&[], &["--config", "nowhere.toml"], "nowhere.toml"),
        (&[("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "exposed/master.key")], &[], "may be read by others"),
        (&[("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "missing.key")], &[], "there is no master key"),
        (&[("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "other.key")], &[], "does not open under this master key"),
        (&[("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "zeros.key")], &[], "weak"),
        (&[("COUNTERSIGN__DATABASE__URL", "postgres://x:postgres@127.0.0.1:1/x")], &[], "database.url"),
        (&[("COUNTERSIGN__DATABASE__URL", "postgres://127.0.0.1:1/x")], &[], "database is unavailable"),
        (
            &[("COUNTERSIGN__DATABASE__URL", &newer.url), ("COUNTERSIGN__KEYS__MASTER_KEY_FILE", &newer_key)],
            &[],
            "newer than this binary",
        ),
        (
            &[("COUNTERSIGN__HTTP__LISTEN", "192.0.2.1:8080"), ("COUNTERSIGN__ISSUER", "https://id.example")],
            &[],
            "cannot listen",
        ),
    ];
    for (environment, arguments, named) in cases {
        let mut serve = command(folder, Some(&database), &["serve"]);
        serve
            .args(*arguments)
            .env("COUNTERSIGN__LOG__LEVEL", "error")
            .env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", &own_key);
        serve.envs(environment.iter().copied());
        let output = run(serve, "");
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{named}: {error}");
        assert!(error.contains(named) && out.is_empty(), "{named}: {error}{out}");
        assert_eq!(error.lines().filter(|line| !line.starts_with('{')).count(), 1, "{named}: {error}");
    }
}

#[test]
fn the_demonstration_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(command(folder.path(), None, &["serve", "--demo"]), 15);
    let script = served.lines[2..].join("\n");
    let output = Command::new("bash").args(["-eu", "-c", &script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let [log_in, claims, second, third, replayed, ended] = lines.as_slice() else {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr))
    };
    for answer in [log_in, second, third] {
        assert!(answer.contains("access_token") && answer.contains("csr_"), "{answer}");
    }
    let claims: Value = serde_json::from_str(claims).unwrap();
    assert_eq!((&claims["client_id"], &claims["roles"][0]), (&"demo".into(), &"tester".into()));
    for answer in [replayed, ended] {
        assert!(answer.contains("invalid_grant"), "{answer}");
    }
    served.terminate();
    assert!(served.child.wait().unwrap().success());
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left where it was started");
    let mut elsewhere = command(folder.path(), None, &["serve", "--demo"]);
    elsewhere.env("COUNTERSIGN__HTTP__LISTEN", "0.0.0.0:0").env("COUNTERSIGN__ISSUER", "https://id.example");
    let refused = run(elsewhere, "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("loopback"));
}

#[test]
fn a_registration_token_is_shown_once_and_all_of_them_are_taken_back() {
    let desk = Desk::new();
    desk.refused(&["registration-tokens", "create"], "", 1);
    desk.json(&["clients", "create", "--id", "svc", "--grant", "client_credentials"], "");
    let made = desk.json(&["registration-tokens", "create", "--uses", "3", "--expires-in", "24h"], "");
    assert!(made["initial_access_token"].as_str().unwrap().starts_with("csi_"), "{made}");
    assert_eq!(made["uses"], 3);
    for wrong in [&["--uses", "0"][..], &["--uses", "10001"], &["--expires-in", "0s"], &["--expires-in", "400d"]] {
        let arguments = [&["registration-tokens", "create"], wrong].concat();
        assert!(desk.refused(&arguments, "", 1).contains("registration token"), "{wrong:?}");
    }
    assert_eq!(desk.json(&["registration-tokens", "revoke-all"], "")["revoked"], 1);
}
