//! One seed: a scheduler under which calls go on one at a time, each step judged; and after it all, quiet, in which what
//! must still work is tried.

use std::collections::BTreeMap;
use std::ops::Range;

use countersign::clock::{Deadline, Timestamp};
use countersign::id::AccountId;
use countersign::store::faults::{Call, Fate};
use countersign::token::refresh_token::RefreshToken;

use super::call::{Answer, Ask, DEADLINE, Flight, Report};
use super::plot::{Broken, Party, Plot, Revocation};
use super::random::Seeded;
use super::stage::{Instance, Stage};

/// A call that stands before a store call.
pub(super) struct UnderWay {
    number: usize,
    pub(super) by: Party,
    pub(super) plot: usize,
    /// The client's refresh that it belongs to.
    round: usize,
    presented: Option<RefreshToken>,
    /// The grants that it may change.
    concerned: Range<usize>,
    instance: Instance,
    /// By the first instance's clock.
    pub(super) sent_at: Timestamp,
    deadline: Deadline,
    has_deadline: bool,
    faulted: bool,
    at: Call,
    flight: Flight,
}

/// An answer that has left its instance.
pub(super) struct OnItsWay {
    pub(super) to: Party,
    pub(super) plot: usize,
    round: usize,
    instance: Instance,
    pub(super) answer: Answer,
}

/// What happened, for people; and how often calls came to which end.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Course {
    pub trace: Vec<String>,
    pub outcomes: BTreeMap<&'static str, usize>,
}

pub struct Run<'s> {
    pub(super) stage: &'s mut Stage,
    pub(super) random: Seeded,
    pub(super) account: AccountId,
    pub(super) plots: Vec<Plot>,
    pub(super) under_way: Vec<UnderWay>,
    pub(super) answers: Vec<OnItsWay>,
    pub(super) calls: usize,
    pub(super) course: Course,
}

impl<'s> Run<'s> {
    /// The course of a seed, and the promise that it broke.
    pub fn of_seed(stage: &'s mut Stage, seed: u64) -> (Course, Result<(), Broken>) {
        let mut random = Seeded::new(seed);
        let account = stage.account();
        let plots = (0..=random.below(2)).map(|_| Plot::new(stage, stage.grant(account), random.chance(40))).collect();
        let (under_way, answers, course) = (Vec::new(), Vec::new(), Course::default());
        let mut run = Self { stage, random, account, plots, under_way, answers, calls: 0, course };
        let outcome = run.play();
        (run.course, outcome)
    }

    fn play(&mut self) -> Result<(), Broken> {
        let (thief, revocations, restarts) = (self.random.chance(40), self.random.chance(25), self.random.chance(25));
        for _ in 0..30 + self.random.below(50) {
            let choices = self.choices((thief, revocations, restarts));
            let event = self.random.weighted(&choices);
            self.happen(event)?;
        }
        self.course.trace.push("all is quiet".to_owned());
        while !self.under_way.is_empty() {
            let nth = self.random.below(self.under_way.len());
            self.go_on(nth, Fate::GoOn)?;
        }
        while !self.answers.is_empty() {
            self.deliver(0)?;
        }
        // Nothing changed behind anyone's back.
        self.see_rows(0..self.plots.len(), None, false)?;
        self.try_everything()
    }

    /// Makes a call that stops before its first store call.
    pub(super) fn call(&mut self, plot: usize, by: Party, ask: Ask) -> Result<(), Broken> {
        let instance = if self.random.chance(50) { Instance::A } else { Instance::B };
        let number = self.calls;
        self.calls += 1;
        let presented = match &ask {
            Ask::Refresh { token, .. } => Some(self.stage.open(token)),
            Ask::Revoke { .. } | Ask::Disable { .. } => None,
        };
        self.course.trace.push(format!(
            "call {number}: {by:?} {plot} {} at {instance:?}",
            match &ask {
                Ask::Refresh { token, attempt } => format!("presents {} {attempt:?}", self.name(token)),
                Ask::Revoke { token } => format!("revokes {}", self.name(token)),
                Ask::Disable { .. } => "disables the account".to_owned(),
            }
        ));
        let app = self.stage.app(instance).clone();
        let deadline = Deadline::after(&app.clock, DEADLINE);
        let has_deadline = !matches!(ask, Ask::Disable { .. });
        let (flight, report) = Flight::start(app, ask, deadline.clone());
        let Report::At(at) = report else { return Err(format!("call {number} was answered without the database")) };
        let round = self.plots[plot].client.round;
        let concerned = if by == Party::Operator { 0..self.plots.len() } else { plot..plot + 1 };
        self.under_way.push(UnderWay {
            number,
            by,
            plot,
            round,
            presented,
            concerned,
            instance,
            sent_at: self.stage.now(),
            deadline,
            has_deadline,
            faulted: false,
            at,
            flight,
        });
        Ok(())
    }

