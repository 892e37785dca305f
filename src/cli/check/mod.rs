//! `ringback check`: tests a vendor's receiver with good and bad requests.
//!
//! The checks build on each other. Where the handshake or the first event fails, all others would fail for the same cause: it is
//! named once ([`cause`]), and the others are not tested. Nothing is known of what the receiver does with an event after its
//! answer, and the report says so ([`report`]).

mod cause;
mod report;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use url::Url;

use self::cause::Cause;
use self::requests::{Answer, Tried};
use super::listen::{parse_secret, read_secret};
use super::output::before_verdict;
use crate::config::ConfigError;
use crate::domain::endpoint::{CipherText, Profile, Settings};

/// A receiver that takes longer than this does its work before it answers.
const QUICK: Duration = Duration::from_secs(5);

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The receiver
    #[arg(value_name = "URL", value_parser = super::listen::parse_forward)]
    url: Url,
    /// The secret that it verifies with
    #[arg(long, value_name = "SECRET", value_parser = parse_secret)]
    secret: String,
    /// How requests are written [default: standard for a secret that begins with whsec_, else globaltopup]
    #[arg(long, value_enum)]
    profile: Option<Form>,
    /// What stands behind the IV, for globaltopup
    #[arg(long, value_enum, default_value_t = Cipher::Raw)]
    cipher_text: Cipher,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    /// Write a badge (SVG) that says how much passed
    #[arg(long, value_name = "FILE")]
    badge: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Standard,
    Globaltopup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cipher {
    Raw,
    Base64,
}

/// What a good receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Taken,
    /// 200 with JSON, as the older profile connects.
    TakenAsJson,
    Refused,
}

/// One check.
#[derive(Debug)]
struct Trial {
    /// Its name for people.
    label: &'static str,
    /// Its name in JSON.
    name: &'static str,
    wanted: Wanted,
    /// Required of receivers of the profile `standard` only: what the older profile proves covers neither body nor time.
    standard_only: bool,
    advice: &'static str,
}

const fn trial(label: &'static str, name: &'static str, wanted: Wanted, advice: &'static str) -> Trial {
    Trial { label, name, wanted, standard_only: false, advice }
}

const HANDSHAKE: usize = 0;
const VALID: usize = 1;
const REPEATED: usize = 2;
const FORGED: usize = 3;
const CHANGED: usize = 4;
const OLD: usize = 5;
const UNKNOWN_TYPE: usize = 6;
const UNKNOWN_FIELDS: usize = 7;
const SPELLED: usize = 8;
const SLOW: usize = 9;
const CONCURRENT: usize = 10;

/// All checks, in their order.
const TRIALS: [Trial; 11] = [
    trial("handshake", "the handshake", Wanted::Taken, "Verify the signature, and answer any 2xx to a webhook.test event."),
    trial("valid event", "a valid event", Wanted::Taken, "Answer 2xx to an event that verifies."),
    trial(
        "repeated event",
        "the same event twice",
        Wanted::Taken,
        "Answer 2xx to an event whose webhook-id is already known, and do not process it again. Otherwise it is retried for a day.",
    ),
    trial(
        "forged request",
        "a wrong signature",
        Wanted::Refused,
        "Compare the signature, in constant time, before you read anything from the body. Answer 401 if it differs.",
    ),
    Trial {
        standard_only: true,
        ..trial(
            "changed body",
            "a changed body under a right signature",
            Wanted::Refused,
            "The signature covers the body. Compute it over the bytes as received.",
        )
    },
    Trial {
        standard_only: true,
        ..trial(
            "old timestamp",
            "an old timestamp",
            Wanted::Refused,
            "After the signature has been verified, refuse a webhook-timestamp that is more than five minutes off.",
        )
    },
    trial(
        "unknown event type",
        "a type that it has never heard of",
        Wanted::Taken,
        "Answer 2xx to types that you do not know, and ignore them. New versions add types.",
    ),
    trial(
        "unknown fields",
        "unknown fields",
        Wanted::Taken,
        "Read the fields that you know and ignore the others. New versions add fields.",
    ),
    Trial {
        standard_only: true,
        ..trial(
            "unusual spelling",
            "unusual but valid JSON",
            Wanted::Taken,
            "The receiver verifies a parsed and re-encoded body: it accepts the compact spelling of an event and refuses another one. \
             Compute the signature over the bytes as received, before a framework parses them.",
        )
    },
    trial("slow request", "a slow client", Wanted::Taken, "Read the whole body before you verify it, however slowly it arrives."),
    trial("concurrent requests", "two at once", Wanted::Taken, "Handle requests concurrently."),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passed,
    Failed,
    NotTested,
}

