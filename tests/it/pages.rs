//! What pages look like, and in which language they speak: the theme's folder, the service's name, `ui_locales`.

use crate::app::TestApp;
use crate::browser::{Browser, CodeRequest, Form};

/// A folder with a theme.
fn theme() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("style.css"), "h1 { letter-spacing: 0.1em; }").unwrap();
    std::fs::write(folder.path().join("logo.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1 1\"/>")
        .unwrap();
    std::fs::write(folder.path().join("texts.toml"), "[de]\nservice_name = \"Beispielhaus\"\n").unwrap();
    folder
}

#[test]
fn pages_have_the_look_of_the_theme_and_the_same_policy() {
    let folder = theme();
    let path = folder.path().display().to_string();
    let app = TestApp::with(&[("pages.theme", &path), ("pages.service_name", "Example & Co")]);
    app.code_client();
    let browser = Browser::new(&app);
    let plain = TestApp::start();
    plain.code_client();
    let other = Browser::new(&plain);

    let page = browser.follow(&browser.get(&CodeRequest::new().path()));
    assert!(page.body.contains("<title>Log in – Example &#38; Co</title>"), "{}", page.body);
    assert!(page.body.contains("<p>Example &#38; Co</p>") && page.body.contains("src=\"/assets/logo\""));
    let usual = other.follow(&other.get(&CodeRequest::new().path()));
    assert!(usual.body.contains("Log in – Countersign</title>") && !usual.body.contains("/assets/logo"));
    assert_eq!(page.header("content-security-policy"), usual.header("content-security-policy"));
    let page = browser.follow(&browser.get(&CodeRequest::new().with("ui_locales", "de").path()));
    assert!(page.body.contains("<title>Anmelden – Beispielhaus</title>"), "{}", page.body);

    let (style, ours) = (browser.get("/assets/style.css"), other.get("/assets/style.css"));
    assert_eq!(style.body, format!("{}\nh1 {{ letter-spacing: 0.1em; }}", ours.body));
    let etag = style.header("etag").unwrap();
    assert_ne!(Some(etag), ours.header("etag"));
    let again = app.relying_party().get("/assets/style.css", &[("If-None-Match", etag)]);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let logo = browser.get("/assets/logo");
    assert_eq!((logo.status, logo.header("content-type")), (200, Some("image/svg+xml")));
    assert!(logo.header("content-security-policy").unwrap().starts_with("default-src 'none'"), "no script of it runs");
    assert_eq!(other.get("/assets/logo").status, 404);

    let instead = TestApp::with(&[("pages.theme", &path), ("pages.theme_style", "instead")]);
    assert_eq!(instead.relying_party().get("/assets/style.css", &[]).body, "h1 { letter-spacing: 0.1em; }");
}

#[test]
fn pages_after_a_form_and_of_refusals_speak_the_language_of_the_request() {
    let app = TestApp::start();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let german = |page: &crate::relying_party::Answer| page.body.contains("<html lang=\"de\">");
    app.code_client();
    let request = CodeRequest::new().with("ui_locales", "de").with("response_mode", "form_post");
    let refused = browser.get(&CodeRequest::of("nobody", "https://app.example/cb").with("ui_locales", "de").path());
    assert!(refused.status == 400 && german(&refused), "{}", refused.body);

    let begun = browser.get(&request.path());
    let form = Form::of(&browser.follow(&begun));
    let forged: Vec<(&str, &str)> =
        vec![("request", form.field("request")), ("form_token", "x"), ("username", &email), ("password", "y")];
    let foreign = browser.post("/login", &forged);
    assert!(foreign.status == 403 && german(&foreign), "{}", foreign.body);
    let wrong = browser.log_in_with(&begun, &email, crate::app::WRONG_PASSWORD);
    assert!(wrong.status == 400 && german(&wrong), "{}", wrong.body);
    let asked = browser.log_in(&begun, &email);
    let form = Form::of(&browser.follow(&asked));
    let forged =
        browser.post("/consent", &[("request", form.field("request")), ("form_token", "x"), ("decision", "allow")]);
    assert!(forged.status == 403 && german(&forged), "{}", forged.body);
    let answer = form.send(&browser, &[("decision", "allow")]);
    assert!(answer.body.contains("name=\"code\"") && german(&answer), "{}", answer.body);
    let refused =
        browser.get("/logout?client_id=app&post_logout_redirect_uri=https%3A%2F%2Fevil.example&ui_locales=de");
    assert!(refused.status == 400 && german(&refused), "{}", refused.body);
}

#[test]
fn a_server_does_not_start_with_a_theme_that_cannot_be_shown() {
    let folder = theme();
    std::fs::write(folder.path().join("styles.css"), "").unwrap();
    for (theme, said) in [(folder.path().to_str().unwrap(), "nothing else"), ("/nowhere/at/all", "/nowhere/at/all")] {
        let refused =
            countersign::settings::Settings::with_overrides(&[("pages.theme", theme)]).unwrap_err().to_string();
        assert!(refused.contains("pages.theme") && refused.contains(said), "{refused}");
    }
    assert!(countersign::settings::Settings::with_overrides(&[("pages.service_name", "a\nb")]).is_err());
}

#[test]
fn a_page_is_small_with_all_that_it_needs() {
    let app = TestApp::start();
    let (browser, consent) = at_consent_page(&app);
    let style = browser.get("/assets/style.css").body.len();
    let log_in = browser.follow(&browser.get(&CodeRequest::new().with("prompt", "login").path()));
    let refused = browser.get("/authorize");
    let account = browser.get("/account");
    for (name, page) in [("log-in", log_in), ("consent", consent), ("refused", refused), ("account", account)] {
        assert!(page.body.starts_with("<!doctype html>"), "{name}");
        let whole = page.body.len() + style;
        assert!(whole <= 30_000, "{name}: {whole} bytes");
        assert!(!page.body.contains("<script"), "{name} is painted without one");
    }
}

/// The page that asks for consent.
fn at_consent_page(app: &TestApp) -> (Browser, crate::relying_party::Answer) {
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(app);
    let asked = browser.log_in(&browser.get(&CodeRequest::new().path()), &email);
    let page = browser.follow(&asked);
    (browser, page)
}