    /// Lets a call go on to its next store call or its end, and judges what it did.
    pub(super) fn go_on(&mut self, nth: usize, fate: Fate) -> Result<(), Broken> {
        let mut call = self.under_way.swap_remove(nth);
        call.faulted |= fate != Fate::GoOn;
        let late = call.has_deadline && call.deadline.has_passed();
        let report = call.flight.go_on(fate);
        let mut line = format!("call {}: {:?}, {fate:?}{}", call.number, call.at, if late { ", late" } else { "" });
        if call.at == Call::Write && fate != Fate::FailBefore {
            self.see_rows(call.concerned.clone(), call.presented.as_ref(), !late)
                .inspect_err(|_| self.course.trace.push(line.clone()))?;
        }
        match report {
            Report::At(at) => {
                if (call.at, at) == (Call::Write, Call::Read) {
                    self.count("found another row");
                }
                call.at = at;
                self.course.trace.push(line);
                self.under_way.push(call);
                Ok(())
            }
            Report::Over(answer) => {
                let outcome = match &answer {
                    Answer::Token(_) if call.by == Party::Thief => "served a thief",
                    Answer::Token(_) => "served",
                    Answer::Refused(refusal) => refusal.reason.id(),
                    Answer::Done => "ended",
                    Answer::Failed => "failed",
                    Answer::Panicked => "panicked",
                };
                self.count(outcome);
                line = format!("{line}: {outcome}");
                if let Answer::Token(token) = &answer {
                    line = format!("{line} {}", self.name(token));
                }
                self.course.trace.push(line);
                self.judge(&call, &answer, late)?;
                let UnderWay { by, plot, round, instance, .. } = call;
                self.answers.push(OnItsWay { to: by, plot, round, instance, answer });
                Ok(())
            }
        }
    }

    /// Judges what has become of rows.
    pub(super) fn see_rows(
        &mut self,
        plots: Range<usize>,
        presented: Option<&RefreshToken>,
        may_write: bool,
    ) -> Result<(), Broken> {
        self.plots[plots].iter_mut().try_for_each(|plot| {
            let row = self.stage.row(Instance::A, plot.id);
            plot.see_row(row, presented, may_write)
        })
    }

    fn judge(&mut self, call: &UnderWay, answer: &Answer, late: bool) -> Result<(), Broken> {
        let other = if call.instance == Instance::A { Instance::B } else { Instance::A };
        for nth in call.concerned.clone() {
            let seen = self.stage.row(other, self.plots[nth].id);
            let plot = &mut self.plots[nth];
            match (answer, &call.presented) {
                (Answer::Token(text), Some(presented)) => {
                    let next = self.stage.open(text);
                    plot.served((call.by, call.number), presented, (text, &next), &seen)?;
                }
                (Answer::Done, None) if seen.ended_at.is_some() => {
                    plot.revocation = Revocation::Acknowledged(self.calls);
                }
                (Answer::Done, None) => return Err("a revocation was acknowledged that is not durable".to_owned()),
                (Answer::Refused(refusal), _) => plot.refused(refusal, (call.faulted, late), &seen)?,
                (Answer::Failed, None) if call.faulted => {}
                _ => return Err("a call ended in a way that it must not".to_owned()),
            }
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self, nth: usize) -> Result<(), Broken> {
        let OnItsWay { to, plot, round, answer, .. } = self.answers.swap_remove(nth);
        let plot_of = &mut self.plots[plot];
        match (to, answer) {
            (Party::Thief, Answer::Token(token)) => plot_of.stolen.push(token),
            (Party::Client, Answer::Token(token)) if round == plot_of.client.round => {
                // A second answer to the same refresh may be kept or not.
                let client = &mut plot_of.client;
                let second = client.refresh.take().is_none();
                if !second || self.random.chance(50) {
                    let kept = std::mem::replace(&mut client.store, token);
                    if !second {
                        client.before = Some(kept);
                    }
                    let name = self.name(&self.plots[plot].client.store.clone());
                    self.course.trace.push(format!("Client {plot} stores {name}"));
                }
            }
            (Party::Client, Answer::Refused(refusal)) if refusal.status() != 503 => plot_of.client.logged_out = true,
            _ => {}
        }
        if self.plots[plot].client.logged_out && !self.plots[plot].is_disturbed() {
            return Err("an honest client was logged out".to_owned());
        }
        Ok(())
    }

    /// An instance dies: its calls end somewhere, nobody gets an answer.
    pub(super) fn restart(&mut self, instance: Instance) -> Result<(), Broken> {
        self.course.trace.push(format!("{instance:?} dies"));
        while let Some(nth) = self.under_way.iter().position(|call| call.instance == instance) {
            let fate = if self.random.chance(50) { Fate::FailBefore } else { Fate::FailAfter };
            self.go_on(nth, fate)?;
        }
        self.answers.retain(|answer| answer.instance != instance);
        if self.random.chance(20) {
            self.stage.restart(instance);
            self.course.trace.push(format!("{instance:?} is opened anew"));
        }
        Ok(())
    }

    fn count(&mut self, outcome: &'static str) {
        *self.course.outcomes.entry(outcome).or_default() += 1;
    }

    pub(super) fn name(&self, token: &str) -> String {
        let token = self.stage.open(token);
        format!("{}.{}", token.generation, token.sibling)
    }
}
