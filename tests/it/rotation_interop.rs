//! Rotation under the eyes of software from other hands: two planned rotations and a compromised key, on a clock on which
//! half a second is an hour. The caches of the verifiers, and the lead and retention of the keys, are as much shorter.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign::admin::keys;
use countersign::clock::Clock;
use countersign::store::signing_keys::{self, KeyState};
use serde_json::json;

use crate::app::{AUDIENCE, TestApp, TestDatabase, required};
use crate::relying_party::RelyingParty;

/// How much faster time passes.
const SPEED: u32 = 7200;
const DAY: Duration = Duration::from_hours(24);

/// Real time for that much of the rehearsal's.
fn compressed(span: Duration) -> Duration {
    span / SPEED
}

/// Something that accepts a token or not.
trait Verifier: Send {
    fn verify(&mut self, token: &str) -> Result<(), String>;
}

/// A process that answers line by line.
struct Program {
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Program {
    fn start(mut command: Command, library: &str, issuer: &str) -> Self {
        let scale = (1.0 / f64::from(SPEED)).to_string();
        let mut child = command
            .args([library, issuer, AUDIENCE, &scale])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, says) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asks, says }
    }
}

impl Verifier for Program {
    fn verify(&mut self, token: &str) -> Result<(), String> {
        writeln!(self.asks, "{token}").unwrap();
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        if line.trim() == "ok" { Ok(()) } else { Err(line.trim().to_owned()) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Apache with `mod_auth_openidc` before a file.
struct Apache {
    child: Child,
    caller: RelyingParty,
    _folder: tempfile::TempDir,
}

impl Apache {
    fn start(issuer: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free_port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, tls_port) = (free_port(), free_port());
        let at = folder.path().display();
        let modules = "/usr/lib/apache2/modules";
        std::fs::create_dir(folder.path().join("files")).unwrap();
        std::fs::write(folder.path().join("files/index.html"), "ok").unwrap();
        // It fetches keys over TLS alone, so it is a proxy of its own in front of us.
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout"])
            .arg(folder.path().join("tls.key"))
            .arg("-out")
            .arg(folder.path().join("tls.pem"))
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let configuration = format!(
            "ServerRoot {at}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {at}/pid\nErrorLog {at}/log\n\
             LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
             LoadModule authn_core_module {modules}/mod_authn_core.so\n\
             LoadModule authz_core_module {modules}/mod_authz_core.so\n\
             LoadModule authz_user_module {modules}/mod_authz_user.so\n\
             LoadModule dir_module {modules}/mod_dir.so\n\
             LoadModule auth_openidc_module {modules}/mod_auth_openidc.so\n\
             LoadModule ssl_module {modules}/mod_ssl.so\nLoadModule proxy_module {modules}/mod_proxy.so\n\
             LoadModule proxy_http_module {modules}/mod_proxy_http.so\nListen 127.0.0.1:{tls_port}\n\
             <VirtualHost 127.0.0.1:{tls_port}>\n  SSLEngine on\n  SSLCertificateFile {at}/tls.pem\n  SSLCertificateKeyFile \
             {at}/tls.key\n  ProxyPass / {issuer}/\n  <Location />\n    AuthType None\n    Require all granted\n  \
             </Location>\n</VirtualHost>\n\
             User nobody\nGroup nogroup\nDocumentRoot {at}/files\nDirectoryIndex index.html\n\
             OIDCOAuthVerifyJwksUri https://localhost:{tls_port}/jwks.json\nOIDCOAuthSSLValidateServer Off\nOIDCOAuthRemoteUserClaim sub\nOIDCCacheShmMax 100\n\
             <Location />\n  AuthType oauth20\n  <RequireAll>\n    Require claim iss:{issuer}\n    Require claim aud:{AUDIENCE}\n  \
             </RequireAll>\n</Location>\n"
        );
        std::fs::write(folder.path().join("httpd.conf"), configuration).unwrap();
        // Its workers are not root and read the file.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).unwrap();
        let mut child = Command::new("apache2")
            .args(["-D", "FOREGROUND", "-f"])
            .arg(folder.path().join("httpd.conf"))
            .spawn()
            .unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "apache2 ended: {}", log());
            assert!(began.elapsed() < Duration::from_secs(20), "apache2 does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, caller: RelyingParty::new(&format!("http://127.0.0.1:{port}")), _folder: folder }
    }
}

impl Verifier for Apache {
    fn verify(&mut self, token: &str) -> Result<(), String> {
        let answer = self.caller.get("/", &[("Authorization", &format!("Bearer {token}"))]);
        if answer.status == 200 { Ok(()) } else { Err(answer.status.to_string()) }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn verifier(library: &str, issuer: &str) -> Box<dyn Verifier> {
    match library {
        "mod_auth_openidc" => Box::new(Apache::start(issuer)),
        "jose" | "jwks-rsa" => {
            let mut node = Command::new("node");
            node.arg("tests/interop/watch.mjs")
                .env("COUNTERSIGN_TEST_NODE_MODULES", required("COUNTERSIGN_TEST_NODE_MODULES"));
            Box::new(Program::start(node, library, issuer))
        }
        _ => {
            let mut python = Command::new(required("COUNTERSIGN_TEST_PYTHON"));
            python.arg(Path::new("tests/interop/watch.py"));
            Box::new(Program::start(python, library, issuer))
        }
    }
}

fn token(app: &TestApp, secret: &str) -> String {
    app.relying_party().client_credentials("svc", secret, &[]).tokens().access
}

/// Keeps a verifier busy with good tokens until told to stop: how many it took, and what it said to those it did not.
fn busy(mut verifier: Box<dyn Verifier>, app: &TestApp, secret: &str, stop: &AtomicBool) -> (usize, Vec<String>) {
    let (mut accepted, mut rejected) = (0, Vec::new());
    // The last few tokens go on being presented: what a retiring key signed is good.
    let mut recent = std::collections::VecDeque::new();
    while !stop.load(Ordering::SeqCst) {
        recent.push_back(token(app, secret));
        if recent.len() > 20 {
            recent.pop_front();
        }
        for token in [recent.front(), recent.back()].into_iter().flatten() {
            match verifier.verify(token) {
                Ok(()) => accepted += 1,
                Err(why) => rejected.push(why),
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    (accepted, rejected)
}

const LIBRARIES: [&str; 6] = ["pyjwt", "flask", "authlib", "jose", "jwks-rsa", "mod_auth_openidc"];

/// Lets a day pass, for verifiers by the clock and for keys in their rows.
fn a_day_passes(app: &TestApp) {
    std::thread::sleep(compressed(DAY));
    let micros = DAY.as_micros();
    app.database.execute(&format!(
        "UPDATE signing_keys SET published_at = published_at - {micros}, retiring_at = retiring_at - {micros} WHERE state \
         IN ('standby', 'retiring')"
    ));
    app.database.execute("UPDATE epochs SET value = value + 1 WHERE name = 'signing_keys'");
}

fn in_state(app: &TestApp, state: KeyState) -> usize {
    app.app.db.read(signing_keys::load_published).unwrap().iter().filter(|key| key.state == state).count()
}

/// Two planned rotations, until the keys of before are gone: nobody rejects a good token.
#[track_caller]
fn nobody_notices_two_rotations(app: &TestApp, secret: &str) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let verifiers: Vec<_> = LIBRARIES.iter().map(|library| (*library, verifier(library, &app.base))).collect();
        let stop = &stop;
        let watching: Vec<_> = verifiers
            .into_iter()
            .map(|(library, verifier)| (library, scope.spawn(move || busy(verifier, app, secret, stop))))
            .collect();
        for rotation in 1..=2 {
            a_day_passes(app);
            let began = Instant::now();
            while let Err(error) = keys::rotate(&app.app, None, keys::Run { force: false, dry_run: false }, "a test") {
                assert!(began.elapsed() < Duration::from_secs(10), "rotation {rotation}: {error}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        a_day_passes(app);
        let began = Instant::now();
        while in_state(app, KeyState::Retiring) > 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "the old keys do not leave");
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::SeqCst);
        for (library, watching) in watching {
            let (accepted, rejected) = watching.join().unwrap();
            assert!(accepted > 100, "{library} verified {accepted} tokens");
            assert!(rejected.is_empty(), "{library} rejected {} of {accepted}: {:?}", rejected.len(), rejected.first());
        }
    });
}

/// The keys of before stay for RS256; the first rotation publishes one for PS256, and the second lets it sign.
#[test]
fn a_move_to_another_algorithm_is_noticed_by_nobody() {
    let settings = [("keys.algorithm", "PS256")];
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &settings);
    let secret = app.confidential_client();
    let alg = || jsonwebtoken::decode_header(token(&app, &secret)).unwrap().alg;
    assert_eq!(alg(), jsonwebtoken::Algorithm::RS256);
    nobody_notices_two_rotations(&app, &secret);
    assert_eq!(alg(), jsonwebtoken::Algorithm::PS256);
}

#[test]
fn planned_rotations_are_noticed_by_nobody_and_a_lost_key_is_forgotten() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let secret = app.confidential_client();
    nobody_notices_two_rotations(&app, &secret);
    // What a thief signs is accepted for a while: by one who meets tokens of the new key, and by one who meets none.
    let mut measured = Vec::new();
    let mut pairs: Vec<_> = LIBRARIES
        .iter()
        .map(|library| (*library, verifier(library, &app.base), verifier(library, &app.base)))
        .collect();
    let stolen = token(&app, &secret);
    for (_, busy, quiet) in &mut pairs {
        busy.verify(&stolen).unwrap();
        quiet.verify(&stolen).unwrap();
    }
    let active = app.app.keyring.list().into_iter().find(|key| key.state == KeyState::Active).unwrap();
    keys::compromise(&app.app, &active.kid, false, "a test").unwrap();
    // Our own second until every instance follows is not compressed, so it does not count.
    app.app.reload_keys().unwrap();
    let lost_at = Instant::now();
    std::thread::scope(|scope| {
        let measuring: Vec<_> = pairs
            .into_iter()
            .map(|(library, mut busy, mut quiet)| {
                let (app, stolen, secret) = (&app, stolen.as_str(), secret.as_str());
                scope.spawn(move || {
                    let [mut poked, mut unpoked] = [None, None];
                    while lost_at.elapsed() < Duration::from_secs(6) {
                        // Its own cooldown may keep it from a new key for a moment; no good token is lost to the rotation.
                        let _ = busy.verify(&token(app, secret));
                        for (verifier, refused) in [(&mut busy, &mut poked), (&mut quiet, &mut unpoked)] {
                            if verifier.verify(stolen).is_err() {
                                refused.get_or_insert(lost_at.elapsed());
                            }
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    let minutes = |span: Option<Duration>| span.map(|span| (span * SPEED).as_secs().div_ceil(60));
                    json!({ "verifier": library, "minutes_with_new_tokens": minutes(poked), "minutes_without": minutes(unpoked) })
                })
            })
            .collect();
        measured.extend(measuring.into_iter().map(|one| one.join().unwrap()));
    });
    println!("a compromised key was accepted for: {}", json!(measured));
    for one in &measured {
        // Apache's caches have a lower bound of five minutes on the real clock, beyond this test.
        if one["verifier"] != "mod_auth_openidc" {
            assert!(one["minutes_with_new_tokens"].is_u64() && one["minutes_without"].is_u64(), "{one}");
        }
    }
}
