//! `countersign clients …`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::output::Output;
use super::{CommandError, Makes, actor};
use crate::admin::clients;
use crate::app::App;
use crate::protocol::client_metadata::{AuthMethod, ClientMetadata, ClientMetadataJson};
use crate::protocol::redirect_uri::ApplicationType;
use crate::secret::PlainSecret;
use crate::store::clients::Client;

/// The most bytes of a metadata file.
const MAX_METADATA_BYTES: u64 = 64 * 1024;

#[derive(Subcommand)]
pub(super) enum ClientsCommand {
    /// Register a client; a confidential one's secret is shown now and never again.
    Create(Box<CreateArguments>),
    /// List clients.
    List,
    /// Show one client.
    Show {
        /// Its `client_id`.
        id: String,
        /// Its metadata alone, as JSON: what `clients replace --metadata` takes.
        #[arg(long)]
        metadata: bool,
    },
    /// Register it with other metadata, and nothing of what it was; its secrets stay as long as it proves itself by one.
    Replace {
        /// Its `client_id`.
        id: String,
        /// All of its RFC 7591 JSON, from a file or from - (standard input).
        #[arg(long, value_name = "FILE|-")]
        metadata: PathBuf,
    },
    /// Refuse it everywhere; what it was granted is over for good.
    Disable {
        /// Its `client_id`.
        id: String,
    },
    /// Let it in again.
    Enable {
        /// Its `client_id`.
        id: String,
    },
    /// Give it a new secret; the old one stays good for 30 days more, unless it is dropped before.
    RotateSecret {
        /// Its `client_id`.
        id: String,
        /// Drop the older of its two secrets instead.
        #[arg(long)]
        drop_old: bool,
    },
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct CreateArguments {
    /// Its `client_id`: A-Z a-z 0-9 - . _ ~
    #[arg(long)]
    id: Option<String>,
    /// A public client: no secret.
    #[arg(long)]
    public: bool,
    /// How a confidential client authenticates.
    #[arg(long, value_enum, conflicts_with = "public")]
    auth_method: Option<SecretMethod>,
    /// A name for people.
    #[arg(long)]
    name: Option<String>,
    /// A grant type: `authorization_code`, `password`, `client_credentials`, `refresh_token`,
    /// `urn:ietf:params:oauth:grant-type:device_code` or `urn:ietf:params:oauth:grant-type:token-exchange`; one --grant for each.
    /// With --redirect-uri, `authorization_code` by default.
    #[arg(long = "grant", value_name = "GRANT_TYPE")]
    grants: Vec<String>,
    /// Where answers of the authorization endpoint may go; may be repeated.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// Where a browser may go after it has logged out; may be repeated.
    #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
    post_logout_redirect_uris: Vec<String>,
    /// Where it is told that somebody logged out.
    #[arg(long, value_name = "URI")]
    backchannel_logout_uri: Option<String>,
    /// What a browser shows in a frame when somebody logged out.
    #[arg(long, value_name = "URI")]
    frontchannel_logout_uri: Option<String>,
    /// An origin whose pages may read what this server answers the client; may be repeated.
    #[arg(long = "allowed-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<String>,
    /// It runs on people's devices: loopback addresses with any port, and schemes of its own.
    #[arg(long)]
    native: bool,
    /// It is your own: nobody is asked whether it may.
    #[arg(long)]
    first_party: bool,
    /// Its refresh tokens travel in a cookie that no script reads: for a page of your own.
    #[arg(long, requires = "public")]
    refresh_cookie: bool,
    /// Scope that it may ask for; may be repeated, or several divided by spaces.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// A resource (an absolute URI) that it may get tokens for and introspect tokens of; may be repeated.
    #[arg(long = "audience", value_name = "URI")]
    audiences: Vec<String>,
    /// Life of its access tokens, such as 5m.
    #[arg(long, value_parser = humantime::parse_duration)]
    access_ttl: Option<std::time::Duration>,
    /// A fixed claim of its access tokens, NAME=JSON; may be repeated.
    #[arg(long = "claim", value_name = "NAME=JSON")]
    claims: Vec<String>,
    /// RFC 7591 JSON instead of the options above, from a file or from - (standard input).
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["public", "auth_method", "name", "grants", "redirect_uris", "post_logout_redirect_uris", "backchannel_logout_uri", "frontchannel_logout_uri", "allowed_origins", "native", "first_party", "refresh_cookie", "scopes", "audiences", "access_ttl", "claims"])]
    metadata: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum SecretMethod {
    ClientSecretBasic,
    ClientSecretPost,
}

