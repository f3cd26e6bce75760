//! `countersign serve --demo`: everything in a temporary folder, with an account, a client and lines to try them with.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::output::Output;
use super::{CommandError, actor, serve};
use crate::admin::{accounts, clients};
use crate::app::App;
use crate::protocol::client_metadata::{AuthMethod, ClientMetadata, ClientMetadataJson};
use crate::secret::{PlainSecret, Random, encode_base64url};
use crate::settings::{DatabaseUrl, Settings};

const EMAIL: &str = "demo@example.com";
const CLIENT_ID: &str = "demo";

/// Serves a demonstration, on loopback only.
pub(super) fn serve(mut settings: Settings, output: &Output) -> Result<(), CommandError> {
    if !settings.http.listen.ip().is_loopback() {
        return Err(CommandError::Usage("--demo listens on a loopback address only"));
    }
    let private = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix("countersign-demo-").permissions(private).tempdir()?;
    settings.database = DatabaseUrl::Sqlite(folder.path().join("countersign.db"));
    settings.keys.master_key_file = folder.path().join("master.key");
    serve::start(settings, |app, address| {
        let password = set_up(app)?;
        let described = json!({
            "listens_on": format!("http://{address}"),
            "issuer": app.issuer,
            "email": EMAIL,
            "password": password.expose(),
            "client_id": CLIENT_ID,
        });
        output.either(&described, || lines_to_try(app, address, &password));
        Ok(())
    })
}

fn set_up(app: &App) -> Result<PlainSecret, CommandError> {
    let password = PlainSecret::new(encode_base64url(&Random.bytes::<15>()));
    let account = accounts::NewAccount {
        email: EMAIL.to_owned(),
        username: None,
        roles: vec!["tester".to_owned()],
        password: password.clone(),
        claims: serde_json::Map::new(),
    };
    accounts::create(app, &account, &actor())?;
    let metadata = ClientMetadata::try_from(ClientMetadataJson {
        token_endpoint_auth_method: AuthMethod::None,
        grant_types: vec!["password".to_owned(), "refresh_token".to_owned()],
        scope: "read write".to_owned(),
        ..ClientMetadataJson::default()
    })?;
    clients::create(app, CLIENT_ID, metadata, &actor())?;
    app.clients.reload(&app.db)?;
    Ok(password)
}

fn lines_to_try(app: &App, address: SocketAddr, password: &PlainSecret) -> String {
    let password = password.expose();
    let token = format!("http://{address}/token");
    let member = |name: &str| format!(r#"sed -E 's/.*"{name}":"([^"]+)".*/\1/'"#);
    let (access, refresh) = (member("access_token"), member("refresh_token"));
    format!(
        r#"Countersign's demonstration listens on http://{address} as {issuer}; what it keeps is gone when it stops.
account {EMAIL}   password {password}   client {CLIENT_ID} (public)

# Log in
ANSWER=$(curl -s {token} -d grant_type=password -d client_id={CLIENT_ID} -d username={EMAIL} --data-urlencode password={password}); echo "$ANSWER"
# See what the access token says
echo "$ANSWER" | {access} | cut -d. -f2 | tr '_-' '/+' | awk '{{ while (length($0) % 4) $0 = $0 "="; print }}' | base64 -d; echo
# Refresh: the answer has a new refresh token
FIRST=$(echo "$ANSWER" | {refresh}); ANSWER=$(curl -s {token} -d grant_type=refresh_token -d client_id={CLIENT_ID} -d refresh_token=$FIRST); echo "$ANSWER"
# Refresh again with the new one, so that the first is two generations old
SECOND=$(echo "$ANSWER" | {refresh}); ANSWER=$(curl -s {token} -d grant_type=refresh_token -d client_id={CLIENT_ID} -d refresh_token=$SECOND); echo "$ANSWER"
# Replay the first: it is refused, and the grant ends
curl -s {token} -d grant_type=refresh_token -d client_id={CLIENT_ID} -d refresh_token=$FIRST; echo
# So the newest is worth nothing either
THIRD=$(echo "$ANSWER" | {refresh}); curl -s {token} -d grant_type=refresh_token -d client_id={CLIENT_ID} -d refresh_token=$THIRD; echo"#,
        issuer = app.issuer,
    )
}
