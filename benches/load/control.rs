//! The controls: the least that could do the costly part of the work, each in a process of its own so that its
//! processor time can be told from the driver's.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer, web};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// As many workers as the server has.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Serves what came on standard input, header lines and a body, at every path, from memory.
pub fn serve_bytes() {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).expect("bytes to serve");
    let head_end = crate::driver::find(&bytes, b"\r\n\r\n").expect("an empty line");
    let body = Bytes::from(bytes.split_off(head_end + 4));
    let head: Vec<(HeaderName, HeaderValue)> = std::str::from_utf8(&bytes)
        .expect("text")
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| !["connection", "content-length", "date"].contains(&name.to_lowercase().as_str()))
        .map(|(name, value)| (name.to_lowercase().parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    let answer = Data::new((head, body));
    serve(move |config| {
        config.app_data(answer.clone()).default_service(web::get().to(
            |answer: Data<(Vec<(HeaderName, HeaderValue)>, Bytes)>| async move {
                let mut response = HttpResponse::Ok();
                for (name, value) in &answer.0 {
                    response.insert_header((name.clone(), value.clone()));
                }
                response.body(answer.1.clone())
            },
        ));
    });
}

/// Signs one token for each request, with a key that is parsed once, and answers it as a token response.
pub fn serve_signatures() {
    let key = Data::new(KeyPair::generate(KeySize::Rsa2048).expect("an RSA key"));
    serve(move |config| {
        config.app_data(key.clone()).default_service(web::post().to(|key: Data<KeyPair>, _: Bytes| async move {
            let access_token = sign(&key);
            HttpResponse::Ok().json(serde_json::json!({
                "access_token": access_token, "token_type": "Bearer", "expires_in": 600, "scope": "read write",
            }))
        }));
    });
}

fn sign(key: &KeyPair) -> String {
    let claims = serde_json::json!({
        "iss": "http://127.0.0.1:8080", "sub": "01890a5d-ac96-774b-bcce-b302099a8057", "aud": ["https://api.example"],
        "client_id": "web", "exp": 1_800_000_600, "iat": 1_800_000_000, "jti": "AAAAAAAAAAAAAAAAAAAAAA",
        "scope": "read write", "sid": "01890a5d-ac96-774b-bcce-b302099a8057", "auth_time": 1_800_000_000,
    });
    let header = r#"{"typ":"at+jwt","alg":"RS256","kid":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    let payload = serde_json::to_vec(&claims).expect("JSON");
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).expect("a signature");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Listens on a free port, says which, and serves until it is killed.
fn serve(configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) {
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(move || App::new().configure(configure.clone()))
            .workers(workers())
            .bind(("127.0.0.1", 0))
            .expect("a port");
        println!("{}", server.addrs().first().expect("an address").port());
        std::io::stdout().flush().expect("standard output");
        server.run().await.expect("a server");
    });
}

/// Argon2id hashes a second, with the server's parameters, on `threads` threads with a block of memory each.
pub fn hash_rate(threads: usize, span: Duration) -> f64 {
    let count: usize = std::thread::scope(|scope| {
        let hashing: Vec<_> = (0..threads).map(|_| scope.spawn(move || hash_for(span))).collect();
        hashing.into_iter().map(|thread| thread.join().expect("a thread that hashes")).sum()
    });
    count as f64 / span.as_secs_f64()
}

fn hash_for(span: Duration) -> usize {
    let params = argon2::Params::new(19_456, 2, 1, Some(32)).expect("parameters");
    let mut memory = vec![argon2::Block::default(); params.block_count()];
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let (began, mut count, mut out) = (Instant::now(), 0, [0_u8; 32]);
    while began.elapsed() < span {
        argon2
            .hash_password_into_with_memory(b"a password of some length", b"0123456789abcdef", &mut out, &mut memory)
            .expect("a hash");
        count += 1;
    }
    count
}
