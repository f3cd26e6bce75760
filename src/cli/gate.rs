//! `countersign gate`: verifies tokens for a proxy in front of services that do not themselves.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use countersign_verifier::{OnStale, Secret, StatusSource, Verifier};
use serde_json::json;

use super::output::Output;
use super::{CommandError, logging};
use crate::metrics::VerifierMetrics;
use crate::settings::Log;
use crate::web::gate::{self, Gate};

#[derive(Args)]
pub(super) struct GateArguments {
    /// The issuer whose tokens are let through.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The name that tokens for what is behind the gate have in `aud`.
    #[arg(long, value_name = "URI")]
    audience: String,
    /// Where the proxy asks.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Verify on every path, whatever it is, for a proxy that passes the client's own path on, as Envoy does. Without this only
    /// /verify verifies.
    #[arg(long)]
    any_path: bool,
    /// Where /healthz and /metrics are served; without this beside /verify, or nowhere with --any-path.
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<SocketAddr>,
    /// A client with the scope status.read, to hear of ends at once; without it the lists are asked for every 15 s.
    #[arg(long, requires = "client_secret_file")]
    client_id: Option<String>,
    /// A file with that client's secret.
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    /// What `grants end --wait` calls this gate: the machine's name if left out.
    #[arg(long)]
    name: Option<String>,
    /// A scope that every token needs; may be repeated.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// How long tokens are let through when nothing is heard of what is over.
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = humantime::parse_duration)]
    max_stale: Duration,
    /// What happens after that: 503, or tokens are let through until they expire.
    #[arg(long, value_enum, default_value = "refuse")]
    on_stale: WhenStale,
}

#[derive(Clone, Copy, ValueEnum)]
enum WhenStale {
    Refuse,
    Accept,
}

pub(super) fn run(arguments: &GateArguments, log: &Log, output: &Output) -> Result<(), CommandError> {
    let _log = logging::start(log);
    super::forbid_looking_inside();
    let metrics = Arc::new(VerifierMetrics::new().map_err(crate::app::StartError::from)?);
    let on_stale = match arguments.on_stale {
        WhenStale::Refuse => OnStale::Refuse,
        WhenStale::Accept => OnStale::AcceptUntilExpiry,
    };
    let listen = |source| CommandError::Listen { setting: "--listen", address: arguments.listen, source };
    let listener = TcpListener::bind(arguments.listen).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let verifier = Verifier::builder(&arguments.issuer, &arguments.audience)
        .status(source(arguments)?)
        .max_stale(arguments.max_stale)
        .on_stale(on_stale)
        .observer(metrics.clone());
    let verifier = match &arguments.name {
        Some(name) => verifier.name(name),
        None => verifier,
    };
    let verifier = verifier.build()?;
    let bind = |address| {
        let busy = |source| CommandError::Listen { setting: "--health-listen", address, source };
        TcpListener::bind(address).map_err(busy)
    };
    let health = arguments.health_listen.map(bind).transpose()?;
    let path = if arguments.any_path { "/ (every path)" } else { "/verify" };
    let gate = Gate { verifier, metrics, scopes: arguments.scopes.clone(), any_path: arguments.any_path };
    actix_web::rt::System::new().block_on(async {
        let server = gate::serve(gate, listener, health)?;
        let described = json!({ "listens_on": format!("http://{address}"), "issuer": arguments.issuer });
        output.either(&described, || {
            format!("The gate listens on http://{address}{path} for tokens of {}", arguments.issuer)
        });
        Ok(server.await?)
    })
}

fn source(arguments: &GateArguments) -> Result<StatusSource, CommandError> {
    let (Some(client_id), Some(file)) = (&arguments.client_id, &arguments.client_secret_file) else {
        return Ok(StatusSource::Poll);
    };
    let text = std::fs::read_to_string(file).map_err(|source| CommandError::Read { file: file.clone(), source })?;
    Ok(StatusSource::Feed { client_id: client_id.clone(), client_secret: Secret::new(text.trim()) })
}
