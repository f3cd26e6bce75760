//! What the steps of a request cost by themselves, without HTTP and without a database.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a measuring program stops at the first surprise"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base64::Engine as _;
use countersign::admin::clients;
use countersign::app::App;
use countersign::clock::{Clock, Deadline};
use countersign::limits::Network;
use countersign::oauth::token::{TokenCall, exchange};
use countersign::oauth::{PresentedKeys, RequestContext};
use countersign::password_hash::HashMemory;
use countersign::protocol::client_metadata::{ClientMetadata, ClientMetadataJson};
use countersign::settings::Settings;
use countersign::store::grants::Handle;
use countersign::token::refresh_token::RefreshToken;
use criterion::{Criterion, criterion_group, criterion_main};

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

fn app(folder: &std::path::Path) -> App {
    let url = format!("sqlite:{}", folder.join("countersign.db").display());
    let master_key = folder.join("master.key").display().to_string();
    let settings = Settings::with_overrides(&[("database.url", &url), ("keys.master_key_file", &master_key)]).unwrap();
    App::open(settings, "http://127.0.0.1:8080".to_owned(), Clock::system()).unwrap()
}

fn steps(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path());
    let json: ClientMetadataJson = serde_json::from_value(serde_json::json!({
        "grant_types": ["client_credentials"], "scope": "read write", "audiences": ["https://api.example"],
    }))
    .unwrap();
    let (_, secret) = clients::create(&app, "svc", ClientMetadata::try_from(json).unwrap(), "test").unwrap();
    app.clients.reload(&app.db).unwrap();
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("svc:{}", secret.unwrap().expose()));
    let authorization = format!("Basic {pair}");
    let body = b"grant_type=client_credentials&scope=read+write";
    let parse = || TokenCall::parse(FORM, Some(authorization.as_bytes()), black_box(body)).ok().unwrap();
    let context = || RequestContext {
        network: Network::of(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        deadline: Deadline::after(&app.clock, Duration::from_secs(10)),
        keys: PresentedKeys::default(),
    };
    let mint = || exchange(&app, parse(), &context(), &mut HashMemory::default()).ok().unwrap();
    let token = mint().0.access_token;
    let secrets = app.secrets.load();
    let keys = &secrets.refresh_token_mac;
    let refresh_token = RefreshToken { handle: Handle([7; 16]), generation: 9, sibling: 1 }.seal(keys).unwrap();
    let forged = refresh_token.replace(&refresh_token[80..], if refresh_token.ends_with('A') { "B" } else { "A" });

    criterion.bench_function("parse a token request", |bench| bench.iter(parse));
    criterion.bench_function("mint an access token, request to answer", |bench| bench.iter(mint));
    criterion.bench_function("verify an access token", |bench| {
        bench.iter(|| app.keyring.verify(black_box(&token), &app.issuer, app.clock.now()).ok().unwrap());
    });
    criterion.bench_function("open a refresh token", |bench| {
        bench.iter(|| RefreshToken::open(black_box(&refresh_token), keys).is_some());
    });
    criterion.bench_function("refuse a forged refresh token", |bench| {
        bench.iter(|| assert!(RefreshToken::open(black_box(&forged), keys).is_none()));
    });
}

criterion_group!(micro, steps);
criterion_main!(micro);
