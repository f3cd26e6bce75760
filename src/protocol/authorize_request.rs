//! An authorization request, parsed (RFC 6749 §4.1.1, RFC 7636 §4.3, OpenID Connect Core §3.1.2.1). Who asks and where
//! the answer goes are settled before it is read.

use std::collections::BTreeSet;
use std::time::Duration;

use super::claims_request::{ClaimsRequest, Insisted};
use super::params::{Params, has_control_characters};
use super::pkce::CodeChallenge;
use super::resource::{Resource, Resources};
use super::scope::Scope;
use crate::reason::{AuthorizeRefusal, Refusal, RequestRefusal};
use crate::secret::{PlainSecret, decode_base64url};

/// The most bytes of `state`, which travels twice more.
const MAX_STATE_BYTES: usize = 2048;
/// The most bytes of `nonce`, which travels in the ID token.
const MAX_NONCE_BYTES: usize = 512;
/// The most bytes of `login_hint`.
const MAX_HINT_BYTES: usize = 320;

/// What an authorization request is made of: whatever else came with it is not kept.
pub const PARAMETERS: [&str; 18] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "resource",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "login_hint",
    "id_token_hint",
    "ui_locales",
    "claims",
    "acr_values",
    "dpop_jkt",
];

/// How the answer travels (OAuth 2.0 Multiple Response Types §2.1, Form Post §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query of a redirect.
    #[default]
    Query,
    /// In a form that the browser posts.
    FormPost,
}

impl ResponseMode {
    /// All of them, as metadata lists them.
    pub const ALL: [&'static str; 2] = ["query", "form_post"];

    /// The one in the request, or the default.
    ///
    /// # Errors
    /// [`AuthorizeRefusal::ResponseMode`] for any other: `fragment` would put a code where scripts of a page read it.
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        match params.find("response_mode") {
            None | Some("query") => Ok(Self::Query),
            Some("form_post") => Ok(Self::FormPost),
            Some(_) => Err(AuthorizeRefusal::ResponseMode.into()),
        }
    }
}

/// What `prompt` asks for (OpenID Connect Core §3.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prompt {
    /// No page may be shown.
    None,
    /// The person logs in anew.
    Login,
    /// The person is asked for consent, whatever was said before.
    Consent,
    /// The person says which account.
    SelectAccount,
}

impl Prompt {
    /// All values, in the order that metadata lists them.
    pub const ALL: [Self; 4] = [Self::None, Self::Login, Self::Consent, Self::SelectAccount];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::Consent => "consent",
            Self::SelectAccount => "select_account",
        }
    }

    fn parse_all(text: &str) -> Result<BTreeSet<Self>, Refusal> {
        let find = |value| Self::ALL.into_iter().find(|prompt| prompt.as_str() == value);
        let prompts: Option<BTreeSet<Self>> = text.split(' ').filter(|value| !value.is_empty()).map(find).collect();
        // OpenID Connect Core §3.1.2.1: none with any other value is an error.
        let prompts = prompts.filter(|prompts| prompts.len() == 1 || !prompts.contains(&Self::None));
        prompts.ok_or_else(|| Refusal::from(RequestRefusal::MalformedParameter).about("prompt"))
    }
}

/// A well-formed authorization request; by default one that asks for nothing in particular.
#[derive(Clone, Debug, Default)]
pub struct AuthorizeRequest {
    /// The scope asked for, if any.
    pub scope: Option<Scope>,
    /// The resources asked for (RFC 8707 §2.1); empty means all that are allowed.
    pub resources: Resources,
    /// What the verifier of the code must fit.
    pub challenge: Option<CodeChallenge>,
    /// Goes into the ID token as it is.
    pub nonce: Option<String>,
    /// What the person is to be asked.
    pub prompts: BTreeSet<Prompt>,
    /// How long ago the person may have logged in at most.
    pub max_age: Option<Duration>,
    /// Which name the log-in page begins with.
    pub login_hint: Option<String>,
    /// An ID token of whoever the client believes to be there.
    pub id_token_hint: Option<PlainSecret>,
    /// Languages that the person reads, the best first (BCP 47).
    pub ui_locales: Vec<String>,
    /// Claims that are asked for by name.
    pub claims: ClaimsRequest,
    /// What must hold of the person and the log-in.
    pub insisted: Insisted,
    /// The key that whoever redeems the code must show.
    pub dpop_jkt: Option<String>,
}

