//! JSON as a token may have it: an object, in which no member comes twice at any depth. Two parsers that disagree on
//! which of two members counts are a way around both (RFC 7519 §4, RFC 8725 §2.4).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The value of `text`, if it is an object without a repeated member.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    no_member_comes_twice(text).then(|| read(text)).flatten()
}

/// The value of `text`, if it is an object. Repeated members that `T` does not name go unseen.
pub(crate) fn read<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Option<T> {
    // A struct could be read from an array, too.
    let begins_an_object = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    begins_an_object.then(|| serde_json::from_slice(text).ok()).flatten()
}

/// Whether each object in `text` has each of its members once. Not so for text that is no JSON.
pub(crate) fn no_member_comes_twice(text: &[u8]) -> bool {
    let mut reader = serde_json::Deserializer::from_slice(text);
    Unique.deserialize(&mut reader).is_ok() && reader.end().is_ok()
}

/// For `#[serde(deserialize_with)]`: whether a member is there, whatever it holds. `Option` takes `null` for absence.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// For `#[serde(deserialize_with)]`: a member that may be absent, but not `null`.
pub(crate) fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Names of which each is compared with all others; more are sorted.
const FEW: usize = 24;

/// Walks a value and keeps nothing of it.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names: Vec<Cow<'de, str>> = Vec::with_capacity(FEW);
        let mut repeated = false;
        while let Some(name) = members.next_key_seed(Name)? {
            members.next_value_seed(Self)?;
            repeated |= names.len() < FEW && names.contains(&name);
            names.push(name);
        }
        if names.len() > FEW {
            // Sorted, so that an object of thousands of members costs no quadratic time.
            names.sort_unstable();
            repeated = names.iter().zip(names.iter().skip(1)).any(|(one, next)| one == next);
        }
        if repeated { Err(A::Error::custom("a member comes twice")) } else { Ok(()) }
    }
}

/// The name of a member with its escapes resolved: `"\u0069ss"` is `iss`.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_members_are_found_at_every_depth_and_however_they_are_spelt() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[0,{"b":{"c":1,"c":2}}]}"#,
            r#"{"iss":1,"\u0069ss":2}"#,
        ] {
            assert!(!no_member_comes_twice(text.as_bytes()), "{text}");
        }
        for text in [r#"{"a":1,"b":{"a":1}}"#, r#"[{"a":1},{"a":1}]"#, r#"{"a":null,"b":1.5,"c":-1,"d":true}"#] {
            assert!(no_member_comes_twice(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_nothing() {
        let many = (0..100).map(|nth| format!(r#""{nth}":0"#)).collect::<Vec<_>>().join(",") + ",";
        assert!(no_member_comes_twice(format!(r#"{{{many}"x":0}}"#).as_bytes()));
        for twice in ["0", "7", "23", "24", "25", "99"] {
            assert!(!no_member_comes_twice(format!(r#"{{{many}"{twice}":0}}"#).as_bytes()), "{twice}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in ["", "{", r#"{"a":1}x"#, r#"{"a":1e999}"#, "{\"a\":\"\u{1}\"}", deep.as_str()] {
            assert!(!no_member_comes_twice(text.as_bytes()), "{}", text.len());
        }
        assert!(!no_member_comes_twice(b"{\"a\":\"\xff\"}"));
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(Deserialize)]
        struct Pair {
            one: u8,
        }
        assert_eq!(parse::<Pair>(br#" {"one":1}"#).map(|pair| pair.one), Some(1));
        assert!(parse::<Pair>(b"[1]").is_none());
        assert!(parse::<Pair>(br#"{"one":1,"two":2,"two":2}"#).is_none());
    }
}
