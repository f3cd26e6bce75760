//! What every page has in common: the service's name, its logo, its style. Made once, at start, from the settings.

use bytes::Bytes;

use super::texts::{ALL, Texts};
use crate::keys::Document;
use crate::settings::{Logo, Pages, ThemeStyle};

/// Our own style.
const STYLE: &str = include_str!("../assets/style.css");

/// The look of the pages.
pub(in crate::web) struct Look {
    /// The words of each language, the first for whoever reads none of them.
    pub(super) texts: Vec<Texts>,
    /// The style of every page.
    pub(super) style: Document,
    /// The logo, and its media type.
    pub(super) logo: Option<(Document, &'static str)>,
}

impl Look {
    /// The look that the settings want.
    pub(in crate::web) fn new(pages: &Pages) -> Self {
        let theme = pages.theme.as_ref();
        let texts = ALL.into_iter().map(|texts| {
            let named = theme.and_then(|theme| theme.service_names.get(texts.language));
            let mut texts = texts.clone();
            named.unwrap_or(&pages.service_name).clone_into(&mut texts.service_name);
            texts.has_logo = theme.is_some_and(|theme| theme.logo.is_some());
            texts
        });
        let style = match (theme.and_then(|theme| theme.style.as_ref()), pages.theme_style) {
            (None, _) => STYLE.to_owned(),
            (Some(style), ThemeStyle::After) => format!("{STYLE}\n{style}"),
            (Some(style), ThemeStyle::Instead) => style.clone(),
        };
        let document = |logo: &Logo| (Document::of(Bytes::from(logo.bytes.clone())), logo.content_type);
        Self {
            texts: texts.collect(),
            style: Document::of(Bytes::from(style)),
            logo: theme.and_then(|theme| theme.logo.as_ref()).map(document),
        }
    }
}
