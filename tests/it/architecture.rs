//! The two rules of the layout, read off the source: a module uses only modules above it, and each outside crate has
//! one door. And: migrations in pairs, files of a size that can be read (functions are clippy's), a map that names what is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules in dependency order.
const ORDER: [&str; 28] = [
    "clock",
    "secret",
    "id",
    "protocol",
    "reason",
    "login_name",
    "settings",
    "metrics",
    "lane",
    "store",
    "cache",
    "fetch",
    "password_hash",
    "keys",
    "limits",
    "clients",
    "client_keys",
    "status",
    "app",
    "token",
    "identity",
    "oauth",
    "admin",
    "jobs",
    "web",
    "cli",
    "main",
    "lib",
];

/// Two of the ground that describe one thing together, what is asked and why it is refused, and may name each other.
const GROUND: [&str; 2] = ["protocol", "reason"];

/// Outside crates and the only modules that may name them.
const DOORS: [(&str, &[&str]); 29] = [
    ("diesel", &["store"]),
    ("diesel_migrations", &["store"]),
    ("openssl_sys", &["store"]),
    ("actix_web", &["web", "cli"]),
    ("askama", &["web"]),
    ("actix_http", &["web"]),
    ("actix_service", &["web"]),
    ("crossbeam_channel", &["lane", "store"]),
    ("redis", &["cache"]),
    ("r2d2", &["store", "cache"]),
    ("jsonwebtoken", &["keys"]),
    ("rsa", &["keys"]),
    ("fastrand", &["keys"]),
    ("reqwest", &["fetch", "web", "cli"]),
    ("flate2", &["token"]),
    ("countersign_verifier", &["protocol", "metrics", "store", "keys", "status", "token", "oauth", "web", "cli"]),
    ("argon2", &["password_hash"]),
    ("config", &["settings"]),
    ("clap", &["cli"]),
    ("aws_lc_rs", &["secret", "keys"]),
    ("prometheus", &["metrics"]),
    ("ipnet", &["settings", "fetch", "web"]),
    ("utoipa", &["web", "protocol"]),
    ("uuid", &["id"]),
    ("caseless", &["login_name"]),
    ("percent_encoding", &["protocol"]),
    ("x509_cert", &["protocol"]),
    ("tracing_subscriber", &["cli"]),
    ("tracing_appender", &["cli"]),
];

const MAX_FILE_LINES: usize = 500;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The module of a file: `src/oauth/token.rs` belongs to `oauth`.
fn module(path: &Path) -> String {
    let inner = path.strip_prefix("src").unwrap();
    inner.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The code of a file without its unit tests and without comments.
fn production(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every `name` in `before + name` where the name is a whole word.
fn names_after(code: &str, before: &str) -> BTreeSet<String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(before) {
        if at > 0 && word(code.as_bytes()[at - 1]) {
            continue;
        }
        let rest = &code[at + before.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split('}').next().unwrap_or_default();
            names.extend(group.split(',').map(|name| name.trim().split("::").next().unwrap_or_default().to_owned()));
        }
        names.insert(rest.bytes().take_while(|byte| word(*byte)).map(char::from).collect());
    }
    names
}

fn rank(module: &str) -> usize {
    ORDER
        .iter()
        .position(|known| *known == module)
        .unwrap_or_else(|| panic!("the module {module} has no place in the order"))
}

#[test]
fn a_module_uses_only_modules_above_it() {
    for path in sources(Path::new("src")) {
        let own = module(&path);
        if own == "lib" || own == "main" {
            continue;
        }
        for used in names_after(&production(&path), "crate::").iter().filter(|name| ORDER.contains(&name.as_str())) {
            let together = GROUND.contains(&own.as_str()) && GROUND.contains(&used.as_str());
            assert!(*used == own || together || rank(used) < rank(&own), "{}: {own} uses {used}", path.display());
        }
    }
}

#[test]
fn the_order_is_that_of_the_front_page() {
    let lib = std::fs::read_to_string("src/lib.rs").unwrap();
    let listed: Vec<_> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, ORDER[..ORDER.len() - 2]);
}

#[test]
fn each_outside_crate_has_one_door() {
    for path in sources(Path::new("src")) {
        let own = module(&path);
        let code = production(&path);
        for (name, doors) in DOORS {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let named = code.match_indices(&format!("{name}::")).any(|(at, _)| {
                // `crate::settings::config::` or `self::` are paths of our own.
                at == 0 || !word(code.as_bytes()[at - 1]) && !code[..at].ends_with("::")
            });
            assert!(!named || doors.contains(&own.as_str()), "{}: {name} has its door in {doors:?}", path.display());
        }
    }
}

