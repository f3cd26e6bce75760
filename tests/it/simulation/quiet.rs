//! What is tried when all is quiet: that an honest client goes on, that two siblings used are one too many, and that
//! nothing of an ended grant is good for anything.

use std::time::Duration;

use countersign::clock::Deadline;
use countersign::reason::{GrantRefusal, Reason};

use super::call::{Answer, Ask, DEADLINE, make};
use super::plot::{Broken, Party};
use super::run::Run;
use super::stage::Instance;

impl Run<'_> {
    pub(super) fn try_everything(&mut self) -> Result<(), Broken> {
        for nth in 0..self.plots.len() {
            self.client_gets_its_answer(nth)?;
        }
        // Only now may time pass that a waiting client does not have.
        self.stage.advance(Duration::from_secs(11));
        for nth in 0..self.plots.len() {
            for instance in [Instance::A, Instance::B] {
                if !self.plots[nth].is_disturbed() {
                    self.start_refresh(nth);
                    self.ask_for_client(nth, instance)?;
                }
            }
            self.two_siblings_are_too_many(nth)?;
            self.nothing_comes_of_an_ended_grant(nth)?;
        }
        Ok(())
    }

    /// A client that still waits repeats once more, and an honest one is served.
    fn client_gets_its_answer(&mut self, nth: usize) -> Result<(), Broken> {
        if self.plots[nth].client.refresh.is_none() || self.plots[nth].is_disturbed() {
            return Ok(());
        }
        let instance = if self.random.chance(50) { Instance::A } else { Instance::B };
        self.ask_for_client(nth, instance)
    }

    fn ask_for_client(&mut self, nth: usize, instance: Instance) -> Result<(), Broken> {
        let client = &self.plots[nth].client;
        let attempt = client.refresh.as_ref().and_then(|refresh| refresh.attempt.clone());
        let token = client.store.clone();
        match self.present(nth, instance, (Party::Client, &token, attempt))? {
            Answer::Token(next) => {
                let client = &mut self.plots[nth].client;
                client.store = next;
                client.refresh = None;
                Ok(())
            }
            _ => Err("an honest client is not served although all is quiet".to_owned()),
        }
    }

    /// Presents a token on a calm network; the history takes note.
    fn present(
        &mut self,
        nth: usize,
        instance: Instance,
        (by, token, attempt): (Party, &str, Option<String>),
    ) -> Result<Answer, Broken> {
        let app = self.stage.app(instance).clone();
        let number = self.calls;
        self.calls += 1;
        let ask = Ask::Refresh { token: token.to_owned(), attempt };
        let answer = make(&app, ask, Deadline::after(&app.clock, DEADLINE));
        let (presented, row) = (self.stage.open(token), self.stage.row(Instance::A, self.plots[nth].id));
        let line = format!("call {number}: {by:?} {nth} presents {} at {instance:?}: ", self.name(token));
        match &answer {
            Answer::Token(text) => {
                self.course.trace.push(line + &self.name(text));
                let next = self.stage.open(text);
                let plot = &mut self.plots[nth];
                plot.see_row(row.clone(), Some(&presented), true)?;
                plot.served((by, number), &presented, (text, &next), &row)?;
            }
            Answer::Refused(refusal) => {
                self.course.trace.push(line + refusal.reason.id());
                self.plots[nth].row = row;
            }
            Answer::Done | Answer::Failed | Answer::Panicked => {
                return Err("a refresh ended as something else".to_owned());
            }
        }
        Ok(answer)
    }

    /// Uses two tokens of one generation: the first goes on, the second ends it all.
    fn two_siblings_are_too_many(&mut self, nth: usize) -> Result<(), Broken> {
        if self.plots[nth].row.ended_at.is_some() {
            return Ok(());
        }
        let live = self.live(nth)?;
        let Some(first) = live.first().cloned() else {
            // Every answer of this generation was lost on the way, and nobody knows its tokens.
            return Ok(());
        };
        // From here on there are two parties.
        self.plots[nth].stolen.push(first.clone());
        let pair = if let Some(second) = live.get(1) {
            [first, second.clone()]
        } else {
            let mut pair = [first.clone(), first.clone()];
            for answer in &mut pair {
                let Answer::Token(next) = self.present(nth, Instance::A, (Party::Examiner, &first, None))? else {
                    return Err("a live token and its repeat are not both served".to_owned());
                };
                *answer = next;
            }
            pair
        };
        let [went_on, second] = pair;
        if !matches!(self.present(nth, Instance::A, (Party::Examiner, &went_on, None))?, Answer::Token(_)) {
            return Err("the first of two siblings to be used does not go on".to_owned());
        }
        match self.present(nth, Instance::B, (Party::Examiner, &second, None))? {
            Answer::Refused(refusal) if refusal.reason == Reason::Grant(GrantRefusal::Replayed) => {}
            _ => return Err("the use of a second sibling went unnoticed".to_owned()),
        }
        if self.plots[nth].row.ended_at.is_none() {
            return Err("a reuse was refused and the grant lives on".to_owned());
        }
        Ok(())
    }

    /// The tokens that were handed out and are live; every other one is of a generation before.
    fn live(&self, nth: usize) -> Result<Vec<String>, Broken> {
        let plot = &self.plots[nth];
        let mut live = Vec::new();
        for text in &plot.issued {
            let token = self.stage.open(text);
            if token.generation > plot.row.rotation.generation {
                return Err("a token was handed out that the row knows nothing of".to_owned());
            }
            if token.is_live(&plot.row.rotation) {
                live.push(text.clone());
            }
        }
        Ok(live)
    }

    fn nothing_comes_of_an_ended_grant(&mut self, nth: usize) -> Result<(), Broken> {
        let plot = &self.plots[nth];
        if plot.row.ended_at.is_none() {
            return Ok(());
        }
        let latest = plot.issued.iter().rev().take(3).cloned().collect::<Vec<_>>();
        for (token, instance) in latest.iter().zip([Instance::A, Instance::B, Instance::A]) {
            match self.present(nth, instance, (Party::Examiner, token, None))? {
                Answer::Refused(refusal) if refusal.reason == Reason::Grant(GrantRefusal::Ended) => {}
                _ => return Err("something came of an ended grant".to_owned()),
            }
        }
        Ok(())
    }
}