/// The result of a check.
struct Found {
    trial: &'static Trial,
    /// It has to pass; else it is good to have.
    required: bool,
    wanted: Wanted,
    state: State,
    /// What the receiver did, or why it was not tested.
    did: String,
    /// How to fix it, if it failed.
    advice: String,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        super::runtime()?.block_on(self.check())
    }

    async fn check(self) -> anyhow::Result<()> {
        let profile = match self.profile {
            Some(Form::Standard) => Profile::Standard,
            Some(Form::Globaltopup) => Profile::GlobalTopup,
            None if self.secret.starts_with("whsec_") => Profile::Standard,
            None => Profile::GlobalTopup,
        };
        let secret = read_secret(profile, &self.secret)?;
        let mut settings = Settings::new(self.url.clone(), secret);
        settings.profile = profile;
        settings.cipher_text = if self.cipher_text == Cipher::Base64 { CipherText::Base64 } else { CipherText::Raw };
        let tried = Tried::new(settings).map_err(|error| ConfigError(vec![format!("{} {error}", self.url)]))?;
        let mut series = Series { tried, secret_text: self.secret, found: Vec::new() };
        series.everything().await?;
        let found = series.found;
        if self.json {
            before_verdict(outln!("{}", report::as_json(&series.tried, &found)))?;
        } else {
            before_verdict(report::print(&series.tried, &found))?;
        }
        if let Some(path) = &self.badge {
            std::fs::write(path, report::badge(&found)).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        match found.iter().filter(|one| one.required && one.state == State::Failed).count() {
            0 => Ok(()),
            1 => bail!("1 required check failed"),
            failed => bail!("{failed} required checks failed"),
        }
    }
}

/// The checks as they are made, and their results so far.
struct Series {
    tried: Tried,
    /// The secret as it was given.
    secret_text: String,
    found: Vec<Found>,
}

/// The receiver cannot be tested further.
struct Stopped;

impl Series {
    async fn everything(&mut self) -> anyhow::Result<()> {
        if let Some(why) = self.baseline().await? {
            self.skip_others(why);
            return Ok(());
        }
        if self.others().await?.is_err() {
            self.skip_others("the receiver does not answer any more");
        }
        Ok(())
    }

