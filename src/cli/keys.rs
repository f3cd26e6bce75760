//! `countersign keys …`

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::output::{Output, span_text, table};
use super::{CommandError, Makes, actor, pause, simulate};
use crate::admin::AdminError;
use crate::admin::keys::{self, KeyReport};
use crate::app::App;
use crate::clock::{Deadline, Timestamp};
use crate::keys::consumers::{CONSUMERS, Consumer, MAX_AGE};
use crate::keys::life;
use crate::keys::{MAX_PEM_BYTES, MasterKey, create_master_key, public_forms};
use crate::protocol::jose::OwnAlgorithm;
use crate::secret::Random;
use crate::settings::Settings;
use crate::store::Db;
use crate::store::migrate;
use crate::store::signing_keys::KeyState;

/// How long a command waits for the instances to follow.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Write a new master key to a file that does not exist yet.
    NewMasterKey {
        /// The file.
        file: PathBuf,
    },
    /// List the signing keys: state, age, next step and from when on it is safe, and until when their tokens live.
    List {
        /// Also those that are only a record.
        #[arg(long)]
        all: bool,
    },
    /// Let the standby sign now; refused while some verifiers cannot know it yet.
    Rotate {
        /// Which one, if several stand by; the one published longest if left out.
        #[arg(long, value_name = "KID", allow_hyphen_values = true)]
        to: Option<String>,
        /// Even though some verifiers will reject good tokens for a while; says which.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        run: Run,
    },
    /// Make one more key that stands by.
    Generate {
        #[command(flatten)]
        run: Run,
    },
    /// Bring a key from elsewhere: a private one stands by, a public one only verifies.
    Import(ImportArguments),
    /// Print the public half of a key as PEM, or as a JWK with --json.
    Export {
        /// The key; its name may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// The public half: no other leaves this service.
        #[arg(long, required = true)]
        public: bool,
    },
    /// Encrypt the signing keys under a new version of the master key, with every server running.
    Rewrap {
        #[command(flatten)]
        run: Run,
    },
    /// Give up every signing key because the master key is lost; the next start makes new ones.
    BeginAnew {
        /// Say that its file is lost for good; what it protects is given up.
        #[arg(long, required_unless_present = "dry_run")]
        master_key_is_lost: bool,
        #[command(flatten)]
        run: Run,
    },
    /// Rehearse a schedule against models of those who verify; fails when one of them would reject a good token.
    Simulate(Box<simulate::Arguments>),
    /// End a key that somebody else may have: it leaves the JWKS and its private half is destroyed at once.
    Compromise {
        /// The key; its name may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        #[command(flatten)]
        run: Run,
    },
}

