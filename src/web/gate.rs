//! The gate: verifies tokens for a proxy that asks before it lets a request through (nginx `auth_request`, Traefik's
//! forward-auth, Envoy's `ext_authz` over HTTP). 2xx lets through, everything else is the answer.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use countersign_verifier::{Challenge, Claims, NoOtherClaims, Rejected, Requirements, Verifier, bearer};

use crate::metrics::VerifierMetrics;

/// What a proxy passes on to the service. All of them are always there, so that a proxy that takes them over overwrites
/// whatever a client has sent under the same names.
static SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
static CLIENT_ID: HeaderName = HeaderName::from_static("x-auth-client-id");
static SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");
static ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
static GRANT: HeaderName = HeaderName::from_static("x-auth-grant");

/// A gate and what it requires of every token.
pub struct Gate {
    /// Who looks at tokens.
    pub verifier: Verifier,
    /// What the verifier tells of itself.
    pub metrics: Arc<VerifierMetrics>,
    /// Scopes that every token needs, whatever is asked for beside them.
    pub scopes: Vec<String>,
    /// Whether every path asks for a token to be verified, and nothing else: for a proxy that passes the client's own path.
    pub any_path: bool,
}

/// What a location of the proxy asks for.
#[derive(Debug)]
struct Asked {
    requirements: Requirements,
    /// No token is nobody, and let through.
    optional: bool,
}

impl Asked {
    /// What every token needs.
    fn everywhere(scopes: &[String]) -> Self {
        let requirements = scopes.iter().fold(Requirements::new(), |all, scope| all.scope(scope));
        Self { requirements, optional: false }
    }

    /// Reads it from the query that the proxy's configuration wrote. What cannot be understood comes back: a requirement that
    /// is misspelt must not be none.
    fn parse(query: &str, scopes: &[String]) -> Result<Self, String> {
        let Self { mut requirements, mut optional } = Self::everywhere(scopes);
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query);
        let pairs = pairs.map_err(|_| query.to_owned())?.into_inner();
        let mut once = HashSet::new();
        for (name, value) in pairs {
            let unknown = || format!("{name}={value}");
            // The second of them would weaken the first.
            if name != "scope" && !once.insert(name.clone()) {
                return Err(unknown());
            }
            let seconds = || value.parse().map(Duration::from_secs).map_err(|_| unknown());
            match name.as_str() {
                "scope" if !value.is_empty() => {
                    requirements = value.split(' ').fold(requirements, Requirements::scope);
                }
                "acr" if !value.is_empty() => requirements = requirements.acr(&value.split(' ').collect::<Vec<_>>()),
                "max_age" => requirements = requirements.auth_age(seconds()?),
                "fresh" => requirements = requirements.fresh(seconds()?),
                "optional" if value == "true" => optional = true,
                _ => return Err(unknown()),
            }
        }
        Ok(Self { requirements, optional })
    }
}

/// Serves until the process is told to stop: the gate, and on a listener of its own, if there is one, what is said of it.
///
/// # Errors
/// What the system says.
pub fn serve(
    gate: Gate,
    listener: TcpListener,
    health: Option<TcpListener>,
) -> std::io::Result<actix_web::dev::Server> {
    let gate = Data::new(gate);
    if let Some(health) = health {
        let said = gate.clone();
        let factory = move || App::new().app_data(said.clone()).configure(describe);
        drop(actix_web::rt::spawn(HttpServer::new(factory).workers(1).disable_signals().listen(health)?.run()));
    }
    let factory = move || {
        let app = App::new().app_data(gate.clone());
        app.configure(|config| if gate.any_path { any_path(config) } else { named_paths(config) })
    };
    Ok(HttpServer::new(factory).workers(2).shutdown_timeout(5).listen(listener)?.run())
}

fn named_paths(config: &mut ServiceConfig) {
    describe(config);
    config.route("/verify", web::route().to(verify)).default_service(web::route().to(super::error::not_found));
}

/// Path and query are the client's own: nothing of them means anything here.
fn any_path(config: &mut ServiceConfig) {
    config.default_service(web::route().to(verify_any));
}

fn describe(config: &mut ServiceConfig) {
    config.route("/healthz", web::get().to(healthz)).route("/metrics", web::get().to(metrics));
}

async fn healthz(gate: Data<Gate>) -> HttpResponse {
    match gate.verifier.ready() {
        Ok(()) => HttpResponse::Ok().body("ready\n"),
        Err(rejected) => refuse(&rejected),
    }
}

async fn metrics(gate: Data<Gate>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(gate.metrics.render())
}

