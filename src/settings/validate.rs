//! The rules that settings must keep, in the order of `config/default.toml`.

use std::time::Duration;

use url::{Host, Url};

use super::theme::{self, Theme};
use super::{CacheUrl, DatabaseUrl, Pages, Registration, Settings, SettingsError, Written, read_secret};
use crate::protocol::client_metadata::MAX_ACCESS_TTL;
use crate::protocol::client_metadata::registrant::Registrable;
use crate::protocol::resource::{Resource, Resources};
use crate::protocol::scope::Scope;
use crate::secret::PlainSecret;

/// Passwords that come with examples and tutorials; none may guard a database of credentials (ASVS 13.2.3).
const WELL_KNOWN: [&str; 16] = [
    "password",
    "passw0rd",
    "postgres",
    "postgresql",
    "secret",
    "super-secret",
    "supersecret",
    "changeme",
    "change-me",
    "changeit",
    "countersign",
    "example",
    "default",
    "redis",
    "12345678",
    "administrator",
];
/// The fewest bytes of a password in a URL.
const MIN_PASSWORD_BYTES: usize = 8;

fn rule<T>(key: &'static str, rule: &'static str) -> Result<T, SettingsError> {
    Err(SettingsError::Rule { key, rule })
}

/// Checks every rule.
pub(super) fn check(written: Written) -> Result<Settings, SettingsError> {
    let issuer = issuer(&written)?;
    http(&written)?;
    if !matches!(written.keys.rsa_bits, 2048 | 3072) {
        return rule("keys.rsa_bits", "2048 or 3072");
    }
    tokens(&written)?;
    sessions(&written)?;
    passwords(&written)?;
    limits(&written)?;
    fetch(&written, issuer.as_deref())?;
    let database = database(&written)?;
    if written.database.connections == 0 || written.database.connections > 1000 {
        return rule("database.connections", "1 to 1000");
    }
    Ok(Settings {
        issuer,
        http: written.http.clone(),
        database,
        database_connections: written.database.connections,
        cache: cache(&written)?,
        master_key: Some(&written.keys.master_key.0).filter(|text| !text.is_empty()).map(PlainSecret::new),
        keys: written.keys.clone(),
        tokens: written.tokens.clone(),
        sessions: written.sessions.clone(),
        passwords: written.passwords.clone(),
        limits: written.limits.clone(),
        fetch: written.fetch.clone(),
        registration: registration(&written)?,
        pages: pages(&written)?,
        log: written.log.clone(),
        written: Box::new(written),
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // Outside http and its kin an address is read as a name.
        Some(Host::Domain(name)) => {
            let address: Option<std::net::IpAddr> = name.parse().ok();
            name == "localhost" || address.is_some_and(|address| address.is_loopback())
        }
        None => false,
    }
}

fn issuer(written: &Written) -> Result<Option<String>, SettingsError> {
    if written.issuer.is_empty() {
        if written.http.listen.ip().is_loopback() {
            return Ok(None);
        }
        return rule("issuer", "must be set when http.listen is not a loopback address");
    }
    let Ok(url) = Url::parse(&written.issuer) else { return rule("issuer", "must be an https URL") };
    // RFC 8414 §2: https, no query, no fragment. Plain http never leaves the machine.
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return rule("issuer", "must be an https URL (http only on loopback)");
    }
    let bare =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let origin = url.origin().ascii_serialization();
    if !bare || written.issuer != origin {
        return rule("issuer", "must be scheme, host and port alone, in lower case: no slash, path, query or user");
    }
    Ok(Some(written.issuer.clone()))
}

fn http(written: &Written) -> Result<(), SettingsError> {
    let is_name =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let header = &written.http.client_address_header;
    if header.is_empty() || !is_name(header) {
        return rule("http.client_address_header", "a header name in lower case");
    }
    let certificates = &written.http.client_certificate_header;
    if !is_name(certificates) || certificates == header {
        return rule("http.client_certificate_header", "a header name in lower case, other than client_address_header");
    }
    let verified = &written.http.client_verified_header;
    if !is_name(verified) || (!verified.is_empty() && (certificates.is_empty() || verified == certificates)) {
        return rule("http.client_verified_header", "a header name in lower case, beside client_certificate_header");
    }
    // RFC 9440 §4: from anyone but a trusted proxy the header is a forgery.
    if !certificates.is_empty() && written.http.trusted_proxies.is_empty() {
        return rule("http.client_certificate_header", "needs the proxy in http.trusted_proxies");
    }
    if written.http.max_connections == 0 {
        return rule("http.max_connections", "at least 1");
    }
    if written.http.metrics_listen == Some(written.http.listen) {
        return rule("http.metrics_listen", "another address than http.listen, or empty");
    }
    if written.http.drain > Duration::from_mins(1) {
        return rule("http.drain", "at most 60s");
    }
    Ok(())
}

