//! The examples of clients: registered and run as docs/CLIENTS.md says, with a person at a browser where one is needed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::clock::Clock;
use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp, TestDatabase, required};
use crate::cli::command;
use crate::examples::{copy, free_port};

/// The fenced blocks of docs/CLIENTS.md by what stands behind the language; those of one name are one.
fn blocks() -> BTreeMap<String, String> {
    let text = fs::read_to_string("docs/CLIENTS.md").unwrap();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let name = info.split_once(' ').map_or("", |(_, name)| name);
            let block: String =
                lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            found.entry(name.to_owned()).or_default().push_str(&block);
        }
    }
    found
}

/// A folder with the examples, as somebody has it who cloned the repository and installed what they need; and a server.
struct Desk {
    app: TestApp,
    email: String,
    port: u16,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        // Shorter than the minute that is left when clients refresh: each request of theirs does.
        let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[("tokens.access_ttl", "30s")]);
        let (_, email) = app.account();
        let desk = Self { app, email, port: free_port(), folder: tempfile::tempdir().unwrap() };
        let page = desk.folder.path().join("page");
        copy(Path::new("examples/clients"), desk.folder.path());
        copy(Path::new("examples/clients/page"), &page);
        for file in ["page.mjs", "index.html"] {
            let text = desk.here(&fs::read_to_string(page.join(file)).unwrap());
            fs::write(page.join(file), text).unwrap();
        }
        let python = required("COUNTERSIGN_TEST_PYTHON");
        symlink(Path::new(&python).ancestors().nth(2).unwrap(), desk.folder.path().join(".venv")).unwrap();
        symlink(required("COUNTERSIGN_TEST_NODE_MODULES"), page.join("node_modules")).unwrap();
        desk
    }

    /// A text for where things are in this test: the server and the application.
    fn here(&self, text: &str) -> String {
        let text = text
            .replace("127.0.0.1:8080", "\0")
            .replace("--bind 127.0.0.1 5000", &format!("--bind 127.0.0.1 {}", self.port));
        let text = text.replace("127.0.0.1:5000", &format!("127.0.0.1:{}", self.port));
        text.replace('\0', self.app.base.trim_start_matches("http://"))
    }

    fn shell(&self, block: &str) -> Command {
        let blocks = blocks();
        let block = blocks.get(block).unwrap_or_else(|| panic!("docs/CLIENTS.md has no block {block}"));
        let binary = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
        let like_the_server = command(self.folder.path(), Some(&self.app.database), &[]);
        let mut shell = Command::new("bash");
        shell.current_dir(self.folder.path()).args(["-c", &format!("set -euo pipefail\n{}", self.here(block))]);
        shell.stdin(Stdio::null()).env_clear();
        shell.envs(like_the_server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", format!("{}:{}", binary.display(), required("PATH")));
        shell.env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", self.app.database.folder.path().join("master.key"));
        shell.env("COUNTERSIGN__LOG__LEVEL", "warn").env("PYTHONDONTWRITEBYTECODE", "1");
        // A program that opens a browser opens this one.
        let goes = fs::canonicalize("tests/interop/person_goes.py").unwrap();
        shell.env("BROWSER", format!("{} {} %s &", required("COUNTERSIGN_TEST_PYTHON"), goes.display()));
        shell.env("ISSUER", &self.app.base).env("PERSON", self.person().to_string());
        shell
    }

    fn person(&self) -> Value {
        json!({ "username": self.email, "password": PASSWORD })
    }

    /// Runs a block to its end; what it prints.
    #[track_caller]
    fn run(&self, block: &str) -> String {
        let output = self.shell(block).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{block}: {out}\n{}", String::from_utf8_lossy(&output.stderr));
        out
    }

    /// Registers the client.
    #[track_caller]
    fn register(&self, kind: &str) {
        self.run(&format!("{kind} register"));
        self.app.app.clients.reload(&self.app.app.db).unwrap();
    }

    /// Starts an application that listens.
    fn start(&self, block: &str) -> Running {
        let log = self.folder.path().join("application.log");
        let to_log = fs::File::create(&log).unwrap();
        let child =
            self.shell(block).stderr(to_log.try_clone().unwrap()).stdout(to_log).process_group(0).spawn().unwrap();
        let running = Running(child);
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let said = || fs::read_to_string(&log).unwrap();
            assert!(began.elapsed() < Duration::from_secs(30), "it does not listen: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// Has a script use the application; what it did.
    #[track_caller]
    fn visit(&self, script: &str) -> Value {
        let application = format!("http://127.0.0.1:{}", self.port);
        let asked = json!({ "issuer": self.app.base, "application": application, "person": self.person() });
        let mut visitor = Command::new(required("COUNTERSIGN_TEST_PYTHON"));
        visitor.arg("-B").arg(Path::new("tests/interop").join(script));
        visitor.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = visitor.spawn().unwrap();
        child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = fs::read_to_string(self.folder.path().join("application.log")).unwrap();
        assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["done"].clone()
    }

    /// That what a machine printed is an access token of this server for that resource.
    #[track_caller]
    fn is_for(&self, printed: &str, client: &str) {
        let payload = printed.trim().split('.').nth(1).unwrap_or_else(|| panic!("no token: {printed}"));
        let claims: Value = serde_json::from_slice(&countersign::secret::decode_base64url(payload).unwrap()).unwrap();
        assert_eq!(claims["iss"], self.app.base, "{claims}");
        assert_eq!(claims["client_id"], client, "{claims}");
        assert!(claims["aud"].to_string().contains("https://api.example.com"), "{claims}");
    }
}

/// An application that runs, with all that it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn a_web_application_keeps_tokens_to_itself() {
    let desk = Desk::new();
    desk.register("web");
    let _application = desk.start("web run");
    let steps = [
        "greeted",
        "asked",
        "another_browser_refused",
        "another_issuer_refused",
        "logged_in",
        "cookie_without_tokens",
        "refreshed_at_once",
        "logged_out",
        "asked_again",
        "logged_in_again",
        "logged_out_elsewhere",
    ];
    assert_eq!(desk.visit("example_web.py"), json!(steps));
}

#[test]
fn a_page_has_tokens_in_memory_alone() {
    let desk = Desk::new();
    desk.register("page");
    let _application = desk.start("page run");
    let steps = [
        "greeted",
        "logged_in",
        "nothing_stored",
        "loaded_anew",
        "two_tabs",
        "forged_answer_refused",
        "logged_out",
        "asked_again",
        "would_be_found",
        "quiet",
    ];
    assert_eq!(desk.visit("example_page.py"), json!(steps));
}

#[test]
fn a_native_program_is_answered_on_a_free_port_and_has_a_key() {
    let desk = Desk::new();
    desk.register("native");
    let printed = desk.run("native run");
    let (_, printed) = printed.split_once('\n').unwrap();
    assert_eq!(printed, format!("Logged in: {}, tokens of the type DPoP\nRefreshed\nLogged out\n", desk.email));
}

#[test]
fn a_device_shows_a_code_and_waits() {
    let desk = Desk::new();
    desk.register("device");
    let mut device = desk.shell("device run").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(device.stdout.take().unwrap()).lines().map(Result::unwrap);
    let shown = lines.next().unwrap();
    assert!(shown.starts_with(&format!("Go to {}/device and type ", desk.app.base)), "{shown}");
    let complete = lines.next().unwrap();
    // It asks once before anybody is there.
    std::thread::sleep(Duration::from_secs(6));
    let mut person = Command::new(required("COUNTERSIGN_TEST_PYTHON"));
    person.args(["-B", "tests/interop/person_goes.py", complete.strip_prefix("or open ").unwrap()]);
    let went = person.env("ISSUER", &desk.app.base).env("PERSON", desk.person().to_string()).output().unwrap();
    assert!(went.status.success(), "{}", String::from_utf8_lossy(&went.stderr));
    assert_eq!(lines.next().unwrap(), format!("Logged in: {}", desk.email));
    assert!(device.wait().unwrap().success());
}

#[test]
fn a_machine_gets_tokens_by_a_secret_and_by_a_key() {
    let desk = Desk::new();
    for (kind, client) in [("machine", "reports"), ("key", "billing")] {
        desk.register(kind);
        desk.is_for(&desk.run(&format!("{kind} run")), client);
    }
}

#[test]
fn what_the_guide_quotes_stands_in_the_examples() {
    let mut quoted = 0;
    for (name, block) in blocks().iter().filter(|(name, _)| name.starts_with("of ")) {
        let file = Path::new("examples/clients").join(name.trim_start_matches("of "));
        let text = fs::read_to_string(&file).unwrap();
        let text: String = text.lines().flat_map(|line| [line.trim_start(), "\n"]).collect();
        let block: String = block.lines().flat_map(|line| [line.trim_start(), "\n"]).collect();
        assert!(text.contains(&block), "{}: {block}", file.display());
        quoted += 1;
    }
    assert_eq!(quoted, 5);
}
