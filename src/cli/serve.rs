//! `countersign serve`

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use serde_json::json;

use super::output::Output;
use super::{CommandError, logging};
use crate::app::{App, schedule};
use crate::clock::Clock;
use crate::settings::Settings;
use crate::web;

/// How long answers may wait unread in a connection, in milliseconds.
const UNREAD_TIMEOUT_MS: u32 = 15_000;

/// The most connections that wait to be accepted, as far as the system allows.
const CONNECTION_QUEUE: i32 = 4096;

/// Serves until told to stop.
pub(super) fn serve(settings: Settings, output: &Output) -> Result<(), CommandError> {
    start(settings, |app, address| {
        let issuer = &app.issuer;
        let jwks = format!("{issuer}/jwks.json");
        output.either(
            &json!({ "listens_on": format!("http://{address}"), "issuer": issuer, "jwks_uri": jwks }),
            || {
                format!(
                    "Countersign listens on http://{address} as {issuer}\nJWKS: {jwks}\n\
                 Make an account: countersign accounts create --email you@example.com --password-stdin; \
                 a client: countersign clients create --id web --public --grant password --grant refresh_token"
                )
            },
        );
        Ok(())
    })
}

/// Opens every part, and only then listens; `announce` runs when requests would be answered.
pub(super) fn start(
    settings: Settings,
    announce: impl FnOnce(&App, SocketAddr) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    schedule(&settings).check()?;
    let _log = logging::start(&settings.log);
    raise_file_limit();
    super::forbid_looking_inside();
    // With a port of the system's choice the address, and so the issuer, is known only once it is bound.
    let early = (settings.http.listen.port() == 0).then(|| bind("http.listen", settings.http.listen)).transpose()?;
    let address = early.as_ref().map_or(Ok(settings.http.listen), TcpListener::local_addr)?;
    let issuer = settings.issuer_at(address);
    let metrics = settings.http.metrics_listen;
    let app = Arc::new(App::open(settings, issuer, Clock::system())?);
    let listener = early.map_or_else(|| bind("http.listen", address), Ok)?;
    let metrics = metrics.map(|address| bind("http.metrics_listen", address)).transpose()?;
    actix_web::rt::System::new().block_on(async {
        let server = web::build(app.clone(), listener, metrics)?;
        announce(&app, server.address())?;
        Ok(server.run_until_stopped().await?)
    })
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, CommandError> {
    let listen = |source| CommandError::Listen { setting, address, source };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    // The standard library asks for a queue of 128, and whoever finds it full waits a second before trying again.
    rustix::net::listen(&listener, CONNECTION_QUEUE).map_err(|error| listen(error.into()))?;
    // ASVS 15.2.2: whoever sends requests and never reads the answers is let go; accepted connections inherit this.
    let unread = rustix::net::sockopt::set_tcp_user_timeout(&listener, UNREAD_TIMEOUT_MS);
    unread.map_err(|error| listen(error.into()))?;
    Ok(listener)
}

/// ASVS 13.1.2: each connection is a file, so as many as the system lets us have.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    if setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).is_err() {
        tracing::warn!("the limit of open files could not be raised");
    }
}
