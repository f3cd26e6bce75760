//! What an account may say of itself, and which scope allows it to be seen (OpenID Connect Core §5.1, §5.4).

use serde_json::{Map, Value};

/// The most bytes that an account's claims may take together, as JSON.
const MAX_BYTES: usize = 4 * 1024;

/// The claims that each scope stands for (OpenID Connect Core §5.4).
pub const SCOPES: [(&str, &[&str]); 4] = [
    (
        "profile",
        &[
            "name",
            "family_name",
            "given_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("address", &["address"]),
    ("phone", &["phone_number", "phone_number_verified"]),
];

/// The scope that a claim is seen by.
pub fn scope_of(claim: &str) -> Option<&'static str> {
    SCOPES.iter().find(|(_, claims)| claims.contains(&claim)).map(|(scope, _)| *scope)
}

/// Refuses claims that no account may have: unknown ones, `email`, which every account has anyway, and those of another
/// type than OpenID Connect Core §5.1 says.
///
/// # Errors
/// The rule that is broken.
pub fn refuse_malformed(claims: &Map<String, Value>) -> Result<(), &'static str> {
    for (name, value) in claims {
        let known = SCOPES.iter().any(|(_, claims)| claims.contains(&name.as_str()));
        if !known || name == "email" {
            return Err("only claims of OpenID Connect Core section 5.1, without sub and email");
        }
        let fits = match name.as_str() {
            "email_verified" | "phone_number_verified" => value.is_boolean(),
            "updated_at" => value.is_u64(),
            "address" => value.as_object().is_some_and(|members| members.values().all(Value::is_string)),
            _ => value.is_string(),
        };
        if !fits {
            return Err("texts; true or false for …_verified, seconds for updated_at, an object of texts for address");
        }
    }
    let bytes = serde_json::to_string(claims).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_BYTES { Err("at most 4 KiB together") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_those_of_the_standard_and_of_its_types() {
        for (claims, allowed) in [
            ("{}", true),
            (r#"{"name":"Ada","email_verified":true,"updated_at":1,"address":{"locality":"London"}}"#, true),
            (r#"{"sub":"x"}"#, false),
            (r#"{"iss":"x"}"#, false),
            (r#"{"email":"a@b.example"}"#, false),
            (r#"{"email_verified":"true"}"#, false),
            (r#"{"name":1}"#, false),
            (r#"{"updated_at":"now"}"#, false),
            (r#"{"address":"London"}"#, false),
            (r#"{"address":{"locality":1}}"#, false),
        ] {
            let claims: Map<String, Value> = serde_json::from_str(claims).unwrap();
            assert_eq!(refuse_malformed(&claims).is_ok(), allowed, "{claims:?}");
        }
        let large = Map::from_iter([("name".to_owned(), Value::from("a".repeat(MAX_BYTES)))]);
        assert!(refuse_malformed(&large).is_err());
    }
}