impl AuthorizeRequest {
    /// Reads the parameters of a request whose client and redirect URI are known.
    ///
    /// # Errors
    /// An [`AuthorizeRefusal`] or a [`RequestRefusal`] naming the parameter at fault.
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        params.refuse_repeated()?;
        // RFC 9700 §2.1.2: only a code ever leaves this endpoint.
        if params.require("response_type")? != "code" {
            return Err(AuthorizeRefusal::ResponseType.into());
        }
        Self::parse_rest(params)
    }

    /// The same where `response_type` may be left out, since nothing but a code is answered
    /// (draft-ietf-oauth-first-party-apps §5.1).
    ///
    /// # Errors
    /// An [`AuthorizeRefusal`] or a [`RequestRefusal`] naming the parameter at fault.
    pub fn parse_challenge(params: &Params) -> Result<Self, Refusal> {
        params.refuse_repeated()?;
        if params.find("response_type").is_some_and(|name| name != "code") {
            return Err(AuthorizeRefusal::ResponseType.into());
        }
        Self::parse_rest(params)
    }

    fn parse_rest(params: &Params) -> Result<Self, Refusal> {
        refuse_unsupported(params)?;
        let (claims, insisted) = params.find("claims").map(ClaimsRequest::parse).transpose()?.unwrap_or_default();
        let scope = params.find("scope").map(Scope::parse).transpose()?;
        let resources: Result<Resources, _> = params.resources().map(Resource::parse).collect();
        let method = params.find("code_challenge_method");
        Ok(Self {
            scope,
            resources: resources.map_err(|_| RequestRefusal::MalformedResource)?,
            challenge: params.find("code_challenge").map(|text| CodeChallenge::parse(text, method)).transpose()?,
            nonce: params.find("nonce").map(|text| bounded("nonce", text, MAX_NONCE_BYTES)).transpose()?,
            prompts: params.find("prompt").map(Prompt::parse_all).transpose()?.unwrap_or_default(),
            max_age: params.find("max_age").map(parse_max_age).transpose()?,
            login_hint: params.find("login_hint").and_then(|text| bounded("login_hint", text, MAX_HINT_BYTES).ok()),
            id_token_hint: params.find("id_token_hint").map(PlainSecret::new),
            ui_locales: parse_ui_locales(params),
            claims,
            insisted,
            dpop_jkt: params.find("dpop_jkt").map(parse_jkt).transpose()?,
        })
    }
}

/// The parameters of a request, as a form, of somebody who has said which account: that is not asked again.
pub fn with_account_selected(parameters: &str) -> String {
    let selected = Prompt::SelectAccount.as_str();
    let pairs = url::form_urlencoded::parse(parameters.as_bytes()).filter_map(|(name, value)| {
        if name != "prompt" {
            return Some((name, value.into_owned()));
        }
        let others: Vec<_> = value.split(' ').filter(|prompt| *prompt != selected).collect();
        (!others.is_empty()).then(|| (name, others.join(" ")))
    });
    let pairs: Vec<_> = pairs.collect();
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The `state` of a request, which goes back byte for byte, errors included (RFC 6749 §4.1.2.1).
///
/// # Errors
/// [`RequestRefusal::MalformedParameter`] for more than 2 KiB or a control character.
pub fn parse_state(params: &Params) -> Result<Option<String>, Refusal> {
    params.find("state").map(|text| bounded("state", text, MAX_STATE_BYTES)).transpose()
}

/// OpenID Connect Core §3.1.2.6: parameters that change a request's meaning are refused rather than overlooked.
fn refuse_unsupported(params: &Params) -> Result<(), Refusal> {
    match params.find("registration") {
        Some(_) => Err(AuthorizeRefusal::RegistrationNotSupported.into()),
        None => Ok(()),
    }
}

/// RFC 9449 §10: the SHA-256 thumbprint of a key in base64url.
fn parse_jkt(text: &str) -> Result<String, Refusal> {
    let is_digest = decode_base64url(text).is_some_and(|bytes| bytes.len() == 32);
    if is_digest {
        Ok(text.to_owned())
    } else {
        Err(Refusal::from(RequestRefusal::MalformedParameter).about("dpop_jkt"))
    }
}

fn parse_max_age(text: &str) -> Result<Duration, Refusal> {
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| digits);
    seconds.map(Duration::from_secs).ok_or_else(|| Refusal::from(RequestRefusal::MalformedParameter).about("max_age"))
}