#[test]
fn only_one_file_tells_the_databases_apart() {
    for path in sources(Path::new("src/store")) {
        let code = production(&path);
        let tells = ["Conn::Sqlite", "Conn::Postgres", "SqliteConnection", "PgConnection"]
            .iter()
            .any(|name| code.contains(name));
        assert!(!tells || path.ends_with("dialect.rs"), "{}", path.display());
    }
}

#[test]
fn migrations_come_in_pairs() {
    let names = |folder: &str| -> BTreeSet<_> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let (sqlite, postgres) = (names("migrations/sqlite"), names("migrations/postgres"));
    assert_eq!(sqlite, postgres);
    for name in &sqlite {
        for (folder, file) in [("sqlite", "up"), ("sqlite", "down"), ("postgres", "up"), ("postgres", "down")] {
            assert!(
                Path::new(&format!("migrations/{folder}/{name}/{file}.sql")).is_file(),
                "{folder}/{name}/{file}.sql"
            );
        }
    }
}

#[test]
fn files_can_be_read_in_one_go_and_say_what_they_are() {
    for path in sources(Path::new("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{}: says nothing about itself", path.display());
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(production.lines().count() <= MAX_FILE_LINES, "{} has too many lines", path.display());
    }
}

/// ASVS 11.2.4. No test measures time well enough, so that this one reads: digests know one equality, a verifier of PKCE meets
/// its challenge by that alone, and nobody takes bytes out of a secret to compare them.
#[test]
fn secrets_are_compared_in_constant_time_by_one_function() {
    let secret = production(Path::new("src/secret.rs"));
    let derives = secret.split("pub struct Digest(").next().unwrap().rsplit("#[derive(").next().unwrap();
    assert!(!derives.contains("PartialEq"), "Digest derives {derives}");
    let equality =
        secret.split("impl PartialEq for Digest {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    assert!(equality.contains("constant_time::verify_slices_are_equal(&self.0, &other.0)"), "{equality}");
    assert!(!equality.contains("=="), "{equality}");
    let pkce = production(Path::new("src/protocol/pkce.rs"));
    assert!(pkce.contains("pub struct CodeChallenge(Digest);"), "what is compared is a digest");
    assert!(pkce.contains("Digest::sha256(verifier.as_bytes()) == self.0"), "as a digest");
    for path in sources(Path::new("src")) {
        let code = production(&path);
        for line in code.lines() {
            let exposes = line.contains("expose()") || line.contains("digest().as_bytes()") || line.contains(".mac(");
            let compares = line.contains("as_bytes() ==") || line.contains("expose() ==") || line.contains("== *");
            assert!(!(exposes && compares), "{}: {line}", path.display());
        }
    }
}

#[test]
fn the_law_is_cited_where_it_is_kept() {
    let (mut lines, mut citations) = (0, 0);
    for folder in ["src/protocol", "src/oauth", "src/token"] {
        for path in sources(Path::new(folder)) {
            let text = std::fs::read_to_string(path).unwrap();
            let production = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            lines += production.lines().count();
            citations += production.matches("RFC ").count();
        }
    }
    assert!(citations * 1000 >= lines * 10, "{citations} citations in {lines} lines");
}

#[test]
fn what_the_map_names_is_in_the_file_that_it_names_it_of() {
    let map = std::fs::read_to_string("docs/ARCHITECTURE.md").unwrap();
    let (mut named, mut wrong) = (0, Vec::new());
    for (before, after) in map.match_indices("` · `").map(|(at, mark)| (&map[..at], &map[at + mark.len() - 1..])) {
        let path = before.rsplit('`').next().unwrap();
        if !path.starts_with("src/") {
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap_or_default();
        let words: Vec<&str> = source.split(|part: char| !part.is_alphanumeric() && part != '_').collect();
        let defined: BTreeSet<&str> = words
            .windows(2)
            .filter(|pair| ["fn", "struct", "enum", "const", "static"].contains(&pair[0]))
            .map(|pair| pair[1])
            .collect();
        // `a`, `b` or `c`: names, until something else follows.
        let mut spans = after.split('`').skip(1);
        while let (Some(name), Some(between)) = (spans.next(), spans.next()) {
            if name.contains(['/', '.']) {
                break;
            }
            named += 1;
            if !name.split("::").all(|part| defined.contains(part)) {
                wrong.push(format!("{path} has no {name}"));
            }
            if !matches!(between, ", " | " or " | " and ") {
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(named > 100, "the map was not read: {named} names");
}