    /// The handshake and a valid event; answers why nothing else can be tested.
    async fn baseline(&mut self) -> anyhow::Result<Option<&'static str>> {
        const WHY: &str = "it needs a receiver that accepts a valid event";
        let answer = self.tried.send(self.tried.handshake()).await?;
        let wanted = self.wanted(HANDSHAKE);
        let is_connected = fits(wanted, &answer);
        if !is_connected && (answer.status().is_none() || cause::is_late(&answer)) {
            let cause = cause::of_answer(&self.tried, &answer);
            self.fail(HANDSHAKE, &answer, cause);
            return Ok(Some(WHY));
        }
        let event = self.tried.recharge(1);
        let valid = self.tried.send(self.tried.message(&event)).await?;
        let is_valid = fits(Wanted::Taken, &valid);
        if is_connected {
            self.pass(HANDSHAKE, &answer);
        } else if is_valid {
            let cause = cause::of_handshake(self.tried.profile(), &answer);
            self.fail(HANDSHAKE, &answer, cause);
        } else {
            let cause = cause::of_refusal(&self.tried, &self.secret_text, &valid).await?;
            self.fail(HANDSHAKE, &answer, cause);
            return Ok(Some(WHY));
        }
        if is_valid {
            self.pass(VALID, &valid);
            return Ok(None);
        }
        let cause = cause::of_refusal(&self.tried, &self.secret_text, &valid).await?;
        self.fail(VALID, &valid, cause);
        Ok(Some(WHY))
    }

    /// What is tested of a receiver that accepts a valid event.
    async fn others(&mut self) -> anyhow::Result<Result<(), Stopped>> {
        let again = self.tried.send(self.tried.message(&self.tried.recharge(1))).await?;
        if self.judge(REPEATED, &again).is_err() {
            return Ok(Err(Stopped));
        }
        let forged = self.tried.send(self.tried.forged(&self.tried.recharge(2))).await?;
        if self.judge(FORGED, &forged).is_err() {
            return Ok(Err(Stopped));
        }
        if self.state(FORGED) == State::Passed {
            let changed = self.tried.send(self.tried.changed(&self.tried.recharge(3))).await?;
            if self.judge(CHANGED, &changed).is_err() {
                return Ok(Err(Stopped));
            }
            let old = self.tried.send(self.tried.old(&self.tried.recharge(4))).await?;
            if self.judge(OLD, &old).is_err() {
                return Ok(Err(Stopped));
            }
        } else {
            self.skip(CHANGED, "the receiver accepts forged requests");
            self.skip(OLD, "the receiver accepts forged requests");
        }
        let unknown = self.tried.send(self.tried.message(&self.tried.unknown_type(5))).await?;
        if self.judge(UNKNOWN_TYPE, &unknown).is_err() {
            return Ok(Err(Stopped));
        }
        let more = self.tried.send(self.tried.message(&self.tried.with_more_fields(6))).await?;
        if self.judge(UNKNOWN_FIELDS, &more).is_err() {
            return Ok(Err(Stopped));
        }
        // Numbers need a field of their own, which a receiver that refuses unknown ones refuses for that.
        let with_numbers = self.state(UNKNOWN_FIELDS) == State::Passed;
        let spelled = self.tried.send(self.tried.spelled(&self.tried.recharge(7), with_numbers)).await?;
        if self.judge(SPELLED, &spelled).is_err() {
            return Ok(Err(Stopped));
        }
        let slow = self.tried.send_slowly(&self.tried.message(&self.tried.recharge(8))).await;
        if self.judge(SLOW, &slow).is_err() {
            return Ok(Err(Stopped));
        }
        let pair = (self.tried.message(&self.tried.recharge(9)), self.tried.message(&self.tried.recharge(10)));
        let (first, second) = tokio::join!(self.tried.send(pair.0), self.tried.send(pair.1));
        let (first, second) = (first?, second?);
        let worse = if fits(Wanted::Taken, &first) { second } else { first };
        // It is the last one.
        drop(self.judge(CONCURRENT, &worse));
        Ok(Ok(()))
    }

    fn wanted(&self, trial: usize) -> Wanted {
        if trial == HANDSHAKE && self.tried.profile() == Profile::GlobalTopup { Wanted::TakenAsJson } else { TRIALS[trial].wanted }
    }

    fn state(&self, trial: usize) -> State {
        self.found[trial].state
    }

    /// Judges by the answer.
    ///
    /// # Errors
    /// The receiver is gone, or limits requests: what follows would fail for that.
    fn judge(&mut self, trial: usize, answer: &Answer) -> Result<(), Stopped> {
        if cause::is_gone(answer) {
            let cause = cause::of_answer(&self.tried, answer);
            self.fail(trial, answer, cause);
            return Err(Stopped);
        }
        if fits(self.wanted(trial), answer) {
            self.pass(trial, answer);
        } else {
            let late = cause::is_late(answer).then(|| cause::of_answer(&self.tried, answer));
            let cause = late.unwrap_or_else(|| Cause { what: answer.told(), advice: TRIALS[trial].advice.to_owned() });
            self.fail(trial, answer, cause);
        }
        Ok(())
    }

    fn pass(&mut self, trial: usize, answer: &Answer) {
        self.add(trial, State::Passed, Cause { what: answer.told(), advice: String::new() });
    }

    fn fail(&mut self, trial: usize, answer: &Answer, cause: Cause) {
        let told = answer.told();
        let what = if cause.what.is_empty() || cause.what == told { told } else { format!("{told}: {}", cause.what) };
        let what = if answer.status().is_none() { cause.what } else { what };
        self.add(trial, State::Failed, Cause { what, advice: cause.advice });
    }

    fn skip(&mut self, trial: usize, why: &str) {
        self.add(trial, State::NotTested, Cause { what: why.to_owned(), advice: String::new() });
    }

    fn skip_others(&mut self, why: &str) {
        (self.found.len()..TRIALS.len()).for_each(|trial| self.skip(trial, why));
    }

    fn add(&mut self, number: usize, state: State, cause: Cause) {
        let (trial, wanted) = (&TRIALS[number], self.wanted(number));
        let required = !trial.standard_only || self.tried.profile() == Profile::Standard;
        self.found.push(Found { trial, required, wanted, state, did: cause.what, advice: cause.advice });
    }
}

/// Whether a good receiver answers like this.
fn fits(wanted: Wanted, answer: &Answer) -> bool {
    match wanted {
        Wanted::Taken => answer.is_taken() && answer.took < QUICK,
        Wanted::TakenAsJson => answer.status() == Some(200) && answer.is_json(),
        // One that breaks off without an answer has not refused it knowingly.
        Wanted::Refused => answer.status().is_some_and(|status| (400..500).contains(&status)),
    }
}
