//! Subjects that differ from sector to sector (OpenID Connect Core §8.1).

use crate::app::App;
use crate::id::AccountId;
use crate::reason::Refusal;
use crate::secret::encode_base64url;
use crate::store::clients::Client;
use crate::store::pairwise_subjects;

/// Random bytes of a subject: 128 bits.
const SUBJECT_BYTES: usize = 16;
/// What every one begins with: it is never an account's identifier, nor (by its dot in front) looks like a client's.
const PREFIX: &str = "pw.";

/// What that client calls the account; `None` when it is what everybody does.
///
/// # Errors
/// The store's own reasons.
pub fn subject(app: &App, client: &Client, id: AccountId) -> Result<Option<String>, Refusal> {
    let Some(sector) = client.metadata.sector() else { return Ok(None) };
    if let Some(known) = app.db.read(|tx| pairwise_subjects::find(tx, id, sector))? {
        return Ok(Some(known));
    }
    let fresh = format!("{PREFIX}{}", encode_base64url(&app.random.bytes::<SUBJECT_BYTES>()));
    let sector = sector.to_owned();
    Ok(Some(app.db.write(move |tx| pairwise_subjects::put(tx, id, &sector, &fresh))?))
}
