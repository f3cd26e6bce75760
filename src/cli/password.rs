//! Reading a password from standard input, never from an argument: arguments are for all to see.

use std::io::Read as _;

use zeroize::Zeroizing;

use super::CommandError;
use crate::protocol::token_request::MAX_PASSWORD_BYTES;
use crate::secret::PlainSecret;

/// Reads standard input to its end; one line break at the end is not part of the password.
pub(super) fn read() -> Result<PlainSecret, CommandError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = u64::try_from(MAX_PASSWORD_BYTES).unwrap_or(u64::MAX).saturating_add(3);
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| CommandError::Usage("the password is not UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(PlainSecret::new(text))
}
