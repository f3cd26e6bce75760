//! Device codes (RFC 8628 §3.2): secret names of their rows, sealed.

use super::sealed;
use crate::secret::PurposeKey;
use crate::store::device_codes::DeviceHandle;

/// What every device code starts with, so that scanners of logs can find a leaked one.
pub const PREFIX: &str = "csd_";

/// The code as it is handed out, under the newest of `keys`; `None` when there is no key.
pub fn seal(handle: DeviceHandle, keys: &[(u8, PurposeKey)]) -> Option<String> {
    sealed::seal(PREFIX, handle.0, keys)
}

/// Which device a presented code is of, if it is one of ours; `None` for any other text.
pub fn open(text: &str, keys: &[(u8, PurposeKey)]) -> Option<DeviceHandle> {
    sealed::open(PREFIX, text, keys).map(DeviceHandle)
}
