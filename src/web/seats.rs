//! How many connections those who follow what is over may keep: half of all together, a quarter each client, so that a client
//! whose secret is known to others takes them from nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Who follows, by client.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    all: usize,
}

/// Somebody's place among them; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    client_id: String,
}

impl Seats {
    /// As many as so many connections leave.
    pub(super) fn of(max_connections: usize) -> Self {
        Self { taken: Arc::default(), all: max_connections.div_ceil(2) }
    }

    /// One for a client, if there is one left.
    pub(super) fn take(&self, client_id: &str) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(client_id).copied().unwrap_or_default();
        if all >= self.all || own >= self.all.div_ceil(2) {
            return None;
        }
        taken.insert(client_id.to_owned(), own + 1);
        Some(Seat { seats: self.clone(), client_id: client_id.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.client_id) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.client_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_and_what_is_given_back_is_free() {
        let seats = Seats::of(8);
        let mut of_one = vec![seats.take("a").unwrap(), seats.take("a").unwrap()];
        assert!(seats.take("a").is_none(), "a quarter");
        let of_others = [seats.take("b").unwrap(), seats.take("c").unwrap()];
        assert!(seats.take("d").is_none(), "half");
        drop(of_one.pop());
        assert!(seats.take("d").is_some());
        drop((of_one, of_others));
        assert!(seats.taken.lock().unwrap().is_empty());
    }
}