fn tokens(written: &Written) -> Result<(), SettingsError> {
    let tokens = &written.tokens;
    if tokens.access_ttl < Duration::from_secs(1) || tokens.access_ttl > MAX_ACCESS_TTL {
        return rule("tokens.access_ttl", "1s to 24h");
    }
    if tokens.refresh_leeway > Duration::from_mins(10) {
        return rule("tokens.refresh_leeway", "at most 10m");
    }
    if tokens.refresh_idle_ttl <= tokens.refresh_leeway {
        return rule("tokens.refresh_idle_ttl", "longer than tokens.refresh_leeway");
    }
    if tokens.refresh_absolute_ttl < tokens.refresh_idle_ttl
        || tokens.refresh_absolute_ttl > Duration::from_hours(3650 * 24)
    {
        return rule("tokens.refresh_absolute_ttl", "at least tokens.refresh_idle_ttl, at most ten years");
    }
    Ok(())
}

fn sessions(written: &Written) -> Result<(), SettingsError> {
    let sessions = &written.sessions;
    if sessions.idle_ttl < Duration::from_mins(1) {
        return rule("sessions.idle_ttl", "at least 1m");
    }
    if sessions.absolute_ttl < sessions.idle_ttl || sessions.absolute_ttl > Duration::from_hours(90 * 24) {
        return rule("sessions.absolute_ttl", "at least sessions.idle_ttl, at most 90d");
    }
    if sessions.fresh_for < Duration::from_mins(1) || sessions.fresh_for > Duration::from_hours(24) {
        return rule("sessions.fresh_for", "1m to 24h");
    }
    let longest = Duration::from_hours(365 * 24);
    let remember_ttl = sessions.remember_ttl;
    if !remember_ttl.is_zero() && (remember_ttl < Duration::from_hours(1) || remember_ttl > longest) {
        return rule("sessions.remember_ttl", "0s, or 1h to 365d");
    }
    Ok(())
}

fn passwords(written: &Written) -> Result<(), SettingsError> {
    let passwords = &written.passwords;
    if !(8..=64).contains(&passwords.min_length) {
        return rule("passwords.min_length", "8 to 64");
    }
    // OWASP Password Storage: from 47104 KiB with 1 pass to 7168 KiB with 5; above 256 MiB a log-in is an attack on ourselves.
    if !(7168..=262_144).contains(&passwords.memory_kib) {
        return rule("passwords.memory_kib", "7168 to 262144");
    }
    if !(1..=10).contains(&passwords.iterations) || passwords.memory_kib.saturating_mul(passwords.iterations) < 35_840 {
        return rule("passwords.iterations", "1 to 10, and memory_kib times iterations at least 35840");
    }
    if !(1..=4).contains(&passwords.parallelism) {
        return rule("passwords.parallelism", "1 to 4");
    }
    if passwords.threads > 256 {
        return rule("passwords.threads", "at most 256");
    }
    if !(1..=1024).contains(&passwords.queue) {
        return rule("passwords.queue", "1 to 1024");
    }
    Ok(())
}

fn limits(written: &Written) -> Result<(), SettingsError> {
    let limits = &written.limits;
    if limits.login_failures == 0 || limits.login_failures_ceiling < limits.login_failures {
        return rule("limits.login_failures", "at least 1 and at most limits.login_failures_ceiling");
    }
    // NIST SP 800-63B-4 §3.2.2: no more than 100 consecutive failures.
    if limits.login_failures_ceiling > 100 {
        return rule("limits.login_failures_ceiling", "at most 100");
    }
    if limits.login_delay_max < Duration::from_secs(1) || limits.login_delay_max > Duration::from_hours(24) {
        return rule("limits.login_delay_max", "1s to 24h");
    }
    if limits.address_failures == 0 {
        return rule("limits.address_failures", "at least 1");
    }
    if limits.authorize_requests == 0 || limits.authorize_requests_everywhere < limits.authorize_requests {
        return rule("limits.authorize_requests", "at least 1 and at most limits.authorize_requests_everywhere");
    }
    if limits.proofs == 0 {
        return rule("limits.proofs", "at least 1");
    }
    if limits.codes == 0 {
        return rule("limits.codes", "at least 1");
    }
    if limits.registrations == 0 || limits.registrations_everywhere < limits.registrations {
        return rule("limits.registrations", "at least 1 and at most limits.registrations_everywhere");
    }
    if limits.device_codes == 0 || limits.device_codes_everywhere < limits.device_codes {
        return rule("limits.device_codes", "at least 1 and at most limits.device_codes_everywhere");
    }
    if limits.user_codes == 0 || limits.user_codes_everywhere < limits.user_codes {
        return rule("limits.user_codes", "at least 1 and at most limits.user_codes_everywhere");
    }
    // RFC 8628 §5.1: of 2.5 * 10^10 codes, so that guessing finds a device that waits once in years.
    if limits.user_codes_everywhere > 10_000 {
        return rule("limits.user_codes_everywhere", "at most 10000");
    }
    Ok(())
}

