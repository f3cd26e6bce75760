//! Every word that people read, in each language. A language that lacks one does not compile.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT_LANGUAGE;
use actix_web::web::Data;

use crate::protocol::scope::Scope;
use crate::web::State;

/// The words of one language.
#[derive(Clone)]
pub(super) struct Texts {
    /// BCP 47.
    pub language: &'static str,
    /// What the service is called, which its operator says.
    pub service_name: String,
    /// Whether there is a logo beside it.
    pub has_logo: bool,
    pub log_in: &'static str,
    pub to_go_on_to: &'static str,
    pub username: &'static str,
    pub password: &'static str,
    pub stay_logged_in: &'static str,
    pub wrong_credentials: &'static str,
    pub wait: &'static str,
    pub busy: &'static str,
    pub allow_title: &'static str,
    pub wants_access: &'static str,
    pub wants_nothing_more: &'static str,
    pub it_wants: &'static str,
    pub answer_goes_to: &'static str,
    pub for_at_most: &'static str,
    pub registered_itself: &'static str,
    pub policy: &'static str,
    pub terms: &'static str,
    pub allow: &'static str,
    pub deny: &'static str,
    pub device_title: &'static str,
    pub device_explanation: &'static str,
    pub device_code: &'static str,
    pub unknown_device_code: &'static str,
    pub compare_code: &'static str,
    pub device_allowed: &'static str,
    pub back_to_device: &'static str,
    pub device_denied: &'static str,
    pub nothing_let_in: &'static str,
    pub refused_title: &'static str,
    pub step_over: &'static str,
    pub application_at_fault: &'static str,
    pub log_out: &'static str,
    pub log_out_question: &'static str,
    pub you_are_logged_in_as: &'static str,
    pub logged_out: &'static str,
    pub logged_out_here: &'static str,
    pub to_see_your_account: &'static str,
    pub not_you: &'static str,
    pub which_account: &'static str,
    pub go_on_as: &'static str,
    pub another_account: &'static str,
    pub your_account: &'static str,
    pub where_you_are_logged_in: &'static str,
    pub this_browser: &'static str,
    pub unknown_browser: &'static str,
    pub is_remembered: &'static str,
    pub used_last: &'static str,
    pub what_has_access: &'static str,
    pub nothing_has_access: &'static str,
    pub since: &'static str,
    pub end_access: &'static str,
    pub log_out_everywhere: &'static str,
    pub everywhere_means: &'static str,
    pub going_on: &'static str,
    pub go_on: &'static str,
    day: &'static str,
    days: &'static str,
    scopes: [(&'static str, &'static str); 6],
}

static ENGLISH: Texts = Texts {
    language: "en",
    service_name: String::new(),
    has_logo: false,
    log_in: "Log in",
    to_go_on_to: "to go on to",
    username: "E-mail address or user name",
    password: "Password",
    stay_logged_in: "Stay logged in here, for at most",
    wrong_credentials: "The user name or the password is wrong.",
    wait: "Too many attempts. Wait a while and try again.",
    busy: "This does not work right now. Try again in a moment.",
    allow_title: "Allow access?",
    wants_access: "asks for access to your account",
    wants_nothing_more: "It learns who you are, and nothing else.",
    it_wants: "It wants to:",
    answer_goes_to: "If you allow it, you are sent back to",
    for_at_most: "It may keep the access for at most",
    registered_itself: "This application registered itself. Nobody here has looked at who it is: go on only if you know the \
                        address above.",
    policy: "What the application does with your data",
    terms: "Terms of the application",
    allow: "Allow",
    deny: "Do not allow",
    device_title: "Connect a device",
    device_explanation: "Type the code that your device shows.",
    device_code: "Code",
    unknown_device_code: "No device waits under this code. Compare it with the one that your device shows now.",
    compare_code: "Allow it only if you have the device in front of you and it shows this code. If somebody sent you the \
                   code, it is not your device.",
    device_allowed: "Your device is connected",
    back_to_device: "Go back to your device. You can close this page.",
    device_denied: "The device is not connected",
    nothing_let_in: "It has got no access. You can close this page.",
    refused_title: "This did not work",
    step_over: "This log-in is over, or it was begun in another browser. Go back to the application and begin anew.",
    application_at_fault: "The application that sent you here made a mistake. Nothing was changed. Tell whoever runs the \
                           application what it says below.",
    log_out: "Log out",
    log_out_question: "Log out?",
    you_are_logged_in_as: "You are logged in as",
    logged_out: "You are logged out",
    logged_out_here: "Whoever uses this browser next has to log in.",
    to_see_your_account: "to see your account",
    not_you: "Not you?",
    which_account: "Which account?",
    go_on_as: "Go on as",
    another_account: "Another account",
    your_account: "Your account",
    where_you_are_logged_in: "Where you are logged in",
    this_browser: "this browser",
    unknown_browser: "A browser",
    is_remembered: "logged in again when it comes",
    used_last: "last used",
    what_has_access: "What has access",
    nothing_has_access: "Nothing has access to your account.",
    since: "since",
    end_access: "End access",
    log_out_everywhere: "Log out everywhere",
    everywhere_means: "Every log-in ends, in this browser too, and nothing has access any more.",
    going_on: "One moment",
    go_on: "Go on",
    day: "day",
    days: "days",
    scopes: [
        ("openid", "know who you are"),
        ("profile", "see your name and profile"),
        ("email", "see your e-mail address"),
        ("address", "see your postal address"),
        ("phone", "see your telephone number"),
        ("offline_access", "keep the access while you are not there"),
    ],
};

