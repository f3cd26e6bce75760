//! `countersign verify-suite`: good and bad tokens against any service that verifies, in any language.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_verifier::conformance::{Trial, Verdict};
use reqwest::{Method, StatusCode, Url};
use serde_json::json;

use super::CommandError;
use super::keys::KeyAlgorithm;
use super::output::{Output, table};
use crate::clock::Clock;
use crate::web::trial::{self, Answer, Target, Tried};

#[derive(Args)]
pub(super) struct VerifySuite {
    /// A URL of the service under trial that wants an access token and answers 2xx to a good one. 401 and 400 refuse a token; 403
    /// does not: it is said to somebody who is known.
    #[arg(long, value_name = "URL", required_unless_present = "export")]
    target: Option<Url>,
    /// The name of the service, which tokens for it have in `aud`.
    #[arg(long, value_name = "URI")]
    audience: String,
    /// Where the issuer of the trial listens; the service must trust it, and be able to reach it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9400")]
    listen: SocketAddr,
    /// The name of that issuer, if the service reaches it by another than http:// and its address.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The method of the requests.
    #[arg(long, default_value = "GET")]
    method: Method,
    /// The scope of the good tokens.
    #[arg(long, default_value = "read write")]
    scope: String,
    /// How long to wait for the service to take a good token.
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// What the tokens are signed by.
    #[arg(long, value_enum, default_value = "RS256")]
    algorithm: KeyAlgorithm,
    /// Also demand what only strict verifiers do: unique members, all claims of RFC 9068, the status.
    #[arg(long)]
    strict: bool,
    /// Try nothing: print the tokens, the JWKS and the status list as JSON, for a trial of your own at that moment.
    #[arg(long, conflicts_with = "target")]
    export: bool,
}

pub(super) fn run(suite: &VerifySuite, output: &Output) -> Result<(), CommandError> {
    let issuer = suite.issuer.clone().unwrap_or_else(|| format!("http://{}", suite.listen));
    let now = Clock::system().now().unix_seconds();
    let trial = Trial::new(&issuer, &suite.audience, now).map_err(|_| crate::keys::KeysError::NotGenerated);
    let trial = trial.map_err(crate::app::StartError::from)?.with_scope(&suite.scope);
    let trial = match suite.algorithm {
        KeyAlgorithm::Rs256 => trial,
        KeyAlgorithm::Ps256 => trial.signed_by_ps256(),
    };
    if suite.export {
        output.value(&trial.to_json());
        return Ok(());
    }
    let Some(target) = &suite.target else { return Err(CommandError::Usage("--target is wanted")) };
    let listen = |source| CommandError::Listen { setting: "--listen", address: suite.listen, source };
    let listener = TcpListener::bind(suite.listen).map_err(listen)?;
    let trial = Arc::new(trial);
    let tried = actix_web::rt::System::new().block_on(async {
        let serving = trial::serve(trial.clone(), &issuer, listener)?;
        output.line(&format!(
            "The service must trust the issuer {issuer} (JWKS {issuer}/jwks.json) for the audience {}.",
            suite.audience
        ));
        let target = Target { url: target.clone(), method: suite.method.clone(), patience: suite.patience };
        let tried = trial::play(&target, &trial, |share| output.progress(share)).await;
        serving.stop(false).await;
        Ok::<_, CommandError>(tried)
    })?;
    let tried = tried.map_err(not_even_good)?;
    report(suite, &tried, output)
}

/// What is wrong with the answer, if anything is.
fn fault_of(tried: &Tried, strict: bool) -> Option<&'static str> {
    let demanded = tried.case.verdict != Verdict::RefuseIfStrict || strict;
    match (tried.case.verdict, tried.answer) {
        (Verdict::Accept, Answer::Accepted(_)) | (Verdict::Refuse | Verdict::RefuseIfStrict, Answer::Refused(_)) => {
            None
        }
        (Verdict::Accept, Answer::Refused(_)) => Some("refuses a good token"),
        (Verdict::Refuse | Verdict::RefuseIfStrict, Answer::Accepted(_)) => {
            Some(if demanded { "LETS IT THROUGH" } else { "lets it through, as most do" })
        }
        (_, Answer::Failed(_)) => Some("fails"),
    }
}

fn counts(tried: &Tried, strict: bool) -> bool {
    fault_of(tried, strict).is_some_and(|fault| fault != "lets it through, as most do")
}

/// Says what it may be.
fn not_even_good(answer: Answer) -> CommandError {
    let hint = match answer {
        Answer::Failed(None) => "is it running, and is --target its address?",
        Answer::Failed(Some(status)) if status.is_redirection() => "--target wants the address that it leads to",
        Answer::Failed(_) => "look at its log: it may not reach the issuer of the trial at --listen",
        Answer::Accepted(_) => "--scope wants the scopes that it asks for",
        Answer::Refused(StatusCode::UNAUTHORIZED) => "does it trust the issuer and the audience above?",
        Answer::Refused(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
            "--target wants a route that needs a token, --method its method"
        }
        Answer::Refused(_) => "--target wants a route that answers 2xx to a good token and no body",
    };
    CommandError::NotEvenGood { answer: describe(answer), hint }
}

fn describe(answer: Answer) -> String {
    match answer {
        Answer::Accepted(status) | Answer::Refused(status) | Answer::Failed(Some(status)) => {
            status.as_u16().to_string()
        }
        Answer::Failed(None) => "no answer".to_owned(),
    }
}

fn report(suite: &VerifySuite, tried: &[Tried], output: &Output) -> Result<(), CommandError> {
    let faults: Vec<&Tried> = tried.iter().filter(|one| fault_of(one, suite.strict).is_some()).collect();
    let wrong = tried.iter().filter(|one| counts(one, suite.strict)).count();
    let described = |one: &Tried| {
        json!({
            "name": one.case.name, "verdict": one.case.verdict, "why": one.case.why, "answer": describe(one.answer),
            "fault": fault_of(one, suite.strict),
        })
    };
    let json =
        json!({ "tried": tried.len(), "wrong": wrong, "cases": tried.iter().map(described).collect::<Vec<_>>() });
    output.either(&json, || {
        let head = ["token", "answer", "the service", "which is"].map(str::to_owned).to_vec();
        let line = |one: &&Tried| {
            let fault = fault_of(one, suite.strict).unwrap_or_default();
            vec![one.case.name.to_owned(), describe(one.answer), fault.to_owned(), one.case.why.to_owned()]
        };
        let found =
            if faults.is_empty() { String::new() } else { format!("{}\n\n", table(head, faults.iter().map(line))) };
        let good = tried.iter().filter(|one| one.case.verdict == Verdict::Accept).count();
        format!("{found}{} tokens, {good} of them good; {wrong} wrong answers", tried.len())
    });
    if wrong == 0 { Ok(()) } else { Err(CommandError::SuiteFailed { wrong, tried: tried.len() }) }
}
