//! The drills of `docs/OPERATIONS.md`, executed as they are written beside a server that runs.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{PASSWORD, TestDatabase};
use crate::cli::{Served, command, run};
use crate::relying_party::RelyingParty;

/// The commands of a drill, without the program's name.
fn drill(title: &str) -> Vec<Vec<String>> {
    let page = std::fs::read_to_string("docs/OPERATIONS.md").unwrap();
    let heading = format!("### Drill: {title}");
    let section = page.split(&heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n### ").next().unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let words = |line: &str| line.split_whitespace().skip(1).map(str::to_owned).collect();
    blocks.flat_map(str::lines).map(words).collect()
}

/// A server, a person and a client on a database of their own.
struct Ground {
    database: TestDatabase,
    served: Option<Served>,
}

impl Ground {
    fn new() -> Self {
        let mut ground = Self { database: TestDatabase::empty(), served: None };
        ground.command(&["accounts", "create", "--email", "drill@people.test", "--password-stdin"], PASSWORD);
        ground.command(
            &["clients", "create", "--id", "web", "--public", "--grant", "password", "--grant", "refresh_token"],
            "",
        );
        ground.serve();
        ground
    }

    fn serve(&mut self) {
        self.served = Some(Served::start(command(self.database.folder.path(), Some(&self.database), &["serve"]), 3));
    }

    fn stop(&mut self) {
        drop(self.served.take());
    }

    fn party(&self) -> RelyingParty {
        RelyingParty::new(&self.served.as_ref().unwrap().base)
    }

    fn try_command(&self, arguments: &[&str], input: &str) -> Output {
        run(command(self.database.folder.path(), Some(&self.database), arguments), input)
    }

    #[track_caller]
    fn command(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_command(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Does what the page says; the last command's output.
    #[track_caller]
    fn follow(&self, title: &str, kid: &str) -> String {
        let commands = drill(title);
        assert!(!commands.is_empty());
        let mut said = String::new();
        for words in commands {
            let words: Vec<&str> = words.iter().map(|word| if word == "KID" { kid } else { word.as_str() }).collect();
            said = self.command(&words, "");
        }
        said
    }

    fn kid(&self, state: &str) -> String {
        let keys: Value = serde_json::from_str(&self.command(&["--json", "keys", "list"], "")).unwrap();
        let found = keys.as_array().unwrap().iter().find(|key| key["state"] == state).unwrap();
        found["kid"].as_str().unwrap().to_owned()
    }

    fn listed(&self) -> String {
        self.party().get("/jwks.json", &[]).body
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "in vain: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_planned_rotation() {
    let ground = Ground::new();
    let (first, standby) = (ground.kid("active"), ground.kid("standby"));
    // Before its time the commands say when it will be, and change nothing.
    for arguments in [&["keys", "rotate", "--dry-run"][..], &["keys", "rotate"]] {
        let early = ground.try_command(arguments, "");
        let said = String::from_utf8_lossy(&early.stderr).into_owned();
        assert_eq!(early.status.code(), Some(1));
        assert!(said.contains(&format!("key {standby} may sign from 20")), "{said}");
    }
    assert_eq!(ground.kid("active"), first);
    let day = Duration::from_hours(24).as_micros();
    ground
        .database
        .execute(&format!("UPDATE signing_keys SET published_at = published_at - {day} WHERE state = 'standby'"));
    let listed = ground.follow("a planned rotation", "");
    assert_eq!(ground.kid("active"), standby);
    assert!(listed.contains("leave the JWKS"), "{listed}");
    ground.wait_for("the JWKS holds all three", |ground| ground.listed().matches("\"kid\"").count() == 3);
    let tokens = ground.party().log_in("web", "drill@people.test").tokens();
    assert_eq!(tokens.jose_header()["kid"], standby);
}

#[test]
fn somebody_else_may_have_a_signing_key() {
    let ground = Ground::new();
    let (lost, standby) = (ground.kid("active"), ground.kid("standby"));
    let tokens = ground.party().log_in("web", "drill@people.test").tokens();
    let said = ground.follow("somebody else may have a signing key", &lost);
    assert!(said.contains("instances_following: 1\ninstances_live: 1"), "{said}");
    assert!(
        said.contains("lua-resty-openidc") && said.contains("1day") && said.contains("as long as it runs"),
        "{said}"
    );
    assert!(!ground.listed().contains(&lost), "it is out when the command returns");
    let renewed = ground.party().refresh("web", tokens.refresh_token()).tokens();
    assert_eq!(renewed.jose_header()["kid"], standby, "nobody is logged out");
}

#[test]
fn the_master_key_was_seen() {
    let ground = Ground::new();
    let tokens = ground.party().log_in("web", "drill@people.test").tokens();
    let file = ground.database.folder.path().join("keys/master.key");
    let seen = std::fs::read_to_string(&file).unwrap();
    let commands = drill("the master key was lost or seen");
    let [dry, real, ..] = commands.as_slice() else { panic!("{commands:?}") };
    let words = |words: &[String]| words.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let run = |line: &[String]| ground.command(&line.iter().map(String::as_str).collect::<Vec<_>>(), "");
    assert_eq!((words(dry), words(real)), ("keys rewrap --dry-run".to_owned(), "keys rewrap".to_owned()));
    run(dry);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), seen, "a dry run changes nothing");
    let said = run(real);
    assert!(said.contains("master_key_version: 2") && said.contains("signing_keys: 2"), "{said}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with(&seen), "the old version stays");
    ground.party().refresh("web", tokens.refresh_token()).tokens();
    ground.party().log_in("web", "drill@people.test").tokens();
}

#[test]
fn the_master_key_was_lost() {
    let mut ground = Ground::new();
    let before = ground.listed();
    let sure = ["keys", "begin-anew", "--master-key-is-lost"];
    assert_eq!(ground.try_command(&sure[..2], "").status.code(), Some(2), "not by accident");
    let lost = ground.try_command(&sure, "");
    assert!(String::from_utf8_lossy(&lost.stderr).contains("nothing is lost"), "not while it is there");
    let file = ground.database.folder.path().join("keys/master.key");
    std::fs::rename(&file, file.with_extension("away")).unwrap();
    let served = ground.try_command(&sure, "");
    assert!(String::from_utf8_lossy(&served.stderr).contains("1 instances were there within a minute"), "{served:?}");
    ground.stop();
    ground.database.execute("UPDATE instances SET seen_at = seen_at - 61000000");
    let refused = ground.try_command(&["serve"], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("restore the file"), "{refused:?}");
    let commands = drill("the master key was lost or seen");
    let last: Vec<&str> = commands.last().unwrap().iter().map(String::as_str).collect();
    assert_eq!(last, sure);
    assert!(ground.command(&["keys", "begin-anew", "--dry-run"], "").contains("dry_run: true"));
    assert!(ground.command(&last, "").contains("signing_keys_given_up: 2"));
    // There is nothing any more, and only a start makes anew what is needed.
    for (command, why) in [(&sure[..], "no signing keys to give up"), (&["keys", "list"], "no signing keys yet")] {
        let refused = ground.try_command(command, "");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{refused:?}");
        assert!(!file.exists(), "{command:?} makes no master key");
    }
    ground.serve();
    assert_eq!(ground.listed().matches("\"kid\"").count(), 2);
    assert_ne!(ground.listed(), before);
    ground.party().log_in("web", "drill@people.test").tokens();
}