async fn verify(request: HttpRequest, gate: Data<Gate>) -> HttpResponse {
    match Asked::parse(request.query_string(), &gate.scopes) {
        Ok(asked) => answer(&request, &gate, &asked).await,
        Err(unknown) => {
            // It is the proxy's configuration, not a client's.
            tracing::error!(?unknown, "the gate does not know what is asked of it");
            super::error::problem(StatusCode::INTERNAL_SERVER_ERROR, "the gate does not know what is asked of it")
        }
    }
}

async fn verify_any(request: HttpRequest, gate: Data<Gate>) -> HttpResponse {
    answer(&request, &gate, &Asked::everywhere(&gate.scopes)).await
}

async fn answer(request: &HttpRequest, gate: &Gate, asked: &Asked) -> HttpResponse {
    let outcome = match bearer(request.headers().get_all(AUTHORIZATION).map(HeaderValue::as_bytes)) {
        // No token is nobody; a bad one is refused all the same.
        Err(Rejected::Missing) if asked.optional => return admit(None),
        Err(rejected) => Err(rejected),
        Ok(token) => gate.verifier.verify_waiting::<NoOtherClaims>(token).await,
    };
    match outcome.and_then(|claims| asked.requirements.admit(&claims).map(|()| claims)) {
        Ok(claims) => admit(Some(&claims)),
        Err(rejected) => refuse(&rejected),
    }
}

/// Lets through, and says who it is; or that it is nobody.
fn admit(claims: Option<&Claims>) -> HttpResponse {
    let of = |text: Option<&str>| HeaderValue::from_str(text.unwrap_or_default());
    let roles = claims.map(|claims| claims.roles.join(" "));
    let headers = [
        (&SUBJECT, of(claims.map(|claims| claims.sub.as_str()))),
        (&CLIENT_ID, of(claims.map(|claims| claims.client_id.as_str()))),
        (&SCOPE, of(claims.map(|claims| claims.scope.as_str()))),
        (&ROLES, of(roles.as_deref())),
        (&GRANT, of(claims.and_then(|claims| claims.sid.as_deref()))),
    ];
    let mut answer = HttpResponse::Ok();
    for (name, value) in headers {
        // RFC 9110 §5.5: what no header can carry must not arrive as something else.
        let Ok(value) = value else { return refuse(&Rejected::BadClaims) };
        answer.insert_header((name.clone(), value));
    }
    answer.insert_header((CACHE_CONTROL, "no-store")).finish()
}

fn refuse(rejected: &Rejected) -> HttpResponse {
    let status = StatusCode::from_u16(rejected.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(challenge) = rejected.www_authenticate(&Challenge::new()) {
        answer.insert_header((WWW_AUTHENTICATE, challenge));
    }
    if let Some(wait) = rejected.retry_after() {
        answer.insert_header((RETRY_AFTER, wait.as_secs()));
    }
    answer.content_type("application/problem+json").body(rejected.problem())
}

#[cfg(test)]
mod tests {
    use countersign_verifier::testing::TestIssuer;

    use super::*;

    #[test]
    fn what_is_asked_is_understood_or_refused() {
        let issuer = TestIssuer::new("https://as.example", "https://orders.example");
        let refusal = |query: &str, scope: &str| {
            let token = issuer.token().scope(scope).claim("acr", "mfa").claim("auth_time", issuer.now() - 60).sign();
            let claims: Claims = issuer.verifier().verify(&token).unwrap();
            let asked = Asked::parse(query, &["all".to_owned()]).unwrap();
            asked.requirements.admit(&claims).err()
        };
        assert_eq!(refusal("", "all"), None);
        assert_eq!(refusal("scope=read+write&scope=more&acr=phr+mfa&max_age=60&fresh=10", "all read write more"), None);
        let needed = "all read write more".to_owned();
        assert_eq!(refusal("scope=read+write&scope=more", "read"), Some(Rejected::InsufficientScope { needed }));
        assert!(refusal("acr=phr", "all").is_some() && refusal("max_age=59", "all").is_some());
        assert!(Asked::parse("optional=true", &[]).unwrap().optional && !Asked::parse("", &[]).unwrap().optional);
        for query in [
            "scopes=read",
            "scope=",
            "acr=",
            "max_age=5m",
            "fresh=-1",
            "optional=1",
            "x",
            "optional",
            "acr=phr&acr=mfa",
            "max_age=9&max_age=99",
        ] {
            let unknown = Asked::parse(query, &[]).unwrap_err();
            assert!(unknown.starts_with(query.split('=').next().unwrap()), "{unknown}");
        }
    }
}