fn fetch(written: &Written, issuer: Option<&str>) -> Result<(), SettingsError> {
    let on_loopback = issuer.is_none_or(|issuer| Url::parse(issuer).is_ok_and(|url| is_loopback(&url)));
    // CWE-918: whoever registers a client would make us call what only this machine may.
    if written.fetch.allow_loopback && !on_loopback {
        return rule("fetch.allow_loopback", "true only with an issuer on loopback");
    }
    Ok(())
}

fn registration(written: &Written) -> Result<Registration, SettingsError> {
    let registration = &written.registration;
    let Ok(scope) = Scope::from_stored(&registration.allowed_scope) else {
        return rule("registration.allowed_scope", "scope tokens of RFC 6749 section 3.3, divided by one space");
    };
    let audiences = registration.allowed_audiences.iter().map(|text| Resource::parse(text));
    let Ok(audiences) = audiences.collect::<Result<Resources, _>>() else {
        return rule("registration.allowed_audiences", "each is an absolute URI without a fragment");
    };
    if !(1..=100_000).contains(&registration.max_clients) {
        return rule("registration.max_clients", "1 to 100000");
    }
    let allowed = Registrable { scope, audiences };
    Ok(Registration { mode: registration.mode, allowed, max_clients: registration.max_clients })
}

fn pages(written: &Written) -> Result<Pages, SettingsError> {
    let pages = &written.pages;
    if !theme::is_name(&pages.service_name) {
        return rule("pages.service_name", "1 to 64 bytes without control characters");
    }
    let theme = Some(&pages.theme).filter(|folder| !folder.as_os_str().is_empty());
    Ok(Pages {
        service_name: pages.service_name.clone(),
        theme: theme.map(|folder| Theme::load(folder)).transpose()?,
        theme_style: pages.theme_style,
    })
}

fn secret_url(
    key: &'static str,
    file_key: &'static str,
    url: &str,
    file: &std::path::Path,
) -> Result<String, SettingsError> {
    let text = if file.as_os_str().is_empty() { url.to_owned() } else { read_secret(file_key, file)? };
    // The drivers' own messages would show what they cannot read, password and all.
    let escapes = text.match_indices('%').all(|(at, _)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    let plain = text.starts_with("sqlite:") || text == "memory:";
    if !plain && (!escapes || !text.contains("://")) {
        return rule(key, "a URL with // after its scheme, in which each % is followed by two hexadecimal digits");
    }
    if let Ok(parsed) = Url::parse(&text) {
        let password = parsed.password().unwrap_or_default();
        let known = WELL_KNOWN.iter().any(|known| known.eq_ignore_ascii_case(password));
        if !password.is_empty() && (password.len() < MIN_PASSWORD_BYTES || known) {
            return Err(SettingsError::WeakSecret { key });
        }
    }
    Ok(text)
}

fn database(written: &Written) -> Result<DatabaseUrl, SettingsError> {
    let text = secret_url("database.url", "database.url_file", &written.database.url.0, &written.database.url_file)?;
    if let Some(path) = text.strip_prefix("sqlite:") {
        if path.is_empty() || path.contains(":memory:") {
            return rule("database.url", "sqlite: wants the path of a file");
        }
        return Ok(DatabaseUrl::Sqlite(path.into()));
    }
    let Ok(mut url) = Url::parse(&text) else { return rule("database.url", "sqlite:PATH or postgres://…") };
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return rule("database.url", "sqlite:PATH or postgres://…");
    }
    let named: Vec<String> = url.query_pairs().map(|(key, _)| key.into_owned()).collect();
    // libpq lets parameters name another host than the URL does; only a socket's path stays on this machine.
    let mut hosts = url.query_pairs().filter(|(key, _)| key == "host" || key == "hostaddr");
    let local = if named.iter().any(|key| key == "host" || key == "hostaddr") {
        hosts.all(|(_, host)| host.starts_with('/'))
    } else {
        is_loopback(&url)
    };
    // ASVS 12.3.1: off this machine the server's certificate is verified; libpq's own default would fall back silently.
    let sslmode = if local { &[][..] } else { &[("sslmode", "verify-full")] };
    // A server that vanishes without a word is given up within seconds, not after the kernel's minutes.
    let patience = [
        ("connect_timeout", "2"),
        ("tcp_user_timeout", "6000"),
        ("keepalives_idle", "5"),
        ("keepalives_interval", "2"),
        ("keepalives_count", "3"),
    ];
    for (key, value) in sslmode.iter().chain(&patience) {
        if !named.iter().any(|name| name == key) {
            url.query_pairs_mut().append_pair(key, value);
        }
    }
    Ok(DatabaseUrl::Postgres(PlainSecret::new(url.to_string())))
}

fn cache(written: &Written) -> Result<CacheUrl, SettingsError> {
    let text = secret_url("cache.url", "cache.url_file", &written.cache.url.0, &written.cache.url_file)?;
    match text.as_str() {
        "memory:" => Ok(CacheUrl::Memory),
        url if url.starts_with("redis://") => Ok(CacheUrl::Redis(PlainSecret::new(url))),
        _ => rule("cache.url", "memory: or redis://…"),
    }
}