fn bounded(name: &'static str, text: &str, most: usize) -> Result<String, Refusal> {
    if text.len() > most || has_control_characters(text) {
        return Err(Refusal::from(RequestRefusal::MalformedParameter).about(name));
    }
    Ok(text.to_owned())
}

/// OpenID Connect Core §3.1.2.1: the languages that the person reads, the best first. Any text is one; none is refused.
pub fn parse_ui_locales(params: &Params) -> Vec<String> {
    params.find("ui_locales").unwrap_or_default().split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn parse(query: &str) -> Result<AuthorizeRequest, Reason> {
        let params = Params::parse_query(query.as_bytes()).map_err(|refusal| refusal.reason)?;
        AuthorizeRequest::parse(&params).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_request_is_read() {
        let query = format!(
            "response_type=code&scope=openid+read&code_challenge={CHALLENGE}&code_challenge_method=S256&nonce=n&prompt=login+consent\
             &max_age=0&ui_locales=de+en&login_hint=a%40b.example&unknown=1&unknown=2"
        );
        let request = parse(&query).map_err(Reason::id).unwrap();
        assert_eq!(request.prompts, [Prompt::Login, Prompt::Consent].into());
        assert_eq!((request.max_age, request.nonce.as_deref()), (Some(Duration::ZERO), Some("n")));
        assert_eq!(request.ui_locales, ["de", "en"]);
        assert_eq!(request.login_hint.as_deref(), Some("a@b.example"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let malformed = Reason::Request(RequestRefusal::MalformedParameter);
        for (query, reason) in [
            ("", RequestRefusal::MissingParameter.into()),
            ("response_type=", RequestRefusal::MissingParameter.into()),
            ("response_type=token", AuthorizeRefusal::ResponseType.into()),
            ("response_type=code+token", AuthorizeRefusal::ResponseType.into()),
            ("response_type=code+id_token", AuthorizeRefusal::ResponseType.into()),
            ("response_type=none", AuthorizeRefusal::ResponseType.into()),
            ("response_type=Code", AuthorizeRefusal::ResponseType.into()),
            ("response_type=code&response_type=code", RequestRefusal::DuplicatedParameter.into()),
            ("response_type=code&nonce=a&nonce=a", RequestRefusal::DuplicatedParameter.into()),
            ("response_type=code&prompt=none+login", malformed),
            ("response_type=code&prompt=create", malformed),
            ("response_type=code&max_age=-1", malformed),
            ("response_type=code&max_age=+1", malformed),
            ("response_type=code&max_age=1.5", malformed),
            ("response_type=code&max_age=9999999999", malformed),
            ("response_type=code&nonce=a%00b", malformed),
            ("response_type=code&scope=%22", RequestRefusal::MalformedScope.into()),
            ("response_type=code&resource=api", RequestRefusal::MalformedResource.into()),
            ("response_type=code&claims=x", malformed),
            ("response_type=code&dpop_jkt=x", malformed),
            ("response_type=code&registration=%7B%7D", AuthorizeRefusal::RegistrationNotSupported.into()),
            ("response_type=code&code_challenge=x", AuthorizeRefusal::ChallengeMethod.into()),
        ] {
            assert_eq!(parse(query).err(), Some(reason), "{query}");
        }
    }

    #[test]
    fn a_kept_request_reads_the_same() {
        let query = "response_type=code&scope=a+b&state=%26%3D%C3%A4+%2B&resource=https%3A%2F%2Fa.example&resource=https%3A%2F%2Fb.example";
        let params = Params::parse_query(query.as_bytes()).map_err(|refusal| refusal.reason.id()).unwrap();
        let kept = params.to_form(&PARAMETERS);
        let again = Params::parse_query(kept.as_bytes()).map_err(|refusal| refusal.reason.id()).unwrap();
        assert_eq!(parse_state(&again).ok().flatten().as_deref(), Some("&=ä +"));
        assert_eq!(kept, again.to_form(&PARAMETERS));
        assert_eq!(again.resources().count(), 2);
    }

    #[test]
    fn an_account_is_selected_once() {
        for (before, after) in [
            ("a=b&prompt=select_account&c=d", "a=b&c=d"),
            ("prompt=select_account+consent&resource=x&resource=y", "prompt=consent&resource=x&resource=y"),
            ("state=a%26b&prompt=login", "state=a%26b&prompt=login"),
        ] {
            assert_eq!(with_account_selected(before), after);
        }
    }
}
