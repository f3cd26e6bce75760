//! Calls of the product's own functions. Under the scheduler each is on a thread of its own that stops at every store
//! call until it is told how to go on, so of all threads one runs at a time and a seed repeats every interleaving.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use countersign::admin::{AdminError, accounts};
use countersign::app::App;
use countersign::clock::Deadline;
use countersign::id::AccountId;
use countersign::limits::Network;
use countersign::oauth::refresh_cookie::Page;
use countersign::oauth::token::{TokenCall, exchange};
use countersign::oauth::{PresentedKeys, PresentedToken, RequestContext, revoke};
use countersign::password_hash::HashMemory;
use countersign::reason::Refusal;
use countersign::store::faults::{Call, Fate};

/// How long a request may change anything, as the web layer has it.
pub const DEADLINE: Duration = Duration::from_secs(10);

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

/// What is asked of an instance.
#[derive(Clone)]
pub enum Ask {
    Refresh { token: String, attempt: Option<String> },
    Revoke { token: String },
    Disable { account: AccountId },
}

/// What came of it.
#[derive(Clone)]
pub enum Answer {
    /// The next refresh token.
    Token(String),
    /// What was to be ended is over.
    Done,
    Refused(Refusal),
    /// An operator's command failed.
    Failed,
    /// A defect.
    Panicked,
}

/// A call's side of the baton.
struct Baton {
    reports: Sender<Report>,
    fates: Receiver<Fate>,
}

/// Where a call is.
pub enum Report {
    At(Call),
    Over(Answer),
}

thread_local! {
    static BATON: RefCell<Option<Baton>> = const { RefCell::new(None) };
}

/// What hangs on both databases. Calls without a baton are the test's own and go on.
pub fn hook(call: Call) -> Fate {
    BATON.with_borrow(|baton| {
        let Some(baton) = baton else { return Fate::GoOn };
        // A scheduler that has gone away wants everybody to stop.
        if baton.reports.send(Report::At(call)).is_err() {
            return Fate::FailBefore;
        }
        baton.fates.recv().unwrap_or(Fate::FailBefore)
    })
}

/// The scheduler's side of a call.
pub struct Flight {
    reports: Receiver<Report>,
    fates: Sender<Fate>,
}

impl Flight {
    /// Starts a call and lets it run to its first store call.
    pub fn start(app: Arc<App>, ask: Ask, deadline: Deadline) -> (Self, Report) {
        let (reports, reported) = channel();
        let (fates, told) = channel();
        std::thread::spawn(move || {
            let over = reports.clone();
            BATON.set(Some(Baton { reports, fates: told }));
            let answer = make(&app, ask, deadline);
            // A restart waits for the instance to be let go of.
            drop(app);
            let _ = over.send(Report::Over(answer));
        });
        let flight = Self { reports: reported, fates };
        let report = flight.reports.recv().expect("every call comes to an end");
        (flight, report)
    }

    /// Lets it go on to its next store call or to its end.
    pub fn go_on(&self, fate: Fate) -> Report {
        self.fates.send(fate).expect("it waits for its fate");
        self.reports.recv().expect("every call comes to an end")
    }
}

/// Makes a call where it stands.
pub fn make(app: &App, ask: Ask, deadline: Deadline) -> Answer {
    catch_unwind(AssertUnwindSafe(|| answer(app, ask, deadline))).unwrap_or(Answer::Panicked)
}

fn answer(app: &App, ask: Ask, deadline: Deadline) -> Answer {
    let context = RequestContext {
        network: Network::of(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        deadline,
        keys: PresentedKeys::default(),
    };
    match ask {
        Ask::Refresh { token, attempt } => {
            let attempt = attempt.map(|key| format!("&refresh_attempt={key}")).unwrap_or_default();
            let body = format!("grant_type=refresh_token&client_id=web&refresh_token={token}{attempt}");
            let exchanged = TokenCall::parse(FORM, None, body.as_bytes())
                .and_then(|call| exchange(app, call, &context, &mut HashMemory::default()));
            match exchanged {
                Ok((response, _)) => Answer::Token(response.refresh_token.expect("a refresh has a successor")),
                Err(refusal) => Answer::Refused(refusal),
            }
        }
        Ask::Revoke { token } => {
            let body = format!("client_id=web&token={token}");
            match PresentedToken::parse(FORM, None, body.as_bytes())
                .and_then(|call| revoke::revoke(app, &call, &Page::default(), &context))
            {
                Ok(_) => Answer::Done,
                Err(refusal) => Answer::Refused(refusal),
            }
        }
        Ask::Disable { account } => match accounts::disable(app, account, "test") {
            Ok(_) => Answer::Done,
            Err(AdminError::Store(_)) => Answer::Failed,
            Err(other) => panic!("{other}"),
        },
    }
}
