//! A browser that keeps cookies, follows nothing by itself, and fills in the forms of our pages.

use std::collections::BTreeMap;
use std::sync::Mutex;

use countersign::secret::{Digest, Random, encode_base64url};

use crate::app::{PASSWORD, TestApp};
use crate::relying_party::{Answer, RelyingParty};

/// Where the codes of test clients go.
pub const CALLBACK: &str = "https://app.example/cb";

pub struct Browser {
    party: RelyingParty,
    cookies: Mutex<BTreeMap<String, String>>,
    user_agent: Mutex<String>,
}

/// What a page's form holds.
pub struct Form {
    pub action: String,
    pub fields: Vec<(String, String)>,
}

impl Browser {
    pub fn new(app: &TestApp) -> Self {
        let user_agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".to_owned();
        Self { party: app.relying_party(), cookies: Mutex::default(), user_agent: Mutex::new(user_agent) }
    }

    /// From now on it is another kind of browser.
    pub fn become_another(&self, user_agent: &str) {
        user_agent.clone_into(&mut self.user_agent.lock().unwrap());
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[("Sec-Fetch-Site", "none")])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, b"")
    }

    /// A form of our own page.
    pub fn post(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        self.post_with(path, &[("Sec-Fetch-Site", "same-origin")], pairs)
    }

    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], pairs: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
        all.extend(headers);
        self.send("POST", path, &all, body.as_bytes())
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let jar = self.cookies.lock().unwrap().clone();
        let cookies = jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let user_agent = self.user_agent.lock().unwrap().clone();
        let mut all = headers.to_vec();
        all.push(("User-Agent", &user_agent));
        if !cookies.is_empty() {
            all.push(("Cookie", &cookies));
        }
        let answer = self.party.send(method, path, &all, body);
        for set in answer.headers.get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Goes where a 303 of ours points.
    #[track_caller]
    pub fn follow(&self, answer: &Answer) -> Answer {
        assert_eq!(answer.status, 303, "{}", answer.body);
        let location = answer.header("location").unwrap();
        assert!(location.starts_with('/'), "not a step of ours: {location}");
        self.get(location)
    }

    /// Fills in the log-in page that a redirect leads to.
    #[track_caller]
    pub fn log_in(&self, to: &Answer, username: &str) -> Answer {
        self.log_in_with(to, username, PASSWORD)
    }

    #[track_caller]
    pub fn log_in_with(&self, to: &Answer, username: &str, password: &str) -> Answer {
        let form = Form::of(&self.follow(to));
        assert_eq!(form.action, "/login");
        form.send(self, &[("username", username), ("password", password)])
    }

    /// Says yes on the page that a redirect leads to.
    #[track_caller]
    pub fn allow(&self, to: &Answer) -> Answer {
        let form = Form::of(&self.follow(to));
        assert_eq!(form.action, "/consent");
        form.send(self, &[("decision", "allow")])
    }
}

impl Form {
    /// The first form of a page, with its hidden fields.
    #[track_caller]
    pub fn of(page: &Answer) -> Self {
        assert!(page.header("content-type").is_some_and(|text| text.starts_with("text/html")), "{}", page.body);
        let attribute = |tag: &str, name: &str| {
            let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
            Some(unescape(tag[start..].split('"').next()?))
        };
        let tags = |name: &str| {
            let open = format!("<{name} ");
            let form = page.body.find("<form ").map_or("", |start| page.body[start..].split("</form>").next().unwrap());
            form.split(&open).skip(1).map(|rest| format!(" {}", rest.split('>').next().unwrap())).collect::<Vec<_>>()
        };
        let action = tags("form").first().and_then(|tag| attribute(tag, "action")).expect("a form");
        let hidden = tags("input").into_iter().filter(|tag| attribute(tag, "type").as_deref() == Some("hidden"));
        let fields = hidden.map(|tag| (attribute(&tag, "name").unwrap(), attribute(&tag, "value").unwrap())).collect();
        Self { action, fields }
    }

    pub fn field(&self, name: &str) -> &str {
        &self.fields.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// Sends it with what a person typed.
    pub fn send(&self, browser: &Browser, typed: &[(&str, &str)]) -> Answer {
        let mut pairs: Vec<(&str, &str)> = self.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        pairs.extend(typed);
        browser.post(&self.action, &pairs)
    }
}

fn unescape(text: &str) -> String {
    let named = [("&#38;", "&"), ("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'")];
    named.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// A client that asks for codes: its parameters, and its verifier.
#[derive(Clone)]
pub struct CodeRequest {
    pub verifier: String,
    pub parameters: Vec<(String, String)>,
}

impl CodeRequest {
    /// Of the client `app` of [`TestApp::code_client`].
    pub fn new() -> Self {
        Self::of("app", CALLBACK)
    }

    pub fn of(client_id: &str, redirect_uri: &str) -> Self {
        let verifier = encode_base64url(&Random.bytes::<32>());
        let challenge = encode_base64url(Digest::sha256(verifier.as_bytes()).as_bytes());
        let parameters = [
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("scope", "openid email"),
            ("state", "af0ifjsldkj"),
            ("nonce", "n-0S6_WzA2Mj"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { verifier, parameters }
    }

    /// With a parameter set, or left out when its value is empty.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.parameters.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// With a parameter beside those that are there.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.parameters).finish();
        format!("/authorize?{query}")
    }

    /// What the client asks the token endpoint.
    pub fn redeem(&self, party: &RelyingParty, code: &str, more: &[(&str, &str)]) -> Answer {
        let client_id = &self.parameters.iter().find(|(name, _)| name == "client_id").unwrap().1;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", client_id),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", &self.verifier),
        ];
        form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        form.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        party.form("/token", &[], &form)
    }
}

/// The parameters of an answer that is on its way to the client.
#[track_caller]
pub fn response(answer: &Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 303, "{}", answer.body);
    let location = answer.header("location").unwrap();
    let query =
        location.strip_prefix(&format!("{CALLBACK}?")).unwrap_or_else(|| panic!("not to the client: {location}"));
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(map.len(), pairs.len(), "each once: {query}");
    map
}

/// The code of such an answer.
#[track_caller]
pub fn code(answer: &Answer) -> String {
    response(answer).remove("code").unwrap_or_else(|| panic!("no code: {answer:?}"))
}

impl TestApp {
    /// The public client `app`, which asks for codes at [`CALLBACK`] and whose people are asked for consent.
    pub fn code_client(&self) {
        self.client(
            "app",
            serde_json::json!({
                "client_name": "Example App",
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token"],
                "redirect_uris": [CALLBACK],
                "scope": "openid profile email offline_access read",
                "audiences": [crate::app::AUDIENCE],
            }),
        );
    }

    /// A person who has logged in at a browser and is asked whether `app` may: the browser, and the form.
    pub fn at_consent(&self) -> (Browser, Form) {
        self.code_client();
        let (_, email) = self.account();
        let browser = Browser::new(self);
        let asked = browser.log_in(&browser.get(&CodeRequest::new().path()), &email);
        let form = Form::of(&browser.follow(&asked));
        (browser, form)
    }

    /// A person who has logged in at a browser and allowed `app` what it wants: the browser, the e-mail address, and the
    /// code that the client got.
    pub fn at_browser(&self) -> (Browser, String, CodeRequest, String) {
        self.code_client();
        let (_, email) = self.account();
        let (browser, request) = (Browser::new(self), CodeRequest::new());
        let asked = browser.log_in(&browser.get(&request.path()), &email);
        let code = code(&browser.allow(&asked));
        (browser, email, request, code)
    }
}
