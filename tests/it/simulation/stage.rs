//! What a worker sets up once: one database, two instances whose clocks disagree, one client; and for each seed an
//! account with its grants.

use std::sync::Arc;
use std::time::Duration;

use countersign::admin::clients;
use countersign::app::App;
use countersign::clock::{Clock, Timestamp};
use countersign::id::{AccountId, GrantId};
use countersign::login_name::{LoginKey, parse_email};
use countersign::protocol::claims_request::ClaimsRequest;
use countersign::protocol::client_credentials::ClientId;
use countersign::protocol::client_metadata::{ClientMetadata, ClientMetadataJson};
use countersign::protocol::scope::Scope;
use countersign::secret::{Random, encode_base64url};
use countersign::store::accounts::{self, Account};
use countersign::store::grants::{self, Grant, Handle, Rotation};
use countersign::token::refresh_token::RefreshToken;

use super::call::hook;
use crate::app::{BEGINNING, TestDatabase};

/// How far the second instance's clock is ahead.
pub const SKEW: Duration = Duration::from_secs(3);

const ISSUER: &str = "http://127.0.0.1";

/// One of the two instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    A,
    B,
}

pub struct Stage {
    database: TestDatabase,
    apps: [Arc<App>; 2],
}

impl Stage {
    pub fn build() -> Self {
        let database = TestDatabase::prepared();
        let apps = [BEGINNING, BEGINNING.plus(SKEW)].map(|now| open(&database, Clock::manual(now)));
        let json = serde_json::json!({
            "token_endpoint_auth_method": "none",
            "grant_types": ["password", "refresh_token"],
            "scope": "read",
        });
        let json: ClientMetadataJson = serde_json::from_value(json).unwrap();
        clients::create(&apps[0], "web", ClientMetadata::try_from(json).unwrap(), "test").unwrap();
        for app in &apps {
            app.clients.reload(&app.db).unwrap();
        }
        Self { database, apps }
    }

    pub fn app(&self, instance: Instance) -> &Arc<App> {
        &self.apps[instance as usize]
    }

    /// By the first instance's clock.
    pub fn now(&self) -> Timestamp {
        self.apps[0].clock.now()
    }

    pub fn advance(&self, span: Duration) {
        for app in &self.apps {
            app.clock.advance(span);
            app.keyring.confirm(app.clock.monotonic());
        }
    }

    /// Opens an instance anew, as after a restart of its process.
    pub fn restart(&mut self, instance: Instance) {
        let clock = self.app(instance).clock.clone();
        self.apps[instance as usize] = open(&self.database, clock);
    }

    pub fn account(&self) -> AccountId {
        let app = self.app(Instance::A);
        let email = format!("{}@people.test", encode_base64url(&Random.bytes::<9>()).to_lowercase());
        let key = parse_email(&email).unwrap();
        let account = Account {
            id: AccountId::new(app.clock.now(), &Random),
            email,
            username: None,
            password_hash: "nobody logs in".to_owned(),
            roles: Vec::new(),
            created_at: app.clock.now(),
            disabled_at: None,
            credentials_version: 0,
            claims: serde_json::Map::new(),
        };
        let id = account.id;
        app.db.write(move |tx| accounts::insert(tx, &account, (&key, None))).unwrap();
        id
    }

    /// A grant as a log-in makes it, and its first token.
    pub fn grant(&self, account_id: AccountId) -> (GrantId, String) {
        let app = self.app(Instance::A);
        let now = app.clock.now();
        let expires_at = now.plus(app.settings.tokens.refresh_absolute_ttl);
        let grant = Grant {
            id: GrantId::new(now, &Random),
            handle: Handle(Random.bytes()),
            account_id,
            client_id: ClientId::parse("web").unwrap(),
            scope: Scope::parse("read").unwrap(),
            audiences: [].into_iter().collect(),
            amr: vec!["pwd".to_owned()],
            auth_time: now,
            created_at: now,
            rotation: Rotation { generation: 1, winner: 0, siblings: 1, rotated_at: now, attempt: None },
            idle_expires_at: now.plus(app.settings.tokens.refresh_idle_ttl).min(expires_at),
            expires_at,
            ended_at: None,
            status_position: app.status.take_position(&app.db, &app.clock, Random).unwrap(),
            session_id: None,
            confirmation: None,
            claims: ClaimsRequest::default(),
            subject: None,
        };
        let (id, first) = (grant.id, RefreshToken { handle: grant.handle, generation: 1, sibling: 1 });
        let made = app.db.write(move |tx| {
            let account = accounts::find(tx, account_id)?.expect("an account");
            let (_, now) = accounts::find_by_key(tx, &LoginKey::of(&account.email))?.expect("an account");
            grants::insert(tx, &grant, account.credentials_version, now.plus(Duration::from_mins(1)))
        });
        assert!(made.unwrap(), "the account is as it was");
        (id, first.seal(&app.secrets.load().refresh_token_mac).unwrap())
    }

    /// The row as an instance finds it.
    pub fn row(&self, instance: Instance, id: GrantId) -> Grant {
        let found = self.app(instance).db.read(|tx| grants::find(tx, id)).unwrap();
        found.expect("no row is ever lost").grant
    }

    /// What a token says.
    pub fn open(&self, token: &str) -> RefreshToken {
        RefreshToken::open(token, &self.apps[0].secrets.load().refresh_token_mac).expect("an issued token is authentic")
    }
}

fn open(database: &TestDatabase, clock: Clock) -> Arc<App> {
    let app = App::open(database.settings(&[]), ISSUER.to_owned(), clock).unwrap();
    app.db.hang_hook(Box::new(hook));
    Arc::new(app)
}
