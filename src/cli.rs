//! The command line. Exit codes: 0 done, 1 refused, 2 not understood. JSON with `--json`, text for people otherwise.

mod accounts;
mod clients;
mod demo;
mod gate;
mod grants;
mod health;
mod keys;
mod logging;
mod output;
mod password;
mod registration_tokens;
mod serve;
mod simulate;
mod verify_suite;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::admin::AdminError;
use crate::app::{App, StartError, schedule};
use crate::keys::MasterKeyError;
use crate::keys::schedule::ScheduleError;
use crate::protocol::client_metadata::MetadataError;
use crate::settings::{DatabaseUrl, Settings, SettingsError};
use crate::store::migrate::{self, MigrateError};
use output::Output;

/// An OAuth 2.1 authorization server and OpenID Provider in one program.
#[derive(Parser)]
#[command(name = "countersign", version, about)]
struct Arguments {
    /// A TOML file of settings that differ from the defaults; may be repeated, later ones win.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve.
    Serve {
        /// On a temporary database, with one account and one client, and lines to try them with. Loopback only.
        #[arg(long)]
        demo: bool,
    },
    /// Bring the database up to date, or say how far it is.
    Migrate {
        /// Only say what is applied and what is pending.
        #[arg(long)]
        status: bool,
    },
    /// Settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// People who can log in.
    #[command(subcommand)]
    Accounts(accounts::AccountsCommand),
    /// OAuth clients.
    #[command(subcommand)]
    Clients(clients::ClientsCommand),
    /// What lets clients register themselves.
    #[command(subcommand)]
    RegistrationTokens(registration_tokens::RegistrationTokensCommand),
    /// End what accounts allowed clients at a log-in.
    #[command(subcommand)]
    Grants(grants::GrantsCommand),
    /// Keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Verify tokens for a proxy: nginx, Traefik, Envoy.
    Gate(gate::GateArguments),
    /// Try a service with good and bad tokens, and say what it lets through.
    VerifySuite(verify_suite::VerifySuite),
    /// Ask a server whether it is ready: exit code 0 if so.
    Health {
        /// The address of its /readyz, http only; that of the server with the same settings if left out.
        #[arg(long)]
        url: Option<String>,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective settings without secrets, after checking them.
    Check,
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("{setting}: cannot listen on {address}: {source}")]
    Listen { setting: &'static str, address: std::net::SocketAddr, source: std::io::Error },
    #[error("there is no database at {0} yet: make an account or a client, or serve, where it should be")]
    NoDatabase(PathBuf),
    #[error("cannot read {file}: {source}")]
    Read { file: PathBuf, source: std::io::Error },
    #[error("cannot write {file}: {source}")]
    Write { file: PathBuf, source: std::io::Error },
    #[error("{0} is no text: a key in PEM is wanted")]
    NotText(PathBuf),
    #[error("cannot reach {url}: {source}")]
    Reach { url: String, source: std::io::Error },
    #[error("{0}")]
    Usage(&'static str),
    #[error("{rejected} of {tokens} good tokens would be rejected")]
    GoodTokensRejected { rejected: u64, tokens: u64 },
    #[error("done, but {lagging} of {live} instances do not follow: look at their logs and their /readyz")]
    NotEverywhere { lagging: usize, live: usize },
    #[error("done, but not known yet at {lagging} of the verifiers that can be reached")]
    VerifiersLag { lagging: usize },
    #[error("the service takes not even a good token: {answer}; {hint}")]
    NotEvenGood { answer: String, hint: &'static str },
    #[error("{wrong} of {tried} tokens got the wrong answer")]
    SuiteFailed { wrong: usize, tried: usize },
    #[error(transparent)]
    Gate(#[from] countersign_verifier::BuildError),
    #[error("not ready: {0}")]
    NotReady(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<MetadataError> for CommandError {
    fn from(error: MetadataError) -> Self {
        Self::Admin(error.into())
    }
}

impl From<crate::store::Error> for CommandError {
    fn from(error: crate::store::Error) -> Self {
        Self::Start(error.into())
    }
}

/// Reads the arguments of the process and does what they say.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap knows which stream each belongs on.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let output = Output::new(arguments.json);
    match run_command(&arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(if matches!(error, CommandError::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run_command(arguments: &Arguments, output: &Output) -> Result<(), CommandError> {
    let settings = || Settings::load(&arguments.config);
    match &arguments.command {
        Command::Serve { demo: false } => serve::serve(settings()?, output),
        Command::Serve { demo: true } => demo::serve(settings()?, output),
        Command::Migrate { status } => run_migrate(&settings()?, *status, output),
        Command::Config(ConfigCommand::Check) => {
            let settings = settings()?;
            schedule(&settings).check()?;
            output.value(&settings.printable());
            Ok(())
        }
        Command::Accounts(command) => accounts::run(command, |makes| open(settings()?, makes), output),
        Command::Clients(command) => clients::run(command, |makes| open(settings()?, makes), output),
        Command::RegistrationTokens(command) => {
            registration_tokens::run(command, |makes| open(settings()?, makes), output)
        }
        Command::Grants(command) => grants::run(command, |makes| open(settings()?, makes), output),
        Command::Keys(command) => keys::run(command, || Ok(settings()?), output),
        Command::Gate(gate_arguments) => gate::run(gate_arguments, &Settings::load_log(&arguments.config)?, output),
        Command::VerifySuite(suite) => verify_suite::run(suite, output),
        Command::Health { url } => {
            health::run(&url.clone().map_or_else(|| Ok(health::own_url(&settings()?)), Ok::<_, CommandError>)?)?;
            output.either(&serde_json::json!({ "ready": true }), || "ready".to_owned());
            Ok(())
        }
    }
}

/// What a command may bring into being: the first account may make a database, a question about one may not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Makes {
    Database,
    Nothing,
}

/// Waits before the next look.
#[expect(clippy::disallowed_methods, reason = "a command waits for servers and verifiers and holds nobody up")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// An embedded database is not made by asking about it.
fn refuse_missing_database(settings: &Settings) -> Result<(), CommandError> {
    match &settings.database {
        DatabaseUrl::Sqlite(path) if !path.exists() => Err(CommandError::NoDatabase(path.clone())),
        DatabaseUrl::Sqlite(_) | DatabaseUrl::Postgres(_) => Ok(()),
    }
}

/// The parts, for a command that may run beside a server.
fn open(settings: Settings, makes: Makes) -> Result<App, CommandError> {
    if makes == Makes::Nothing {
        refuse_missing_database(&settings)?;
    }
    schedule(&settings).check()?;
    forbid_looking_inside();
    logging::start_for_command(&settings.log);
    let issuer = settings.issuer_at(settings.http.listen);
    let opened = match makes {
        Makes::Database => App::open_for_command(settings, issuer),
        Makes::Nothing => App::open_existing(settings, issuer),
    };
    Ok(opened?)
}

/// ASVS 13.3.2: no core file and no other process of this user sees our keys. Best effort: a system that refuses is no
/// reason to do nothing.
fn forbid_looking_inside() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() || setrlimit(Resource::Core, none).is_err() {
        tracing::warn!("core files could not be switched off");
    }
}

fn run_migrate(settings: &Settings, only_status: bool, output: &Output) -> Result<(), CommandError> {
    if !only_status {
        let newly = migrate::apply(&settings.database)?;
        for version in &newly {
            output.line(&format!("applied {version}"));
        }
    }
    let status = migrate::status(&settings.database).map_err(MigrateError::Store)?;
    output.either(
        &serde_json::json!({ "applied": status.applied, "pending": status.pending, "unknown": status.unknown }),
        || {
            let list = |versions: &[String]| if versions.is_empty() { "none".to_owned() } else { versions.join(", ") };
            let mut text = format!("applied: {}\npending: {}", list(&status.applied), list(&status.pending));
            if !status.unknown.is_empty() {
                text = format!("{text}\nunknown to this binary: {}", list(&status.unknown));
            }
            text
        },
    );
    Ok(())
}

/// Who runs this command, for the audit trail.
fn actor() -> String {
    format!("command line, uid {}", rustix::process::getuid().as_raw())
}
