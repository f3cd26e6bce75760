//! A client that speaks: forms in, answers out, and what they hold.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use crate::app::PASSWORD;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

/// What a token response holds.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: Option<String>,
    pub scope: String,
    pub expires_in: u64,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.body))
    }

    /// The tokens of a 200.
    #[track_caller]
    pub fn tokens(&self) -> Tokens {
        assert_eq!(self.status, 200, "{}", self.body);
        let json = self.json();
        Tokens {
            access: json["access_token"].as_str().unwrap().to_owned(),
            refresh: json["refresh_token"].as_str().map(str::to_owned),
            scope: json["scope"].as_str().unwrap().to_owned(),
            expires_in: json["expires_in"].as_u64().unwrap(),
        }
    }

    /// The `error` of a refusal.
    #[track_caller]
    pub fn error(&self) -> String {
        assert!(self.status >= 400, "{}", self.body);
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {}", self.body)).to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Tokens {
    #[track_caller]
    pub fn refresh_token(&self) -> &str {
        self.refresh.as_deref().expect("a refresh token")
    }

    pub fn claims(&self) -> Value {
        part(&self.access, 1)
    }

    pub fn jose_header(&self) -> Value {
        part(&self.access, 0)
    }
}

fn part(token: &str, nth: usize) -> Value {
    let encoded = token.split('.').nth(nth).unwrap();
    serde_json::from_slice(&countersign::secret::decode_base64url(encoded).unwrap()).unwrap()
}

/// A client of one server.
#[derive(Clone)]
pub struct RelyingParty {
    agent: Agent,
    base: String,
}

impl RelyingParty {
    pub fn new(base: &str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self { agent: agent.into(), base: base.to_owned() }
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, b"")
    }

    /// A form as a browser would encode it.
    pub fn form(&self, path: &str, headers: &[(&str, &str)], pairs: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.raw_form(path, headers, body.as_bytes())
    }

    pub fn raw_form(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
        all.extend(headers);
        self.send("POST", path, &all, body)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = if body.is_empty() && method != "POST" {
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            self.agent.run(request.body(body).unwrap()).unwrap()
        };
        let body = response.body_mut().read_to_string().unwrap();
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    pub fn log_in(&self, client_id: &str, username: &str) -> Answer {
        self.log_in_with(client_id, username, PASSWORD)
    }

    pub fn log_in_with(&self, client_id: &str, username: &str, password: &str) -> Answer {
        let form =
            [("grant_type", "password"), ("client_id", client_id), ("username", username), ("password", password)];
        self.form("/token", &[], &form)
    }

    pub fn refresh(&self, client_id: &str, token: &str) -> Answer {
        self.refresh_with(client_id, token, &[])
    }

    pub fn refresh_with(&self, client_id: &str, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", token)];
        form.extend(more);
        self.form("/token", &[], &form)
    }

    pub fn client_credentials(&self, client_id: &str, secret: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(more);
        self.form("/token", &[("Authorization", &basic(client_id, secret))], &form)
    }

    pub fn introspect(&self, client_id: &str, secret: &str, token: &str) -> Answer {
        self.form("/introspect", &[("Authorization", &basic(client_id, secret))], &[("token", token)])
    }

    /// Revokes as a public client.
    pub fn revoke(&self, client_id: &str, token: &str) -> Answer {
        self.form("/revoke", &[], &[("client_id", client_id), ("token", token)])
    }
}

/// The Authorization header of RFC 6749 §2.3.1.
pub fn basic(client_id: &str, secret: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{client_id}:{secret}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}