#[derive(Args)]
pub(super) struct Run {
    /// Change nothing: say what would happen.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(super) struct ImportArguments {
    /// RSA in PEM: PKCS#8 or PKCS#1 for a private key, BEGIN (RSA) PUBLIC KEY for a public one.
    file: PathBuf,
    /// It is another issuer's public key: it stays in the JWKS until what it signed has expired, and for `keys.retain` at
    /// least. Whoever has its private half can sign what your verifiers accept.
    #[arg(long, requires_all = ["kid", "tokens_live"])]
    verify_only: bool,
    /// The name that the other issuer gave it.
    #[arg(long, requires = "verify_only", allow_hyphen_values = true)]
    kid: Option<String>,
    /// How long the tokens live that it signed, such as 1h.
    #[arg(long, value_name = "DURATION", requires = "verify_only", value_parser = humantime::parse_duration)]
    tokens_live: Option<Duration>,
    /// What it signs by, and has signed by elsewhere; `keys.algorithm` if left out.
    #[arg(long, value_enum)]
    algorithm: Option<KeyAlgorithm>,
    #[command(flatten)]
    run: Run,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(super) enum KeyAlgorithm {
    Rs256,
    Ps256,
}

impl From<KeyAlgorithm> for OwnAlgorithm {
    fn from(named: KeyAlgorithm) -> Self {
        match named {
            KeyAlgorithm::Rs256 => Self::Rs256,
            KeyAlgorithm::Ps256 => Self::Ps256,
        }
    }
}

pub(super) fn run(
    command: &KeysCommand,
    settings: impl Fn() -> Result<Settings, CommandError>,
    output: &Output,
) -> Result<(), CommandError> {
    super::forbid_looking_inside();
    let open = |makes| super::open(settings()?, makes);
    let actor = actor();
    match command {
        KeysCommand::NewMasterKey { file } => {
            create_master_key(file, &Random)?;
            output.either(&json!({ "file": file }), || format!("made {}", file.display()));
        }
        KeysCommand::List { all } => {
            let (_, reports) = keys::list(&open(Makes::Nothing)?, *all)?;
            list(&reports, output);
        }
        KeysCommand::Rewrap { run } => rewrap(&open(Makes::Nothing)?, run, output)?,
        KeysCommand::BeginAnew { run, .. } => begin_anew(&settings()?, run, output)?,
        KeysCommand::Simulate(arguments) => simulate::run(arguments, &settings()?, output)?,
        KeysCommand::Rotate { to, force, run } => rotate(&open(Makes::Nothing)?, to.as_deref(), (*force, run), output)?,
        KeysCommand::Generate { run } => {
            let kid = keys::generate(&open(Makes::Nothing)?, run.dry_run, &actor)?;
            output.row(&json!({ "kid": kid, "state": "standby", "dry_run": run.dry_run }));
        }
        KeysCommand::Import(arguments) => {
            let pem = read_pem(&arguments.file)?;
            let app = open(Makes::Nothing)?;
            let (mut life, dry_run) = (app.key_life(), arguments.run.dry_run);
            // RFC 8725 §3.1: one algorithm for ever, also before the key came here.
            life.kind.algorithm = arguments.algorithm.map_or(life.kind.algorithm, OwnAlgorithm::from);
            let algorithm = life.kind.algorithm;
            let (kid, state) = match (&arguments.kid, arguments.tokens_live) {
                (Some(kid), Some(span)) => (life.import_public((kid, &pem), span, &actor, dry_run), "retiring"),
                _ => (life.import(&pem, &actor, dry_run), "standby"),
            };
            let kid = kid.map_err(AdminError::from)?;
            output.row(&json!({ "kid": kid, "state": state, "algorithm": algorithm, "dry_run": dry_run }));
            if state == "standby" && !dry_run {
                output.line(&format!("\nThe key is in the database, encrypted: delete {}.", arguments.file.display()));
            }
        }
        KeysCommand::Export { kid, public: _ } => {
            let key = keys::find(&open(Makes::Nothing)?, kid)?;
            let (pem, jwk) = public_forms(&key).map_err(crate::app::StartError::from)?;
            output.either(&jwk, || pem.trim_end().to_owned());
        }
        KeysCommand::Compromise { kid, run } => compromise(&open(Makes::Nothing)?, kid, run, output)?,
    }
    Ok(())
}

fn list(reports: &[KeyReport], output: &Output) {
    let rows: Vec<Value> = reports.iter().map(describe).collect();
    output.either(&json!(rows), || {
        let head = ["kid", "state", "signs by", "for", "next step", "due", "safe from", "its tokens live until"];
        let text = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let line = |report: &KeyReport| {
            vec![
                report.key.kid.clone(),
                report.key.state.as_str().to_owned(),
                report.key.algorithm.as_str().to_owned(),
                span_text(Some(report.age)),
                report.next.map_or("-", |next| next.what).to_owned(),
                text(report.next.and_then(|next| next.due)),
                text(report.next.map(|next| next.safe_from)),
                text(report.tokens_live_until),
            ]
        };
        table(head.map(str::to_owned).to_vec(), reports.iter().map(line))
    });
}

fn rotate(app: &App, to: Option<&str>, (force, run): (bool, &Run), output: &Output) -> Result<(), CommandError> {
    let rotation = keys::rotate(app, to, keys::Run { force, dry_run: run.dry_run }, &actor())?;
    let row = json!({ "signed_before": rotation.from, "signs_now": rotation.to, "dry_run": run.dry_run });
    report_change(app, run, row, vec![rejecting(&rotation.reject)], output)
}

fn compromise(app: &App, kid: &str, run: &Run, output: &Output) -> Result<(), CommandError> {
    let ended = keys::compromise(app, kid, run.dry_run, &actor())?;
    let row = json!({
        "kid": kid, "was": ended.was.as_str(), "signs_now": ended.signs_now, "dry_run": run.dry_run,
        "its_good_tokens_would_have_lived_until": ended.tokens_live_until.map(|at| at.to_string()),
    });
    report_change(app, run, row, vec![accepting(ended.was), rejecting(&ended.reject)], output)
}

/// Prints what was done, and who minds, when every instance follows.
fn report_change(
    app: &App,
    run: &Run,
    mut row: Value,
    tables: Vec<Table>,
    output: &Output,
) -> Result<(), CommandError> {
    let in_force = if run.dry_run { None } else { Some(wait_until_followed(app)?) };
    if let (Some(members), Some((following, live))) = (row.as_object_mut(), in_force) {
        members.insert("instances_following".to_owned(), json!(following));
        members.insert("instances_live".to_owned(), json!(live));
    }
    if let (true, Some(members)) = (output.is_json(), row.as_object_mut()) {
        for table in &tables {
            members.insert(table.name.to_owned(), json!(table.json));
        }
    }
    output.row(&row);
    for shown in tables.into_iter().filter(|table| !table.json.is_empty()) {
        output.line(&format!("\n{}\n", shown.title));
        output.line(&table(shown.head, shown.lines.into_iter()));
    }
    match in_force {
        Some((following, live)) if following < live => {
            Err(CommandError::NotEverywhere { lagging: live - following, live })
        }
        Some(_) | None => Ok(()),
    }
}

/// Verifiers and how long they do something, for a program and for people.
struct Table {
    name: &'static str,
    title: String,
    json: Vec<Value>,
    head: Vec<String>,
    lines: Vec<Vec<String>>,
}

/// Whose JWKS may be too old for the key that signs.
fn rejecting(reject: &[(&'static str, Option<Duration>)]) -> Table {
    let json =
        |(name, span): &(&str, Option<Duration>)| json!({ "verifier": name, "rejects_for_seconds": seconds(*span) });
    Table {
        name: "good_tokens_rejected_by",
        title: "Their JWKS may be too old for the key that signs now:".to_owned(),
        json: reject.iter().map(json).collect(),
        head: ["verifier", "may reject good tokens for"].map(str::to_owned).to_vec(),
        lines: reject.iter().map(|(name, span)| vec![(*name).to_owned(), span_text(*span)]).collect(),
    }
}

/// Who may accept a key that has left the JWKS, for how long, and what ends that.
fn accepting(was: KeyState) -> Table {
    let spans = |consumer: &Consumer| {
        let (quiet, poked) = consumer.forgets();
        // Nothing that they do not know signs from now on, unless the key was the active one.
        (quiet, if was == KeyState::Active { poked } else { quiet })
    };
    Table {
        name: "may_be_accepted_by",
        title: format!(
            "Whoever verifies locally may go on accepting it; where a JWKS is kept on the way, {} longer:",
            span_text(Some(MAX_AGE))
        ),
        json: CONSUMERS
            .iter()
            .map(|consumer| {
                let (quiet, poked) = spans(consumer);
                json!({
                    "verifier": consumer.name, "accepts_for_seconds": seconds(quiet),
                    "once_it_meets_the_new_key_seconds": seconds(poked), "ended_by": consumer.remedy,
                })
            })
            .collect(),
        head: ["verifier", "accepts it for", "once it meets the new key", "at once ended by"]
            .map(str::to_owned)
            .to_vec(),
        lines: CONSUMERS
            .iter()
            .map(|consumer| {
                let (quiet, poked) = spans(consumer);
                vec![consumer.name.to_owned(), span_text(quiet), span_text(poked), consumer.remedy.to_owned()]
            })
            .collect(),
    }
}

/// For programs: whole seconds, or null for as long as it runs.
fn seconds(span: Option<Duration>) -> Option<u64> {
    span.map(|span| span.as_secs())
}

fn rewrap(app: &App, run: &Run, output: &Output) -> Result<(), CommandError> {
    let patience = Deadline::after(&app.clock, LONGEST_WAIT);
    let done = loop {
        match keys::rewrap(app, run.dry_run, &actor()) {
            Err(AdminError::MasterKeyNotEverywhere { .. }) if !patience.has_passed() => pause(BETWEEN_LOOKS),
            done => break done?,
        }
    };
    output.row(&json!({
        "master_key_version": done.version, "signing_keys": done.keys, "dry_run": run.dry_run,
        "client_secrets_under_older_versions": done.older_client_secrets,
        "refresh_tokens_under_older_versions_live_until":
            app.clock.now().plus(app.settings.tokens.refresh_absolute_ttl).to_string(),
    }));
    output.line("\nOlder versions stay in the file until then, and until no client secret is under them.");
    Ok(())
}

/// Without an `App`, since that does not open when the master key is lost.
fn begin_anew(settings: &Settings, run: &Run, output: &Output) -> Result<(), CommandError> {
    super::refuse_missing_database(settings)?;
    migrate::apply(&settings.database)?;
    let db = Db::open(&settings.database, settings.database_connections)?;
    let master_key = match &settings.master_key {
        Some(text) => Some(MasterKey::from_setting(text)?),
        None => MasterKey::load(&settings.keys.master_key_file)?,
    };
    let given_up = life::begin_anew(&db, master_key.as_ref(), Random, (&actor(), run.dry_run));
    let given_up = given_up.map_err(AdminError::from)?;
    output.row(&json!({ "signing_keys_given_up": given_up, "dry_run": run.dry_run }));
    output.line(
        "\nThe next start of a server makes a master key and signing keys. Tokens of the old ones are rejected from then on, \
         and some\nverifiers reject new ones until they fetch the JWKS again. Everyone logs in again; every confidential client \
         needs\n`clients rotate-secret`.",
    );
    Ok(())
}

/// Waits until every serving instance publishes what was changed: at how many of how many it is so.
fn wait_until_followed(app: &App) -> Result<(usize, usize), CommandError> {
    let patience = Deadline::after(&app.clock, LONGEST_WAIT);
    loop {
        let (followed, live) = keys::in_force(app)?;
        if followed == live || patience.has_passed() {
            return Ok((followed, live));
        }
        pause(BETWEEN_LOOKS);
    }
}

fn describe(report: &KeyReport) -> Value {
    let key = &report.key;
    json!({
        "kid": key.kid, "state": key.state.as_str(), "origin": key.origin.as_str(), "bits": key.modulus.len() * 8,
        "algorithm": key.algorithm,
        "published_at": key.published_at.to_string(), "activated_at": key.activated_at.map(|at| at.to_string()),
        "retiring_at": key.retiring_at.map(|at| at.to_string()), "ended_at": key.ended_at.map(|at| at.to_string()),
        "age_seconds": report.age.as_secs(), "longest_token_life_seconds": key.longest_life.as_secs(),
        "tokens_live_until": report.tokens_live_until.map(|at| at.to_string()),
        "next_step": report.next.map(|next| next.what), "due": report.next.and_then(|next| next.due).map(|at| at.to_string()),
        "safe_from": report.next.map(|next| next.safe_from.to_string()),
    })
}

fn read_pem(file: &Path) -> Result<Zeroizing<String>, CommandError> {
    // As large as it can be from the start, so that no part is left behind in a smaller allocation.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_PEM_BYTES).unwrap_or(0)));
    let read = std::fs::File::open(file).and_then(|opened| opened.take(MAX_PEM_BYTES).read_to_string(&mut text));
    read.map_err(|source| {
        let file = file.to_owned();
        if source.kind() == ErrorKind::InvalidData {
            CommandError::NotText(file)
        } else {
            CommandError::Read { file, source }
        }
    })?;
    Ok(text)
}
