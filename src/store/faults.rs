//! Where a test may stand between the rules and one [`Db`]: asked before each read and write, it lets the call be made,
//! fails it, or has it made and then reports a failure, as a crash between commit and answer would. A hook that blocks
//! decides which of several callers goes on. Builds without debug assertions have none of this.

use std::cell::Cell;
use std::sync::OnceLock;

use super::{Db, Error};

/// What is about to be asked of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Db::read`].
    Read,
    /// [`Db::write`].
    Write,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is made.
    GoOn,
    /// It fails before anything happened.
    FailBefore,
    /// It is made, and whoever made it is told that it failed.
    FailAfter,
}

/// Decides the fate of each call.
pub type Hook = Box<dyn Fn(Call) -> Fate + Send + Sync>;

thread_local! {
    /// Whether this thread is inside a call whose fate is decided already.
    static DECIDED: Cell<bool> = const { Cell::new(false) };
}

/// The hook of one database, if a test hung one there.
#[derive(Default)]
pub(super) struct Faults {
    hook: OnceLock<Hook>,
}

impl Faults {
    /// Whether the next call of this thread is to go through [`Faults::around`].
    pub(super) fn watch(&self) -> bool {
        self.hook.get().is_some() && !DECIDED.get()
    }

    /// Asks the hook, and makes the call or does not.
    pub(super) fn around<T>(&self, call: Call, make: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let fate = self.hook.get().map_or(Fate::GoOn, |hook| hook(call));
        if fate == Fate::FailBefore {
            return Err(Error::unavailable("a fault before the call"));
        }
        DECIDED.set(true);
        let outcome = make();
        DECIDED.set(false);
        if fate == Fate::FailAfter { Err(Error::unavailable("a fault after the call")) } else { outcome }
    }
}

impl Db {
    /// Hangs a hook on this database; the first one stays.
    pub fn hang_hook(&self, hook: Hook) {
        let _ = self.faults.hook.set(hook);
    }
}
