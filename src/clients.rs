//! The registered clients as this instance knows them: an in-memory snapshot, swapped whole within a second of a change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::protocol::client_credentials::ClientId;
use crate::store::clients::{self, Client};
use crate::store::{self, Db};

/// The clients, found without touching the database.
pub struct Clients {
    snapshot: ArcSwap<HashMap<ClientId, Arc<Client>>>,
    /// Held while they are taken anew, so that nobody puts older ones in the place of newer ones.
    reloading: Mutex<()>,
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
        let snapshot = loaded.into_iter().map(|client| (client.id.clone(), Arc::new(client))).collect();
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    /// Every client.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.snapshot.load().values().cloned().collect()
    }

    /// The client of that identifier.
    pub fn find(&self, id: &ClientId) -> Option<Arc<Client>> {
        self.snapshot.load().get(id).cloned()
    }
}