static GERMAN: Texts = Texts {
    language: "de",
    service_name: String::new(),
    has_logo: false,
    log_in: "Anmelden",
    to_go_on_to: "und weiter zu",
    username: "E-Mail-Adresse oder Benutzername",
    password: "Passwort",
    stay_logged_in: "Hier angemeldet bleiben, höchstens",
    wrong_credentials: "Benutzername oder Passwort stimmt nicht.",
    wait: "Zu viele Versuche. Warte eine Weile und versuch es dann noch einmal.",
    busy: "Das geht gerade nicht. Versuch es gleich noch einmal.",
    allow_title: "Zugriff erlauben?",
    wants_access: "möchte Zugriff auf dein Konto",
    wants_nothing_more: "Die Anwendung erfährt, wer du bist, und sonst nichts.",
    it_wants: "Die Anwendung möchte:",
    answer_goes_to: "Wenn du es erlaubst, geht es zurück zu",
    for_at_most: "Der Zugriff gilt höchstens",
    registered_itself: "Diese Anwendung hat sich selbst angemeldet. Niemand hat geprüft, wem sie gehört: Mach nur weiter, wenn \
                        du die Adresse oben kennst.",
    policy: "Was die Anwendung mit deinen Daten macht",
    terms: "Bedingungen der Anwendung",
    allow: "Erlauben",
    deny: "Nicht erlauben",
    device_title: "Gerät verbinden",
    device_explanation: "Gib den Code ein, den dein Gerät anzeigt.",
    device_code: "Code",
    unknown_device_code: "Auf diesen Code wartet kein Gerät. Vergleiche ihn mit dem, den dein Gerät jetzt anzeigt.",
    compare_code: "Erlaube es nur, wenn das Gerät vor dir steht und diesen Code anzeigt. Wenn dir jemand den Code \
                   geschickt hat, ist es nicht dein Gerät.",
    device_allowed: "Dein Gerät ist verbunden",
    back_to_device: "Geh zurück zu deinem Gerät. Du kannst diese Seite schließen.",
    device_denied: "Das Gerät ist nicht verbunden",
    nothing_let_in: "Es hat keinen Zugriff bekommen. Du kannst diese Seite schließen.",
    refused_title: "Das ging nicht",
    step_over: "Diese Anmeldung ist vorbei, oder sie wurde in einem anderen Browser begonnen. Geh zurück zur Anwendung und \
                fang dort neu an.",
    application_at_fault: "Die Anwendung, von der du kommst, hat einen Fehler gemacht. Es wurde nichts verändert. Sag dem \
                           Betreiber der Anwendung, was unten steht.",
    log_out: "Abmelden",
    log_out_question: "Abmelden?",
    you_are_logged_in_as: "Du bist angemeldet als",
    logged_out: "Du bist abgemeldet",
    logged_out_here: "Wer diesen Browser als Nächstes benutzt, muss sich anmelden.",
    to_see_your_account: "und weiter zu deinem Konto",
    not_you: "Nicht du?",
    which_account: "Welches Konto?",
    go_on_as: "Weiter als",
    another_account: "Ein anderes Konto",
    your_account: "Dein Konto",
    where_you_are_logged_in: "Wo du angemeldet bist",
    this_browser: "dieser Browser",
    unknown_browser: "Ein Browser",
    is_remembered: "wird wieder angemeldet",
    used_last: "zuletzt benutzt",
    what_has_access: "Was Zugriff hat",
    nothing_has_access: "Nichts hat Zugriff auf dein Konto.",
    since: "seit",
    end_access: "Zugriff beenden",
    log_out_everywhere: "Überall abmelden",
    everywhere_means: "Jede Anmeldung endet, auch die in diesem Browser, und nichts hat mehr Zugriff.",
    going_on: "Einen Moment",
    go_on: "Weiter",
    day: "Tag",
    days: "Tage",
    scopes: [
        ("openid", "wissen, wer du bist"),
        ("profile", "deinen Namen und dein Profil sehen"),
        ("email", "deine E-Mail-Adresse sehen"),
        ("address", "deine Postanschrift sehen"),
        ("phone", "deine Telefonnummer sehen"),
        ("offline_access", "den Zugriff behalten, während du nicht da bist"),
    ],
};

