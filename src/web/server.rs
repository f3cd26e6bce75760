//! Listening, serving, and stopping without dropping anyone.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{HttpServer, web};
use tokio::signal::unix::{SignalKind, signal};

use super::observe::observe;
use super::{State, routes};
use crate::app::{App, Lanes, StartError};
use crate::jobs::Jobs;

/// How long requests that run may go on once the listener is closed, in seconds.
const SHUTDOWN_SECONDS: u64 = 12;
/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A server that listens and is about to serve.
pub struct Server {
    http: actix_web::dev::Server,
    state: web::Data<State>,
    jobs: Jobs,
    drain: Duration,
    address: SocketAddr,
}

/// Sets a server up on listeners that are bound: the service's own and, if there is one, that of the metrics.
///
/// # Errors
/// [`StartError`] when a thread or a socket cannot be had.
pub fn build(app: Arc<App>, listener: TcpListener, metrics: Option<TcpListener>) -> Result<Server, StartError> {
    let jobs = Jobs::start(app.clone())?;
    let lanes = Lanes::start(&app.settings, &app.clock)?;
    let (drain, max_connections) = (app.settings.http.drain, app.settings.http.max_connections);
    let state = web::Data::new(State { app, lanes, health: jobs.health.clone() });
    let address = listener.local_addr()?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (served, metrics_here, metrics_port) =
        (state.clone(), metrics.is_none(), metrics.as_ref().map(TcpListener::local_addr));
    let metrics_port = metrics_port.transpose()?.map(|address| address.port());
    let server = HttpServer::new(move || {
        let on_metrics_port = move |request: &actix_web::guard::GuardContext<'_>| {
            let config = request.app_data::<actix_web::dev::AppConfig>();
            metrics_port.is_some() && config.map(|config| config.local_addr().port()) == metrics_port
        };
        let app = actix_web::App::new().app_data(served.clone()).wrap(from_fn(observe));
        let app = if metrics_here {
            app.configure(routes::metrics)
        } else {
            app.service(web::scope("").guard(actix_web::guard::fn_guard(on_metrics_port)).configure(routes::metrics))
        };
        app.configure(routes::public)
    })
    .workers(workers)
    .max_connections(max_connections.div_ceil(workers))
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(Duration::from_secs(2))
    .shutdown_timeout(SHUTDOWN_SECONDS)
    .disable_signals()
    .listen(listener)?;
    let server = match metrics {
        Some(listener) => server.listen(listener)?,
        None => server,
    };
    Ok(Server { http: server.run(), state, jobs, drain, address })
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that stops it from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.http.handle()
    }

    /// Serves until SIGTERM or SIGINT: then readiness is denied, the listener closes after the drain, and requests that
    /// run are finished. A second signal stops at once.
    ///
    /// # Errors
    /// What the system says.
    pub async fn run_until_stopped(self) -> std::io::Result<()> {
        let (handle, state, drain) = (self.http.handle(), self.state, self.drain);
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stopping = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("stopping: readiness is denied, running requests are finished");
            state.health.start_draining();
            let graceful = async {
                tokio::time::sleep(drain).await;
                handle.stop(true).await;
            };
            tokio::select! {
                () = graceful => {}
                _ = terminate.recv() => handle.stop(false).await,
                _ = interrupt.recv() => handle.stop(false).await,
            }
        };
        let (served, ()) = tokio::select! {
            served = self.http => (served, ()),
            () = stopping => (Ok(()), ()),
        };
        drop(self.jobs);
        tracing::info!("stopped");
        served
    }
}
