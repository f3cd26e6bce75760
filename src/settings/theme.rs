//! The folder of a theme: a style, a logo, texts. Read once, at start; nothing of it is looked up by a name that a request
//! gives. Refuses to know what pages there are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use config::{Config, FileFormat};
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Deserialize;

use super::SettingsError;
use crate::protocol::discovery_document::UI_LOCALES;
use crate::protocol::params::has_control_characters;

/// The most bytes of each file.
const MAX_BYTES: u64 = 64 * 1024;
/// The most bytes of a service's name.
const MAX_NAME_BYTES: usize = 64;
const KEY: &str = "pages.theme";
/// The first bytes of every PNG (ISO/IEC 15948 §5.2).
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// What pages look like beside their own style.
#[derive(Clone, Debug, Default)]
pub struct Theme {
    /// CSS.
    pub style: Option<String>,
    /// A picture.
    pub logo: Option<Logo>,
    /// The service's name by language.
    pub service_names: BTreeMap<String, String>,
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Logo {
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    service_name: String,
}

fn refuse<T>(rule: &'static str) -> Result<T, SettingsError> {
    Err(SettingsError::Rule { key: KEY, rule })
}

impl Theme {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`SettingsError`], naming the file or the rule.
    pub(super) fn load(folder: &Path) -> Result<Self, SettingsError> {
        let mut theme = Self::default();
        let unreadable = |source| SettingsError::UnreadableFile { key: KEY, path: folder.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("style.css") => theme.style = Some(style(text(&path)?)?),
                Some("logo.svg" | "logo.png") if theme.logo.is_some() => {
                    return refuse("logo.svg or logo.png, not both");
                }
                Some("logo.svg") => theme.logo = Some(drawing(text(&path)?)?),
                Some("logo.png") => theme.logo = Some(picture(read(&path)?)?),
                Some("texts.toml") => theme.service_names = names(&text(&path)?)?,
                // What an editor or a desktop leaves there.
                Some(name) if name.starts_with('.') => {}
                // A name that is misspelt would be as good as no file.
                Some(_) | None => return refuse("style.css, logo.svg or logo.png, and texts.toml, and nothing else"),
            }
        }
        Ok(theme)
    }
}

/// Reads a file that is there itself: what a link points to might be anything (CWE-59).
fn read(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let unreadable = |source| SettingsError::UnreadableFile { key: KEY, path: path.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| unreadable(error.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(unreadable)?.is_file() {
        return refuse("plain files alone");
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return refuse("files of at most 64 KiB");
    }
    Ok(bytes)
}

fn text(path: &Path) -> Result<String, SettingsError> {
    String::from_utf8(read(path)?).or_else(|_| refuse("texts in UTF-8"))
}

/// Pages load nothing from elsewhere (CSP Level 3): what would be missing without a word is refused.
fn style(css: String) -> Result<String, SettingsError> {
    let lower = css.to_ascii_lowercase();
    if lower.contains("@import") || lower.contains("url(") {
        return refuse("a style.css without @import and url(): pages load nothing from elsewhere");
    }
    Ok(css)
}

/// A drawing may hold scripts, which our policy keeps from running; one that does is none of ours anyway.
fn drawing(svg: String) -> Result<Logo, SettingsError> {
    let lower = svg.to_ascii_lowercase();
    let is_svg = lower.trim_start().starts_with("<svg") || lower.trim_start().starts_with("<?xml");
    if !is_svg || !lower.contains("<svg") || lower.contains("<script") || lower.contains("<!entity") {
        return refuse("a logo.svg that is SVG, without scripts and entities");
    }
    Ok(Logo { content_type: "image/svg+xml", bytes: svg.into_bytes() })
}

fn picture(bytes: Vec<u8>) -> Result<Logo, SettingsError> {
    if !bytes.starts_with(PNG) {
        return refuse("a logo.png that is PNG");
    }
    Ok(Logo { content_type: "image/png", bytes })
}

fn names(toml: &str) -> Result<BTreeMap<String, String>, SettingsError> {
    let source = config::File::from_str(toml, FileFormat::Toml);
    let texts = Config::builder().add_source(source).build().and_then(Config::try_deserialize);
    let texts: BTreeMap<String, Texts> = texts.map_err(|error| SettingsError::unreadable(&error))?;
    for (language, texts) in &texts {
        if !UI_LOCALES.contains(&language.as_str()) {
            return refuse("a texts.toml of languages that pages speak: en, de");
        }
        if !is_name(&texts.service_name) {
            return refuse("a texts.toml with service_name of 1 to 64 bytes for each language");
        }
    }
    Ok(texts.into_iter().map(|(language, texts)| (language, texts.service_name)).collect())
}

/// Whether a text may be the name of a service.
pub(super) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_NAME_BYTES && !has_control_characters(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn a_theme_is_read_as_it_is() {
        let files: [(&str, &[u8]); 4] = [
            ("style.css", b"h1 { color: red; }"),
            ("logo.svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
            ("texts.toml", b"[de]\nservice_name = \"Beispiel\"\n"),
            (".DS_Store", b"x"),
        ];
        let theme = Theme::load(folder(&files).path()).unwrap();
        assert_eq!(theme.style.as_deref(), Some("h1 { color: red; }"));
        assert_eq!(theme.logo.unwrap().content_type, "image/svg+xml");
        assert_eq!(theme.service_names["de"], "Beispiel");
        assert!(Theme::load(folder(&[]).path()).unwrap().style.is_none());
    }

    #[test]
    fn a_theme_that_cannot_be_shown_is_refused() {
        let large = vec![b'x'; 64 * 1024 + 1];
        let cases: [(&str, &[u8]); 11] = [
            ("styles.css", b""),
            ("style.css", &large),
            ("style.css", b"\xff"),
            ("style.css", b"@import 'x.css';"),
            ("style.css", b"body { background: URL(https://x.example) }"),
            ("logo.png", b"GIF89a"),
            ("logo.svg", b"<html>"),
            ("logo.svg", b"<svg><SCRIPT>alert(1)</SCRIPT></svg>"),
            ("texts.toml", b"[fr]\nservice_name = \"x\"\n"),
            ("texts.toml", b"[en]\nservice_name = \"\"\n"),
            ("texts.toml", b"[en]\nname = \"x\"\n"),
        ];
        for (name, bytes) in cases {
            let refused = Theme::load(folder(&[(name, bytes)]).path());
            assert!(refused.is_err(), "{name}: {:?}", String::from_utf8_lossy(bytes));
        }
        let two: [(&str, &[u8]); 2] = [("logo.svg", b"<svg/>"), ("logo.png", PNG)];
        assert!(Theme::load(folder(&two).path()).is_err());
        assert!(Theme::load(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn what_is_not_a_plain_file_in_the_folder_is_not_followed() {
        let elsewhere = folder(&[("secret", b"h1 {}")]);
        let linked = folder(&[]);
        std::os::unix::fs::symlink(elsewhere.path().join("secret"), linked.path().join("style.css")).unwrap();
        assert!(Theme::load(linked.path()).is_err());
        let nested = folder(&[]);
        fs::create_dir(nested.path().join("style.css")).unwrap();
        assert!(Theme::load(nested.path()).is_err());
    }
}