/// The languages, the first for whoever reads none of them.
pub(super) static ALL: [&Texts; 2] = [&ENGLISH, &GERMAN];

impl Texts {
    /// What a client wants, in words where there are some, and then by name.
    pub fn scopes(&self, scope: &Scope) -> Vec<String> {
        let known = self.scopes.iter().filter(|(name, _)| scope.contains(name)).map(|(_, words)| *words);
        let named = scope.tokens().filter(|token| self.scopes.iter().all(|(name, _)| name != token));
        known.chain(named).map(str::to_owned).collect()
    }

    /// A span in whole days, at least one.
    pub fn days(&self, span: Duration) -> String {
        let days = span.as_secs().div_ceil(24 * 60 * 60).max(1);
        format!("{days} {}", if days == 1 { self.day } else { self.days })
    }
}

/// The language that a person reads best: what the client says of that first (OpenID Connect Core §3.1.2.1, `ui_locales`),
/// then the browser (RFC 9110 §12.5.4).
pub(super) fn of<'r>(request: &'r HttpRequest, ui_locales: &[String]) -> &'r Texts {
    let header = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let best = best(ui_locales.iter().map(String::as_str), header);
    let state: Option<&Data<State>> = request.app_data();
    state.and_then(|state| state.look.texts.iter().find(|texts| texts.language == best.language)).unwrap_or(best)
}

fn best<'a>(ui_locales: impl Iterator<Item = &'a str>, header: &'a str) -> &'static Texts {
    let mut weighted: Vec<(u32, &str)> = header.split(',').filter_map(parse_range).collect();
    // Those of the same weight stay in their order.
    weighted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let mut ranges = ui_locales.chain(weighted.into_iter().map(|(_, range)| range));
    ranges.find_map(find).unwrap_or(&ENGLISH)
}

/// A language range and its weight in thousandths; none of weight 0.
fn parse_range(text: &str) -> Option<(u32, &str)> {
    let mut parts = text.split(';');
    let range = parts.next()?.trim();
    let weight = match parts.next().and_then(|part| part.trim().strip_prefix("q=")) {
        None => 1000,
        Some(digits) => {
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let thousandths = format!("{fraction:0<3}").get(..3)?.parse::<u32>().ok()?;
            whole.parse::<u32>().ok()?.min(1) * 1000 + thousandths
        }
    };
    (weight > 0).then_some((weight, range))
}

fn find(range: &str) -> Option<&'static Texts> {
    let primary = range.split('-').next()?;
    ALL.into_iter().find(|texts| texts.language.eq_ignore_ascii_case(primary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_the_language_that_comes_first() {
        for (ui_locales, header, language) in [
            ("", "", "en"),
            ("", "de", "de"),
            ("", "de-AT,en;q=0.5", "de"),
            ("", "en;q=0.5, de;q=0.8", "de"),
            ("", "fr, de;q=0.3, en;q=0.2", "de"),
            ("", "de;q=0, en", "en"),
            ("", "fr", "en"),
            ("", "de;q=x", "en"),
            ("en", "de", "en"),
            ("fr DE-ch", "en", "de"),
        ] {
            assert_eq!(best(ui_locales.split(' '), header).language, language, "{ui_locales:?} {header:?}");
        }
    }

    #[test]
    fn the_metadata_lists_the_languages_that_there_are() {
        assert_eq!(ALL.map(|texts| texts.language), crate::protocol::discovery_document::UI_LOCALES);
    }

    #[test]
    fn what_has_no_words_is_named() {
        let scope = Scope::parse("email openid a:read").map_err(|refusal| refusal.reason.id()).unwrap();
        assert_eq!(ENGLISH.scopes(&scope), ["know who you are", "see your e-mail address", "a:read"]);
        assert_eq!(ENGLISH.days(Duration::from_secs(1)), "1 day");
        assert_eq!(GERMAN.days(Duration::from_hours(90 * 24)), "90 Tage");
    }
}
