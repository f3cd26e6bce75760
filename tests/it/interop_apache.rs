//! An application behind Apache with `mod_auth_openidc`, and a person with Chromium in front of it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::clock::Clock;
use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp, TestDatabase, required};

/// Apache, which sends whoever has not logged in to the issuer.
struct Apache {
    child: Child,
    folder: tempfile::TempDir,
}

impl Apache {
    fn start(issuer: &str, secret: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        for name in ["index.html", "bye"] {
            std::fs::write(folder.path().join("files").join(name), "<!doctype html><title>Application</title>")
                .unwrap();
        }
        std::fs::write(folder.path().join("httpd.conf"), configuration(folder.path(), (issuer, secret), port)).unwrap();
        // Its workers are not root and read the files.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).unwrap();
        let arguments = ["-D", "FOREGROUND", "-f"];
        let mut child = Command::new("apache2").args(arguments).arg(folder.path().join("httpd.conf")).spawn().unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "apache2 ended: {}", log());
            assert!(began.elapsed() < Duration::from_secs(20), "apache2 does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, folder }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn configuration(folder: &Path, (issuer, secret): (&str, &str), port: u16) -> String {
    let at = folder.display();
    let modules = ["mpm_event", "authn_core", "authz_core", "authz_user", "dir", "headers", "auth_openidc"];
    let load = |name: &str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    let loaded = modules.map(load).concat();
    format!(
        "ServerRoot {at}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {at}/pid\nErrorLog {at}/log\n{loaded}\
         User nobody\nGroup nogroup\nDocumentRoot {at}/files\nDirectoryIndex index.html\n\
         OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration\nOIDCClientID apache\nOIDCClientSecret {secret}\n\
         OIDCRedirectURI http://localhost:{port}/cb\nOIDCCryptoPassphrase {secret}\nOIDCScope \"openid email\"\n\
         OIDCPKCEMethod S256\nOIDCRemoteUserClaim email\nOIDCCacheShmMax 100\n\
         <Location />\n  AuthType openid-connect\n  Require valid-user\n  \
         Header always set X-User expr=%{{REMOTE_USER}}\n</Location>\n\
         <Location /bye>\n  AuthType None\n  Require all granted\n</Location>\n"
    )
}

#[test]
fn a_person_gets_into_an_application_behind_mod_auth_openidc_and_out() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let application = format!("http://localhost:{port}");
    let metadata = json!({
        "client_name": "Application",
        "grant_types": ["authorization_code"],
        "redirect_uris": [format!("{application}/cb")],
        "post_logout_redirect_uris": [format!("{application}/bye")],
        "scope": "openid email",
    });
    let apache = Apache::start(&app.base, &app.client("apache", metadata).unwrap(), port);
    let (_, email) = app.account();
    let asked = json!({ "application": application, "issuer": app.base, "person": { "username": email, "password": PASSWORD } });
    let mut child = Command::new(required("COUNTERSIGN_TEST_PYTHON"))
        .args(["-B", "tests/interop/apache_in_chromium.py"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let log = || std::fs::read_to_string(apache.folder.path().join("log")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), log());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report, json!({ "done": ["sent here", "in", "out", "asked again"], "complaints": [] }), "{}", log());
}
