//! What must be remembered of the past to tell whether two parties both keep going.

use super::state::Party;

/// When something happened, in rotations of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Age {
    Latest,
    Earlier,
}

/// Who was served when, as far as it matters for two parties that both keep going: each is served in a later
/// generation than the other was, counted from the first in which the thief was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    thief_began: Option<Age>,
    client_began: Option<Age>,
    client_in_latest: bool,
    thief_went_on: bool,
    client_went_on: bool,
}

impl History {
    pub fn move_on(&mut self) {
        self.thief_began = self.thief_began.map(|_| Age::Earlier);
        self.client_began = self.client_began.map(|_| Age::Earlier);
        self.client_in_latest = false;
    }

    pub fn record(&mut self, served: Party) {
        match served {
            Party::Client => {
                self.client_in_latest = true;
                self.client_went_on |= self.thief_began == Some(Age::Earlier);
                if self.thief_began.is_some() {
                    self.client_began = self.client_began.or(Some(Age::Latest));
                }
            }
            Party::Thief => {
                self.thief_went_on |= self.client_began == Some(Age::Earlier);
                if self.thief_began.is_none() {
                    self.thief_began = Some(Age::Latest);
                    self.client_began = self.client_in_latest.then_some(Age::Latest);
                }
            }
        }
    }

    pub fn both_keep_going(&self) -> bool {
        self.thief_went_on && self.client_went_on
    }
}
