//! Listening, serving, and stopping without dropping anyone.

use std::future::ready;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, map_config};
use actix_web::dev::{AppConfig, ServerHandle, fn_service};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{HttpServer, web};
use tokio::signal::unix::{SignalKind, signal};

use super::connection::Connection;
use super::observe::observe;
use super::pages::Look;
use super::seats::Seats;
use super::{State, routes};
use crate::app::{App, Lanes, StartError};
use crate::jobs::Jobs;
use crate::settings::RegistrationMode;

/// How long requests that run may go on once the listener is closed, in seconds.
const SHUTDOWN_SECONDS: u64 = 12;
/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: longer than proxies keep theirs, so that none sends a request into its end.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// A server that listens and is about to serve.
pub struct Server {
    http: actix_web::dev::Server,
    metrics: Option<actix_web::dev::Server>,
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
    let lanes = Lanes::start(&app.settings, &app.clock, &app.metrics)?;
    let (drain, max_connections) = (app.settings.http.drain, app.settings.http.max_connections);
    let (health, seats, look) = (jobs.health.clone(), Seats::of(max_connections), Look::new(&app.settings.pages));
    let state = web::Data::new(State { app, lanes, health, seats, look });
    let address = listener.local_addr()?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    // On an address that others can reach, metrics are for a listener of their own (ASVS 13.4.5).
    let (served, metrics_here) = (state.clone(), metrics.is_none() && address.ip().is_loopback());
    let clients_register = state.app.settings.registration.mode != RegistrationMode::Off;
    let server = actix_web::dev::Server::build();
    let stopping = server.graceful_shutdown_signal();
    let factory = move || {
        let site = actix_web::App::new().app_data(served.clone()).wrap(from_fn(observe));
        let site = if metrics_here { site.configure(routes::metrics) } else { site };
        let site = if clients_register { site.configure(routes::registrations) } else { site };
        let site = site.configure(routes::public).into_factory();
        let site = site.map_err(|error: actix_web::Error| error.error_response());
        let stopping = stopping.clone();
        let protocol = HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(Duration::from_secs(2))
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|connection: &Connection, data| drop(data.insert(connection.turn())))
            .finish(map_config(site, |()| AppConfig::default()));
        fn_service(|stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            // Each answer is one write: to wait for more of it would only delay the next one.
            drop(stream.set_nodelay(true));
            ready(Ok((Connection::new(stream), Protocol::Http1, peer)))
        })
        .and_then(protocol)
    };
    let http = server
        .workers(workers)
        .max_concurrent_connections(max_connections.div_ceil(workers))
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals()
        .listen("countersign", listener, factory)?
        .run();
    let metrics = metrics.map(|listener| serve_metrics(state.clone(), listener)).transpose()?;
    Ok(Server { http, metrics, state, jobs, drain, address })
}

/// The metrics on a listener of their own, which serves nothing else.
fn serve_metrics(state: web::Data<State>, listener: TcpListener) -> std::io::Result<actix_web::dev::Server> {
    let factory = move || {
        let app = actix_web::App::new().app_data(state.clone()).wrap(from_fn(observe));
        app.configure(routes::metrics).default_service(web::route().to(super::error::not_found))
    };
    Ok(HttpServer::new(factory).workers(1).shutdown_timeout(1).disable_signals().listen(listener)?.run())
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
        let metrics = self.metrics.map(|server| {
            let handle = server.handle();
            drop(actix_web::rt::spawn(server));
            handle
        });
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stopping = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("stopping: readiness is denied, running requests are finished");
            state.health.start_draining();
            let graceful = async {
                tokio::time::sleep(drain).await;
                handle.stop(true).await;
            };
            // A server that is finishing requests hears of no other way to stop, so nobody waits for it then.
            tokio::select! { () = graceful => {}, _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        let (served, ()) = tokio::select! {
            served = self.http => (served, ()),
            () = stopping => (Ok(()), ()),
        };
        if let Some(metrics) = metrics {
            metrics.stop(false).await;
        }
        drop(self.jobs);
        tracing::info!("stopped");
        served
    }
}
