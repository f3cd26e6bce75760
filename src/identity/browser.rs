//! What a browser is known by whether anybody is logged in there or not, and the proof that a form of ours was shown in it.

use super::place::Place;
use super::remembered::RememberedToken;
use super::session::SessionToken;
use crate::app::App;
use crate::secret::{Digest, PlainSecret, Random, decode_base64url, encode_base64url};

/// Random bytes of what the cookie says: 256 bits.
const BYTES: usize = 32;

/// Who sends a request: a browser, and whoever may be logged in there.
pub struct Visitor {
    /// The browser.
    pub browser: Browser,
    /// What its session cookie says.
    pub session: Option<SessionToken>,
    /// What its other cookie remembers.
    pub remembered: Option<RememberedToken>,
    /// Where it is.
    pub place: Place,
}

/// A browser, by a cookie that says nothing about anybody.
pub struct Browser(PlainSecret);

impl Browser {
    /// Reads a cookie's value; `None` for what we never put there.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = decode_base64url(text)?;
        (bytes.len() == BYTES).then(|| Self(PlainSecret::new(text)))
    }

    /// One that was never here.
    pub fn new(random: &Random) -> Self {
        Self(PlainSecret::new(encode_base64url(&random.bytes::<BYTES>())))
    }

    /// The cookie's value.
    pub fn cookie(&self) -> &PlainSecret {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::sha256(self.0.expose().as_bytes())
    }

    /// What a form carries so that only this browser can send it, about `subject` alone (ASVS 3.5.1); `None` when there is
    /// no key.
    pub fn form_token(&self, app: &App, subject: &[&[u8]]) -> Option<String> {
        let secrets = app.secrets.load();
        let (_, key) = secrets.form_mac.last()?;
        Some(encode_base64url(key.mac(&self.parts(subject)).as_bytes()))
    }

    /// Whether a form was shown in this browser, about `subject`.
    pub fn showed(&self, app: &App, subject: &[&[u8]], form_token: &str) -> bool {
        let presented = decode_base64url(form_token).and_then(|bytes| Digest::from_slice(&bytes));
        let secrets = app.secrets.load();
        // A form that was shown before the master key's version changed is ours, too.
        secrets.form_mac.iter().any(|(_, key)| presented == Some(key.mac(&self.parts(subject))))
    }

    fn parts<'a>(&'a self, subject: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let mut parts = vec![self.0.expose().as_bytes()];
        parts.extend_from_slice(subject);
        parts
    }
}
