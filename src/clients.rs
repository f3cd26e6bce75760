//! The registered clients as this instance knows them: an in-memory snapshot, swapped whole within a second of a change.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::protocol::client_credentials::ClientId;
use crate::protocol::origin::Origin;
use crate::store::clients::{self, Client};
use crate::store::{self, Db};

/// The clients, found without touching the database.
pub struct Clients {
    snapshot: ArcSwap<Snapshot>,
    /// Held while they are taken anew, so that nobody puts older ones in the place of newer ones.
    reloading: Mutex<()>,
}

#[derive(Default)]
struct Snapshot {
    by_id: HashMap<ClientId, Arc<Client>>,
    /// The origins of those that are not disabled.
    origins: HashSet<Origin>,
    /// The origins of those of them that have a cookie.
    cookie_origins: HashSet<Origin>,
}

impl Clients {
    /// Loads all of them.
    ///
    /// # Errors
    /// The store's own reasons.
    pub fn open(db: &Db) -> Result<Self, store::Error> {
        let clients = Self { snapshot: ArcSwap::default(), reloading: Mutex::default() };
        clients.reload(db)?;
        Ok(clients)
    }

    /// Takes them anew; the old snapshot stays when that fails.
    ///
    /// # Errors
    /// The store's own reasons.
    pub fn reload(&self, db: &Db) -> Result<(), store::Error> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let (loaded, unreadable) = db.read(clients::load_all)?;
        for client_id in unreadable {
            tracing::error!(%client_id, error_id = "capacity.store_corrupt", "a client's row cannot be read: left out");
        }
        let enabled = || loaded.iter().filter(|client| client.disabled_at.is_none()).map(|client| &client.metadata);
        let origins = enabled().flat_map(|metadata| metadata.allowed_origins.iter().cloned()).collect();
        let with_cookie = enabled().filter(|metadata| metadata.refresh_cookie);
        let cookie_origins = with_cookie.flat_map(|metadata| metadata.allowed_origins.iter().cloned()).collect();
        let by_id = loaded.into_iter().map(|client| (client.id.clone(), Arc::new(client))).collect();
        self.snapshot.store(Arc::new(Snapshot { by_id, origins, cookie_origins }));
        Ok(())
    }

    /// Every client.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.snapshot.load().by_id.values().cloned().collect()
    }

    /// The client of that identifier.
    pub fn find(&self, id: &ClientId) -> Option<Arc<Client>> {
        self.snapshot.load().by_id.get(id).cloned()
    }

    /// The same of a client whose refresh tokens travel in a cookie.
    pub fn knows_cookie_origin(&self, origin: &str) -> bool {
        self.snapshot.load().cookie_origins.contains(origin)
    }

    /// Whether some client that is not disabled registered that origin.
    pub fn knows_origin(&self, origin: &str) -> bool {
        self.snapshot.load().origins.contains(origin)
    }
}
