//! A trial over HTTP: its issuer (metadata, JWKS, status list; nothing of the product's own), and the service that is asked with
//! each token.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use countersign_verifier::conformance::{Case, Trial};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use serde_json::json;

use crate::clock::{Clock, Deadline};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a service is asked whether it takes a good token yet.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// A service under trial.
pub struct Target {
    /// Wants an access token.
    pub url: Url,
    /// How it is asked.
    pub method: Method,
    /// How long it has to take a good token.
    pub patience: Duration,
}

/// What a service did with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 2xx; or 403, which is said to somebody who is known.
    Accepted(StatusCode),
    /// Another 4xx.
    Refused(StatusCode),
    /// Anything else: neither.
    Failed(Option<StatusCode>),
}

/// A token that was tried.
pub struct Tried {
    /// Which.
    pub case: Case,
    /// What came of it.
    pub answer: Answer,
}

/// Asks the service with every token of the trial, and says how far it is, from 0 to 1.
///
/// # Errors
/// What the service answered to a good token, if it takes not even that.
pub async fn play(target: &Target, trial: &Trial, progress: impl Fn(f64)) -> Result<Vec<Tried>, Answer> {
    // RFC 6750 §3.1: an answer is judged as it is; a redirect is none.
    let client = Client::builder().redirect(redirect::Policy::none()).timeout(ANSWER).no_proxy().build();
    let client = client.map_err(|_| Answer::Failed(None))?;
    let cases = trial.cases();
    let good = cases.iter().find(|case| case.name == "good").map(|case| case.token.clone()).unwrap_or_default();
    let patience = Deadline::after(&Clock::system(), target.patience);
    loop {
        match ask(&client, target, &good).await {
            Answer::Accepted(status) if status.is_success() => break,
            answer if patience.has_passed() || !may_change(answer) => return Err(answer),
            Answer::Accepted(_) | Answer::Refused(_) | Answer::Failed(_) => tokio::time::sleep(BETWEEN_TRIES).await,
        }
    }
    let mut tried = Vec::new();
    let of = f64::from(u32::try_from(cases.len()).unwrap_or(u32::MAX));
    for (nth, case) in (1_u32..).zip(cases) {
        let answer = ask(&client, target, &case.token).await;
        tried.push(Tried { case, answer });
        progress(f64::from(nth) / of);
    }
    Ok(tried)
}

/// Whether waiting may help: it has not begun yet, or does not know the keys.
fn may_change(answer: Answer) -> bool {
    match answer {
        Answer::Failed(status) => !status.is_some_and(|status| status.is_redirection()),
        Answer::Refused(status) => status == StatusCode::UNAUTHORIZED,
        Answer::Accepted(_) => false,
    }
}

async fn ask(client: &Client, target: &Target, token: &str) -> Answer {
    let request = client.request(target.method.clone(), target.url.clone()).bearer_auth(token);
    match request.send().await {
        Ok(answer) if answer.status().is_success() || answer.status() == StatusCode::FORBIDDEN => {
            Answer::Accepted(answer.status())
        }
        Ok(answer) if answer.status().is_client_error() => Answer::Refused(answer.status()),
        Ok(answer) => Answer::Failed(Some(answer.status())),
        Err(_) => Answer::Failed(None),
    }
}

/// What it serves from.
struct Served {
    trial: Arc<Trial>,
    issuer: String,
}

/// Serves a trial's issuer until the handle stops it.
///
/// # Errors
/// What the system says.
pub fn serve(trial: Arc<Trial>, issuer: &str, listener: TcpListener) -> std::io::Result<ServerHandle> {
    let served = Data::new(Served { trial, issuer: issuer.to_owned() });
    let factory = move || {
        App::new()
            .app_data(served.clone())
            .route("/.well-known/oauth-authorization-server", web::get().to(metadata))
            .route("/.well-known/openid-configuration", web::get().to(metadata))
            .route("/jwks.json", web::get().to(jwks))
            .route("/status", web::get().to(lists))
            .route("/status/0", web::get().to(list))
    };
    let server = HttpServer::new(factory).workers(1).disable_signals().listen(listener)?.run();
    let handle = server.handle();
    drop(actix_web::rt::spawn(server));
    Ok(handle)
}

async fn metadata(served: Data<Served>) -> HttpResponse {
    let issuer = &served.issuer;
    HttpResponse::Ok().json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks.json"),
        "token_endpoint": format!("{issuer}/token"),
        "status_list_aggregation_endpoint": format!("{issuer}/status"),
        "response_types_supported": [],
    }))
}

async fn jwks(served: Data<Served>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/jwk-set+json").body(served.trial.jwks())
}

async fn lists(served: Data<Served>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status_lists": [format!("{}/status/0", served.issuer)] }))
}

async fn list(served: Data<Served>) -> HttpResponse {
    let token = served.trial.status_list(Clock::system().now().unix_seconds());
    HttpResponse::Ok().content_type("application/statuslist+jwt").body(token)
}
