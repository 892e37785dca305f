//! Requests with an `Idempotency-Key`: done once, and answered the same for a day.
//!
//! The answer is kept in the transaction of what it tells of, so that there is no moment at which one is there without
//! the other. While a request runs, its key is remembered by this node; another node finds the kept answer, or is
//! refused by the store.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{Caller, Ops, OpsError};
use crate::domain::audit::{Actor, Note};
use crate::domain::time::Timestamp;
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{AnswerKey, CachedResponse, Change, Command, HttpAnswer, Reply, StoreError, Write, WriteAnswer, Written};

/// Keys of requests that are running.
#[derive(Default)]
pub(super) struct Running(Arc<Mutex<HashSet<AnswerKey>>>);

struct Turn {
    running: Arc<Mutex<HashSet<AnswerKey>>>,
    key: AnswerKey,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.running.lock().remove(&self.key);
    }
}

/// A request on its way, whose answer of type `T` is kept if it was sent with a key.
pub struct IdempotentRequest<T>(Option<Keeping<T>>);

struct Keeping<T> {
    turn: Turn,
    body: [u8; 32],
    write: Arc<WriteAnswer<T>>,
}

/// Whether a request is new.
pub enum Begun<T> {
    /// It is.
    First(IdempotentRequest<T>),
    /// It was answered before, with this.
    Before(HttpAnswer),
}

impl<T: 'static> IdempotentRequest<T> {
    /// A request without a key.
    pub fn unkept() -> Self {
        Self(None)
    }

    /// What to keep, where the answer follows from what was done.
    pub(super) fn keep(&self, answer: impl Fn(&Reply) -> Option<T> + Send + Sync + 'static) -> Option<CachedResponse> {
        let Keeping { turn, body, write } = self.0.as_ref()?;
        let write = Arc::clone(write);
        let answer = Arc::new(move |done: &Reply| answer(done).map(|answer| write(&answer)).unwrap_or_default());
        Some(CachedResponse { key: turn.key.clone(), body: *body, answer })
    }

    /// What to keep, where the answer is known before it is done.
    pub(super) fn known(&self, answer: &T) -> Option<CachedResponse> {
        let Keeping { turn, body, write } = self.0.as_ref()?;
        let written = write(answer);
        Some(CachedResponse { key: turn.key.clone(), body: *body, answer: Arc::new(move |_| written.clone()) })
    }
}

impl Ops {
    /// Begins a request: `key` as it was sent, if it was, and what writes an answer.
    ///
    /// # Errors
    /// [`OpsError::IdempotencyConflict`] if the key was used with another body, [`OpsError::InProgress`] if that request
    /// still runs; a key that is not 1 to 255 visible ASCII characters.
    pub async fn begin<T: 'static>(
        &self,
        caller: Caller,
        path: &str,
        key: Option<&str>,
        fields: &Fields,
        write: impl Fn(&T) -> HttpAnswer + Send + Sync + 'static,
    ) -> Result<Begun<T>, OpsError> {
        let Some(key) = key else { return Ok(Begun::First(IdempotentRequest(None))) };
        if !(1..=limits::IDEMPOTENCY_KEY_MAX).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Problem::invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters").into());
        }
        let (Actor::Operator(token) | Actor::Vendor(token)) = caller.actor else { return Ok(Begun::First(IdempotentRequest(None))) };
        let key = AnswerKey { token, path: path.to_owned(), key: key.to_owned() };
        let body: [u8; 32] = Sha256::digest(fields.canonical()).into();
        if !self.running.0.lock().insert(key.clone()) {
            return Err(OpsError::InProgress);
        }
        let turn = Turn { running: Arc::clone(&self.running.0), key: key.clone() };
        match self.store.kept_answer(key, self.answers_since()).await? {
            Some(kept) if kept.body == body => Ok(Begun::Before(kept.answer)),
            Some(_) => Err(OpsError::IdempotencyConflict),
            None => Ok(Begun::First(IdempotentRequest(Some(Keeping { turn, body, write: Arc::new(write) })))),
        }
    }

    /// Does something that somebody asked for, and notes it.
    pub(super) async fn change(&self, command: Command, note: Option<Note>, keep: Option<CachedResponse>) -> Result<Reply, OpsError> {
        let now = self.environment.clock.now();
        let key = keep.as_ref().map(|keep| keep.key.clone());
        match self.committer.write(Write::Change(Box::new(Change { command, now, note, keep }))).await {
            Ok(Written::Reply(done, _)) => Ok(done),
            Ok(other) => unreachable!("a change is answered with what came of it, not with {other:?}"),
            // The same request was on its way already: its client had gone before it was answered.
            Err(StoreError::Rejected(_)) if self.has_answered(key.as_ref()).await => Err(OpsError::InProgress),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes something that nobody waits for. A store that cannot take it loses the note.
    pub(super) fn note_later(&self, note: Note) {
        let (committer, now) = (self.committer.clone(), self.now());
        let change = Change { command: Command::Note, now, note: Some(note), keep: None };
        tokio::spawn(async move {
            if let Err(error) = committer.write(Write::Change(Box::new(change))).await {
                tracing::warn!(%error, "failed to write an entry of the audit log");
            }
        });
    }

    async fn has_answered(&self, key: Option<&AnswerKey>) -> bool {
        let Some(key) = key else { return false };
        matches!(self.store.kept_answer(key.clone(), self.answers_since()).await, Ok(Some(_)))
    }

    /// Answers that were given before this time are forgotten.
    fn answers_since(&self) -> Timestamp {
        Timestamp::from_millis(self.environment.clock.now().as_millis() - limits::ANSWER_KEPT_FOR.as_millis() as i64)
    }
}
