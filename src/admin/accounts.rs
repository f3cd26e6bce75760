//! Accounts, as operators handle them.

use serde_json::{Map, Value, json};

use super::{AdminError, Trail, taken};
use crate::app::App;
use crate::id::AccountId;
use crate::identity::login;
use crate::login_name::{LoginKey, parse_email, parse_username};
use crate::password_hash::HashMemory;
use crate::protocol::standard_claims;
use crate::protocol::token_request::MAX_PASSWORD_BYTES;
use crate::secret::PlainSecret;
use crate::store::accounts::{self, Account};
use crate::store::grants::{self, EndedBy, listing};

/// The fewest characters of a name that a password may not contain.
const MIN_NAME_PART: usize = 4;

/// What an account is made from.
pub struct NewAccount {
    /// Its e-mail address.
    pub email: String,
    /// Its user name, if it has one.
    pub username: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its password.
    pub password: PlainSecret,
    /// What it says of itself (OpenID Connect Core §5.1).
    pub claims: Map<String, Value>,
}

/// Makes an account.
///
/// # Errors
/// [`AdminError`], naming the rule that was broken or the name that is taken.
pub fn create(app: &App, new: &NewAccount, actor: &str) -> Result<Account, AdminError> {
    let email_key = parse_email(&new.email)?;
    let username_key = new.username.as_deref().map(parse_username).transpose()?;
    if !new.roles.iter().all(|role| is_role(role)) {
        return Err(AdminError::MalformedRole);
    }
    standard_claims::refuse_malformed(&new.claims).map_err(AdminError::Claims)?;
    refuse_bad_password(app, &new.password, [Some(&email_key), username_key.as_ref()])?;
    let now = app.clock.now();
    let account = Account {
        id: AccountId::new(now, &app.random),
        email: new.email.clone(),
        username: new.username.clone(),
        password_hash: app.hasher.hash(&mut HashMemory::default(), &app.random, &new.password)?,
        roles: new.roles.clone(),
        created_at: now,
        disabled_at: None,
        credentials_version: 0,
        claims: new.claims.clone(),
    };
    let (row, trail) = (account.clone(), Trail::of(app, actor));
    app.db
        .write(move |tx| {
            accounts::insert(tx, &row, (&email_key, username_key.as_ref()))?;
            trail.note(tx, "account_created", &row.id, json!({ "roles": row.roles }))
        })
        .map_err(taken("the e-mail address or user name"))?;
    Ok(account)
}

/// The account that `name` means: its identifier, e-mail address or user name.
///
/// # Errors
/// [`AdminError::NotFound`]; the store's own reasons.
pub fn find(app: &App, name: &str) -> Result<Account, AdminError> {
    let found = match name.parse::<AccountId>() {
        Ok(id) => app.db.read(|tx| accounts::find(tx, id))?,
        Err(_) => app.db.read(|tx| accounts::find_by_key(tx, &LoginKey::of(name)))?.map(|(account, _)| account),
    };
    found.ok_or(AdminError::NotFound("account"))
}

/// Accounts in the order they were made.
///
/// # Errors
/// The store's own reasons.
pub fn list(app: &App, after: Option<AccountId>, limit: u16) -> Result<Vec<Account>, AdminError> {
    Ok(app.db.read(|tx| accounts::list(tx, after, i64::from(limit)))?)
}

/// How many of an account's grants are in force.
///
/// # Errors
/// The store's own reasons.
pub fn count_live_grants(app: &App, id: AccountId) -> Result<i64, AdminError> {
    let now = app.clock.now();
    Ok(app.db.read(|tx| listing::count_live(tx, id, now))?)
}

/// Disables an account and ends its grants, in one transaction; says how many grants that ended.
///
/// # Errors
/// [`AdminError::NotFound`]; the store's own reasons.
pub fn disable(app: &App, id: AccountId, actor: &str) -> Result<usize, AdminError> {
    let (now, random, trail) = (app.clock.now(), app.random, Trail::of(app, actor));
    let ended = app.db.write(move |tx| {
        if !accounts::set_disabled(tx, id, Some(now), random)? {
            return Ok(None);
        }
        let ended = grants::end_of_account(tx, id, EndedBy::AccountDisabled, now)?;
        trail.note(tx, "account_disabled", &id, json!({ "ended": ended }))?;
        Ok(Some(ended))
    })?;
    ended.ok_or(AdminError::NotFound("account"))
}

/// Enables an account again. Grants that were ended stay ended.
///
/// # Errors
/// [`AdminError::NotFound`]; the store's own reasons.
pub fn enable(app: &App, id: AccountId, actor: &str) -> Result<(), AdminError> {
    let (key, random, trail) = (app.secrets.load().login_attempt.clone(), app.random, Trail::of(app, actor));
    let found = app.db.write(move |tx| {
        login::forgive(tx, &key, id)?;
        let found = accounts::set_disabled(tx, id, None, random)?;
        if found {
            trail.note(tx, "account_enabled", &id, json!({}))?;
        }
        Ok(found)
    })?;
    if found { Ok(()) } else { Err(AdminError::NotFound("account")) }
}

/// Replaces a password and ends the account's grants, in one transaction; says how many grants that ended.
///
/// # Errors
/// [`AdminError`], naming the rule that was broken.
pub fn set_password(app: &App, account: &Account, password: &PlainSecret, actor: &str) -> Result<usize, AdminError> {
    let names = [Some(LoginKey::of(&account.email)), account.username.as_deref().map(LoginKey::of)];
    refuse_bad_password(app, password, [names[0].as_ref(), names[1].as_ref()])?;
    let hash = app.hasher.hash(&mut HashMemory::default(), &app.random, password)?;
    let (id, now, key) = (account.id, app.clock.now(), app.secrets.load().login_attempt.clone());
    let (random, trail) = (app.random, Trail::of(app, actor));
    // ASVS 7.4.3: whoever knew the old password is out.
    let ended = app.db.write(move |tx| {
        if !accounts::set_password(tx, id, &hash, random)? {
            return Ok(None);
        }
        login::forgive(tx, &key, id)?;
        let ended = grants::end_of_account(tx, id, EndedBy::PasswordChange, now)?;
        trail.note(tx, "password_set", &id, json!({ "ended": ended }))?;
        Ok(Some(ended))
    })?;
    ended.ok_or(AdminError::NotFound("account"))
}

fn is_role(role: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'/');
    (1..=64).contains(&role.len()) && role.bytes().all(allowed)
}

/// NIST SP 800-63B-4 §3.1.1.2: length first, no rules of composition, nothing that names its owner or the service.
fn refuse_bad_password(app: &App, password: &PlainSecret, names: [Option<&LoginKey>; 2]) -> Result<(), AdminError> {
    let (min, text) = (app.settings.passwords.min_length, password.expose());
    if text.chars().count() < min {
        return Err(AdminError::PasswordTooShort(min));
    }
    if text.len() > MAX_PASSWORD_BYTES {
        return Err(AdminError::PasswordTooLong(MAX_PASSWORD_BYTES));
    }
    let folded = LoginKey::of(text);
    let local_parts = names.into_iter().flatten().filter_map(|key| key.as_str().split('@').next());
    let service = LoginKey::of(&app.settings.pages.service_name);
    let mut parts = local_parts.chain(["countersign", service.as_str()]);
    let named = parts.any(|part| part.len() >= MIN_NAME_PART && folded.as_str().contains(part));
    if named { Err(AdminError::PasswordNamesItsOwner) } else { Ok(()) }
}
