//! `countersign accounts …`

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::output::Output;
use super::{CommandError, Makes, actor, password};
use crate::admin::accounts::{self, NewAccount};
use crate::app::App;
use crate::id::AccountId;
use crate::store::accounts::Account;

#[derive(Subcommand)]
pub(super) enum AccountsCommand {
    /// Make an account.
    Create {
        /// Its e-mail address.
        #[arg(long)]
        email: String,
        /// A user name to log in with beside the e-mail address.
        #[arg(long)]
        username: Option<String>,
        /// A role, for the `roles` claim of its tokens; may be repeated.
        #[arg(long = "role")]
        roles: Vec<String>,
        /// Claims of OpenID Connect Core section 5.1 as a JSON object, such as `{"name":"Ada"}`.
        #[arg(long, value_name = "JSON", default_value = "{}", value_parser = parse_claims)]
        claims: Map<String, Value>,
        /// Read the password from standard input.
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// List accounts, the oldest first.
    List {
        /// Begin after the account with this identifier.
        #[arg(long)]
        after: Option<AccountId>,
        /// How many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Show one account.
    Show {
        /// Its identifier, e-mail address or user name.
        account: String,
    },
    /// Refuse its log-ins and end its grants.
    Disable {
        /// Its identifier, e-mail address or user name.
        account: String,
    },
    /// Let it log in again.
    Enable {
        /// Its identifier, e-mail address or user name.
        account: String,
    },
    /// Replace its password and end its grants.
    SetPassword {
        /// Its identifier, e-mail address or user name.
        account: String,
        /// Read the password from standard input.
        #[arg(long, required = true)]
        password_stdin: bool,
    },
}

pub(super) fn run(
    command: &AccountsCommand,
    open: impl FnOnce(Makes) -> Result<App, CommandError>,
    output: &Output,
) -> Result<(), CommandError> {
    if let AccountsCommand::Create { email, username, roles, claims, password_stdin: _ } = command {
        let password = password::read()?;
        let new = NewAccount {
            email: email.clone(),
            username: username.clone(),
            roles: roles.clone(),
            password,
            claims: claims.clone(),
        };
        output.row(&describe(&accounts::create(&open(Makes::Database)?, &new, &actor())?));
        return Ok(());
    }
    let app = &open(Makes::Nothing)?;
    match command {
        AccountsCommand::Create { .. } => {}
        AccountsCommand::List { after, limit } => {
            let listed: Vec<_> = accounts::list(app, *after, *limit)?.iter().map(describe).collect();
            output.rows(&listed);
        }
        AccountsCommand::Show { account } => {
            let account = accounts::find(app, account)?;
            let mut described = describe(&account);
            if let Some(members) = described.as_object_mut() {
                members.insert("live_grants".to_owned(), json!(accounts::count_live_grants(app, account.id)?));
            }
            output.row(&described);
        }
        AccountsCommand::Disable { account } => {
            let id = accounts::find(app, account)?.id;
            report_ended(output, "disabled", id, accounts::disable(app, id, &actor())?);
        }
        AccountsCommand::Enable { account } => {
            let id = accounts::find(app, account)?.id;
            accounts::enable(app, id, &actor())?;
            output.either(&json!({ "id": id.to_string(), "enabled": true }), || format!("enabled {id}"));
        }
        AccountsCommand::SetPassword { account, password_stdin: _ } => {
            let account = accounts::find(app, account)?;
            let ended = accounts::set_password(app, &account, &password::read()?, &actor())?;
            report_ended(output, "password_set", account.id, ended);
        }
    }
    Ok(())
}

fn parse_claims(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn report_ended(output: &Output, done: &str, id: AccountId, ended: usize) {
    output.either(&json!({ "id": id.to_string(), done: true, "ended_grants": ended }), || {
        format!("{} {id}, {ended} grants were in force", done.replace('_', " "))
    });
}

/// What an operator may see of an account: everything but its password hash.
fn describe(account: &Account) -> Value {
    json!({
        "id": account.id.to_string(),
        "email": account.email,
        "username": account.username,
        "roles": account.roles,
        "created_at": account.created_at.to_string(),
        "disabled_at": account.disabled_at.map(|at| at.to_string()),
        "claims": account.claims,
    })
}