pub(super) fn run(
    command: &ClientsCommand,
    open: impl FnOnce(Makes) -> Result<App, CommandError>,
    output: &Output,
) -> Result<(), CommandError> {
    match command {
        ClientsCommand::Create(arguments) => {
            // What is wrong with the arguments is said before a database is made.
            let (id, metadata) = arguments.client()?;
            let (client, secret) = clients::create(&open(Makes::Database)?, &id, metadata, &actor())?;
            output.row(&describe(&client, secret.as_ref()));
        }
        ClientsCommand::List => {
            let (listed, unreadable) = clients::list(&open(Makes::Nothing)?)?;
            for id in unreadable {
                output.error(&format!("the row of client {id} cannot be read"));
            }
            output.rows(&listed.iter().map(|client| describe(client, None)).collect::<Vec<_>>());
        }
        ClientsCommand::Show { id, metadata: false } => {
            output.row(&describe(&clients::find(&open(Makes::Nothing)?, id)?, None));
        }
        ClientsCommand::Show { id, metadata: true } => {
            output.value(&metadata_of(&clients::find(&open(Makes::Nothing)?, id)?));
        }
        ClientsCommand::Replace { id, metadata } => {
            // RFC 7592 §2.2: the client_id must be that of the client.
            let (named, metadata) = ClientMetadata::parse(&read_metadata(metadata)?)?;
            if named.is_some_and(|named| named != *id) {
                return Err(CommandError::Usage("the client that is named and the metadata's client_id differ"));
            }
            let (client, secret) = clients::replace(&open(Makes::Nothing)?, id, metadata, &actor())?;
            output.row(&describe(&client, secret.as_ref()));
        }
        ClientsCommand::Disable { id } => {
            clients::disable(&open(Makes::Nothing)?, id, &actor())?;
            output.either(&json!({ "client_id": id, "disabled": true }), || format!("disabled {id}"));
        }
        ClientsCommand::Enable { id } => {
            clients::enable(&open(Makes::Nothing)?, id, &actor())?;
            output.either(&json!({ "client_id": id, "enabled": true }), || format!("enabled {id}"));
        }
        ClientsCommand::RotateSecret { id, drop_old: false } => {
            let rotated = clients::rotate_secret(&open(Makes::Nothing)?, id, &actor())?;
            let (secret, until) = (rotated.secret.expose(), rotated.old_until.to_string());
            output.row(&json!({ "client_id": id, "client_secret": secret, "old_secret_until": until }));
        }
        ClientsCommand::RotateSecret { id, drop_old: true } => {
            clients::drop_old_secret(&open(Makes::Nothing)?, id, &actor())?;
            output
                .either(&json!({ "client_id": id, "dropped": true }), || format!("the old secret of {id} is dropped"));
        }
    }
    Ok(())
}

impl CreateArguments {
    fn client(&self) -> Result<(String, ClientMetadata), CommandError> {
        let (named, metadata) = match &self.metadata {
            Some(file) => ClientMetadata::parse(&read_metadata(file)?)?,
            None => (None, self.metadata_of_options()?),
        };
        let id = match (&self.id, named) {
            (Some(id), Some(named)) if *id != named => {
                return Err(CommandError::Usage("--id and the metadata's client_id differ"));
            }
            (Some(id), _) => id.clone(),
            (None, Some(named)) => named,
            (None, None) => return Err(CommandError::Usage("the client needs an --id")),
        };
        Ok((id, metadata))
    }

    fn metadata_of_options(&self) -> Result<ClientMetadata, CommandError> {
        let auth_method = match (self.public, self.auth_method) {
            (true, _) => AuthMethod::None,
            (false, None | Some(SecretMethod::ClientSecretBasic)) => AuthMethod::ClientSecretBasic,
            (false, Some(SecretMethod::ClientSecretPost)) => AuthMethod::ClientSecretPost,
        };
        let mut extra_claims = Map::new();
        for claim in &self.claims {
            let parsed =
                claim.split_once('=').and_then(|(name, value)| Some((name, serde_json::from_str(value).ok()?)));
            let (name, value): (&str, Value) = parsed.ok_or(CommandError::Usage(
                "--claim must be NAME=JSON; a text has quotes of its own: --claim 'tenant=\"one\"'",
            ))?;
            extra_claims.insert(name.to_owned(), value);
        }
        let json = ClientMetadataJson {
            client_id: None,
            client_name: self.name.clone(),
            token_endpoint_auth_method: auth_method,
            grant_types: self.grants.clone(),
            scope: self.scopes.join(" "),
            audiences: self.audiences.clone(),
            access_token_ttl: self.access_ttl.map(|ttl| ttl.as_secs()),
            extra_claims,
            redirect_uris: self.redirect_uris.clone(),
            post_logout_redirect_uris: self.post_logout_redirect_uris.clone(),
            backchannel_logout_uri: self.backchannel_logout_uri.clone(),
            frontchannel_logout_uri: self.frontchannel_logout_uri.clone(),
            allowed_origins: self.allowed_origins.clone(),
            application_type: if self.native { ApplicationType::Native } else { ApplicationType::Web },
            first_party: self.first_party,
            refresh_cookie: self.refresh_cookie,
            ..ClientMetadataJson::default()
        };
        Ok(ClientMetadata::try_from(json)?)
    }
}

fn read_metadata(file: &Path) -> Result<String, CommandError> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_METADATA_BYTES).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(MAX_METADATA_BYTES).read_to_string(&mut text))
            .map_err(|source| CommandError::Read { file: file.to_owned(), source })?;
    }
    Ok(text)
}

/// The metadata as registered, in the form in which it is taken.
fn metadata_of(client: &Client) -> Value {
    let json = ClientMetadataJson { client_id: Some(client.id.to_string()), ..client.metadata.to_json() };
    serde_json::to_value(json).unwrap_or_default()
}

/// RFC 7591 §3.2.1: the metadata as registered, and the secret if it was just made.
fn describe(client: &Client, secret: Option<&PlainSecret>) -> Value {
    let mut described = metadata_of(client);
    if let Some(members) = described.as_object_mut() {
        members.insert("client_id_issued_at".to_owned(), json!(client.created_at.unix_seconds()));
        members.insert("secrets".to_owned(), json!(client.secrets.len()));
        if let Some(at) = client.disabled_at {
            members.insert("disabled_at".to_owned(), json!(at.to_string()));
        }
        if let Some(secret) = secret {
            members.insert("client_secret".to_owned(), json!(secret.expose()));
        }
    }
    described
}
