//! What may happen next, how likely it is, and what it means for whom it happens to.

use std::time::Duration;

use countersign::store::faults::Fate;

use super::call::{Answer, Ask, DEADLINE};
use super::plot::{Broken, Party, Plot, Refresh, Revocation};
use super::run::Run;
use super::stage::Instance;

/// The most calls of one grant that are under way at once.
const MAX_UNDER_WAY: usize = 4;
/// Just longer than a deadline.
const PAST_DEADLINE: Duration = Duration::from_secs(11);

/// What may happen next.
#[derive(Clone, Copy)]
pub(super) enum Event {
    Start(usize),
    Repeat(usize),
    Steal(usize),
    Present(usize),
    Revoke(usize),
    Disable,
    GoOn(usize, Fate),
    GoOnAfter(usize, Duration),
    Deliver(usize),
    Lose(usize),
    Wait(Duration),
    Restart(Instance),
}

impl Run<'_> {
    /// Everything that may happen now, each with its weight.
    pub(super) fn choices(&self, (thief, revocations, restarts): (bool, bool, bool)) -> Vec<(usize, Event)> {
        // To the last moment at which a client may repeat, too: leeway and deadline then end together.
        let until = self.plots.iter().filter_map(Plot::repeats_until).min();
        let last_moment = until.map(|until| until.since(self.stage.now())).filter(|span| !span.is_zero());
        let mut choices: Vec<_> = [1, 5, 10, 11, 61, 3600]
            .map(Duration::from_secs)
            .into_iter()
            .filter(|span| self.may_wait(*span))
            .map(|span| (1, Event::Wait(span)))
            .collect();
        choices.extend(last_moment.map(|span| (4, Event::Wait(span))));
        for (nth, plot) in self.plots.iter().enumerate() {
            let of_plot = self.under_way.iter().filter(|call| call.plot == nth).count();
            let room = of_plot < MAX_UNDER_WAY;
            let to_client = self.under_way.iter().any(|call| call.plot == nth && call.by == Party::Client)
                || self.answers.iter().any(|answer| answer.plot == nth && answer.to == Party::Client);
            match &plot.client.refresh {
                _ if plot.client.logged_out || !room => {}
                None if self.is_past_deadlines(nth) => choices.push((8, Event::Start(nth))),
                None if self.may_wait(PAST_DEADLINE) => choices.push((3, Event::Start(nth))),
                None => {}
                Some(_) if plot.client_has_mercy() && to_client => {}
                Some(_) => choices.push((if to_client { 3 } else { 8 }, Event::Repeat(nth))),
            }
            match plot.stolen.is_empty() {
                true if thief => choices.push((2, Event::Steal(nth))),
                false if room => choices.push((6, Event::Present(nth))),
                _ => {}
            }
            if revocations && room && plot.revocation == Revocation::Never {
                choices.push((1, Event::Revoke(nth)));
            }
        }
        if revocations && self.plots.iter().all(|plot| plot.revocation == Revocation::Never) {
            choices.push((1, Event::Disable));
        }
        let mercy = |plot: usize, to| to == Party::Client && self.plots[plot].client_has_mercy();
        for (nth, call) in self.under_way.iter().enumerate() {
            choices.push((30, Event::GoOn(nth, Fate::GoOn)));
            if !mercy(call.plot, call.by) {
                choices.extend([(2, Event::GoOn(nth, Fate::FailBefore)), (3, Event::GoOn(nth, Fate::FailAfter))]);
            }
            let last_moment = call.sent_at.plus(DEADLINE).since(self.stage.now());
            if self.may_wait(last_moment) {
                choices.push((2, Event::GoOnAfter(nth, last_moment)));
            }
            if self.may_wait(PAST_DEADLINE) {
                choices.push((1, Event::GoOnAfter(nth, PAST_DEADLINE)));
            }
        }
        for (nth, answer) in self.answers.iter().enumerate() {
            choices.push((12, Event::Deliver(nth)));
            if !mercy(answer.plot, answer.to) {
                choices.push((5, Event::Lose(nth)));
            }
        }
        if restarts && !self.plots.iter().any(Plot::client_has_mercy) {
            choices.extend([(1, Event::Restart(Instance::A)), (1, Event::Restart(Instance::B))]);
        }
        choices
    }

    /// Whether time may pass: a client that must repeat in time is not kept from it.
    fn may_wait(&self, span: Duration) -> bool {
        let then = self.stage.now().plus(span);
        self.plots.iter().filter_map(Plot::repeats_until).all(|until| then <= until)
    }

    /// Whether what is under way of the client's last refresh can change nothing any more. Where a thief has come, being
    /// patient saves nobody, and haste makes for races.
    fn is_past_deadlines(&self, plot: usize) -> bool {
        let plot = &self.plots[plot];
        plot.is_disturbed() || self.stage.now() > plot.client.last_sent_at.plus(DEADLINE)
    }

    pub(super) fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Start(nth) => {
                // What is under way of the last refresh must be past its deadline by then.
                if !self.is_past_deadlines(nth) {
                    self.wait(PAST_DEADLINE);
                }
                self.start_refresh(nth);
                self.send_refresh(nth)
            }
            Event::Repeat(nth) => self.send_refresh(nth),
            Event::Steal(nth) => {
                self.steal(nth);
                Ok(())
            }
            Event::Present(nth) => {
                let stolen = &self.plots[nth].stolen;
                // The latest are the interesting ones.
                let back = self.random.below(stolen.len().min(3));
                let token = stolen[stolen.len() - 1 - back].clone();
                let attempt = self.random.chance(30).then(|| "the-key-of-a-thief".to_owned());
                self.call(nth, Party::Thief, Ask::Refresh { token, attempt })
            }
            Event::Revoke(nth) => {
                let plot = &mut self.plots[nth];
                plot.revocation = Revocation::Asked;
                let token = plot.client.before.clone().filter(|_| self.random.chance(30));
                let token = token.unwrap_or_else(|| plot.client.store.clone());
                self.call(nth, Party::Owner, Ask::Revoke { token })
            }
            Event::Disable => {
                self.plots.iter_mut().for_each(|plot| plot.revocation = Revocation::Asked);
                self.call(0, Party::Operator, Ask::Disable { account: self.account })
            }
            Event::GoOn(nth, fate) => self.go_on(nth, fate),
            Event::GoOnAfter(nth, span) => {
                self.wait(span);
                self.go_on(nth, Fate::GoOn)
            }
            Event::Deliver(nth) => self.deliver(nth),
            Event::Lose(nth) => {
                let lost = self.answers.swap_remove(nth);
                self.course.trace.push(format!("an answer to {:?} {} is lost", lost.to, lost.plot));
                Ok(())
            }
            Event::Wait(span) => {
                self.wait(span);
                Ok(())
            }
            Event::Restart(instance) => self.restart(instance),
        }
    }

    fn wait(&mut self, span: Duration) {
        self.stage.advance(span);
        self.course.trace.push(format!("{} s pass", span.as_secs()));
    }

    pub(super) fn start_refresh(&mut self, nth: usize) {
        let began_at = self.stage.now();
        let client = &mut self.plots[nth].client;
        client.round += 1;
        let attempt = client.marks_repeats.then(|| format!("refresh-{:09}", client.round));
        client.refresh = Some(Refresh { attempt, began_at, tries: 0 });
    }

    fn send_refresh(&mut self, nth: usize) -> Result<(), Broken> {
        let now = self.stage.now();
        let client = &mut self.plots[nth].client;
        client.last_sent_at = now;
        let refresh = client.refresh.as_mut().expect("it is at a refresh");
        refresh.tries += 1;
        let ask = Ask::Refresh { token: client.store.clone(), attempt: refresh.attempt.clone() };
        self.call(nth, Party::Client, ask)
    }

    fn steal(&mut self, nth: usize) {
        let client = &self.plots[nth].client;
        let mut loot: Vec<_> = [Some(client.store.clone()), client.before.clone()].into_iter().flatten().collect();
        loot.extend(self.answers.iter().filter_map(|answer| match &answer.answer {
            Answer::Token(token) if answer.plot == nth => Some(token.clone()),
            _ => None,
        }));
        let token = loot.swap_remove(self.random.below(loot.len()));
        self.course.trace.push(format!("a thief copies {}", self.name(&token)));
        self.plots[nth].stolen.push(token);
    }
}
