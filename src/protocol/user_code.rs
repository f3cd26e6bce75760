//! The code that a device shows and a person types (RFC 8628 §6.1): letters without vowels, so that it spells nothing and
//! none is taken for another. Refuses to know which device waits under it.

use std::fmt;

use crate::secret::Random;

/// RFC 8628 §6.1: twenty letters that people tell apart.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How many letters: 2.5 · 10^10 codes, of which a few thousand are in use for minutes.
const LETTERS: usize = 8;
/// The most bytes that a person may have typed.
const MAX_TYPED_BYTES: usize = 64;

/// A code that a person types for a device.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode(String);

impl UserCode {
    /// One that nobody can foresee.
    pub fn new(random: &Random) -> Self {
        let mut letters = String::with_capacity(LETTERS);
        while letters.len() < LETTERS {
            let [byte] = random.bytes::<1>();
            // Each letter as likely as any other: 240 is the last multiple of 20 that a byte reaches.
            let letter = (byte < 240).then(|| ALPHABET.get(usize::from(byte % 20))).flatten();
            letters.extend(letter.map(|letter| char::from(*letter)));
        }
        Self(letters)
    }

    /// What a person typed; case, dashes and blanks do not matter (RFC 8628 §6.1). `None` for what is no such code.
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.len() > MAX_TYPED_BYTES {
            return None;
        }
        let kept = typed.chars().filter(|letter| !matches!(letter, '-' | ' ' | '\u{2010}'..='\u{2015}'));
        let letters: String = kept.map(|letter| letter.to_ascii_uppercase()).collect();
        let ours = letters.len() == LETTERS && letters.bytes().all(|letter| ALPHABET.contains(&letter));
        ours.then_some(Self(letters))
    }

    /// The letters alone.
    pub fn letters(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserCode {
    /// Its two halves, with a dash between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at_checked(LETTERS / 2).unwrap_or((&self.0, ""));
        write!(f, "{first}-{second}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        let code = UserCode::new(&Random);
        let shown = code.to_string();
        assert_eq!((shown.len(), shown.find('-')), (9, Some(4)));
        for typed in [
            shown.clone(),
            shown.to_lowercase(),
            shown.replace('-', ""),
            shown.replace('-', " \u{2013} "),
            format!(" {shown} "),
        ] {
            assert!(UserCode::parse(&typed) == Some(code.clone()), "{typed}");
        }
        for typed in ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF-GHJ1", "BCDF_GHJK", "ẞCDF-GHJK", &"-".repeat(65)]
        {
            assert!(UserCode::parse(typed).is_none(), "{typed}");
        }
    }

    #[test]
    fn every_letter_comes_up() {
        let letters: String = (0..200).map(|_| UserCode::new(&Random).letters().to_owned()).collect();
        assert!(ALPHABET.iter().all(|letter| letters.contains(char::from(*letter))));
    }
}
