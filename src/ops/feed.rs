//! The feed: a stream's events to poll, to wait for, and to follow. The same facts as the webhooks, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::input::StreamScope;
use super::{Caller, Ops, OpsError};
use crate::clock::Stopwatch;
use crate::domain::filter::Filter;
use crate::domain::id::StreamId;
use crate::domain::token::Scope;
use crate::fields::Fields;
use crate::limits;
use crate::store::Feed;

/// A part of the feed.
#[derive(Debug)]
pub struct FeedPart {
    /// Events that were asked for.
    pub feed: Feed,
    /// The highest number examined: where to go on.
    pub next_after: i64,
}

/// A place in the feed from which it is followed.
pub struct Follow {
    _place: Place,
    /// The last time that something new was looked for.
    looked: Option<Stopwatch>,
    mine: StreamScope,
    types: Option<Filter>,
    after: i64,
    /// Events of the page before that matched nothing: there is more to look at at once.
    behind: bool,
}

impl Ops {
    /// The feed: `after`, `limit`, `types`, `wait`; with an operator's token `vendor_id` and `mode`.
    ///
    /// # Errors
    /// The input's problems; [`OpsError::EventsExpired`] for an `after` outside of what is kept.
    pub async fn events(&self, caller: Caller, mut fields: Fields) -> Result<FeedPart, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let after = fields.integer("after", 0..=i64::MAX);
        let limit = fields.integer("limit", 1..=limits::PAGE_MAX as i64).map_or(limits::PAGE_DEFAULT, |limit| limit as usize);
        let wait = Duration::from_secs(fields.integer("wait", 0..=limits::WAIT_MAX).unwrap_or(0).unsigned_abs());
        let types = read_types(&mut fields, "types");
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let _place = if wait.is_zero() { None } else { Some(self.followers.take(caller.scope, mine.stream)?) };
        let give_up = self.environment.clock.now().plus(wait);
        let mut from = after;
        loop {
            let news = self.committer.news(mine.stream);
            let rung = news.notified();
            let part = self.look(mine, from, types.as_ref(), limit).await?;
            let examined_all = part.next_after >= part.feed.latest;
            if !part.feed.events.is_empty() || wait.is_zero() || self.is_stopping() {
                return Ok(part);
            }
            from = Some(part.next_after);
            let now = self.environment.clock.now();
            if now >= give_up {
                return Ok(part);
            }
            if examined_all {
                self.next_news(rung, limits::FEED_POLL.min(give_up.since(now))).await;
            }
        }
    }

    /// Begins to follow the feed: after the event of `last_event_id` or `after`, or else from now on.
    ///
    /// # Errors
    /// The input's problems; [`OpsError::EventsExpired`].
    pub async fn follow(&self, caller: Caller, mut fields: Fields, last_event_id: Option<&str>) -> Result<Follow, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let mut after = fields.integer("after", 0..=i64::MAX);
        let types = read_types(&mut fields, "types");
        match last_event_id.map(str::parse::<i64>) {
            Some(Ok(number)) if number >= 0 => after = Some(number),
            Some(_) => fields.invalid("Last-Event-ID", "must be the sequence number of an event"),
            None => {}
        }
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let _place = self.followers.take(caller.scope, mine.stream)?;
        let part = self.look(mine, after, None, 1).await?;
        Ok(Follow { _place, looked: None, mine, types, after: after.unwrap_or(part.feed.latest), behind: true })
    }

    /// The next events of a feed that is followed; none if there is nothing new for a while.
    ///
    /// # Errors
    /// [`OpsError::EventsExpired`] if it fell behind what is kept; the store's.
    pub async fn next_events(&self, follow: &mut Follow) -> Result<Feed, OpsError> {
        let news = self.committer.news(follow.mine.stream);
        let rung = news.notified();
        if !std::mem::take(&mut follow.behind) {
            self.next_news(rung, limits::FEED_POLL).await;
            // Under load each event wakes all followers. What comes within this pause they read at once.
            if let Some(early) = follow.looked.and_then(|looked| limits::FEED_PAUSE.checked_sub(looked.elapsed())) {
                self.next_news(std::future::pending(), early).await;
            }
        }
        follow.looked = Some(Stopwatch::start());
        let part = self.look(follow.mine, Some(follow.after), follow.types.as_ref(), limits::PAGE_MAX).await?;
        follow.after = part.next_after;
        follow.behind = part.next_after < part.feed.latest;
        Ok(part.feed)
    }

    async fn look(&self, mine: StreamScope, after: Option<i64>, types: Option<&Filter>, limit: usize) -> Result<FeedPart, OpsError> {
        let most = if types.is_some() { limits::PAGE_MAX } else { limit };
        let mut feed = self.store.events_after(mine.stream, after, most).await?;
        let Feed { oldest, latest, .. } = feed;
        if after.is_some_and(|after| after < oldest - 1 || after > latest) {
            return Err(OpsError::EventsExpired { oldest, latest });
        }
        let is_last = !feed.more;
        let mut next_after = feed.events.last().map_or(after.unwrap_or(oldest - 1), |last| last.id.sequence);
        if is_last {
            // Numbers may have been skipped, where the database was restored.
            next_after = next_after.max(latest);
        }
        if let Some(types) = types {
            feed.events.retain(|event| types.matches(&event.event_type));
            if feed.events.len() > limit {
                feed.events.truncate(limit);
                next_after = feed.events.last().map_or(next_after, |last| last.id.sequence);
            }
        }
        Ok(FeedPart { feed, next_after })
    }

    /// Waits for a wake-up, but not longer than this, and not once the server stops.
    async fn next_news(&self, rung: impl Future<Output = ()>, at_most: Duration) {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(at_most) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// The server stops: whoever waits for events is answered with what there is.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

/// Connections that follow feeds or wait for events. Each costs a read at every event, so that a stream has a bounded number of
/// them; the operator's do not count for the vendor.
#[derive(Default)]
pub(super) struct Followers(Arc<Mutex<HashMap<Followed, usize>>>);

/// A stream, and whether the operator follows it.
type Followed = (StreamId, bool);

/// A follower's place among those of its stream.
struct Place {
    followers: Arc<Mutex<HashMap<Followed, usize>>>,
    followed: Followed,
}

impl Followers {
    fn take(&self, scope: Scope, stream: StreamId) -> Result<Place, OpsError> {
        let followed = (stream, scope == Scope::Operator);
        let mut followers = self.0.lock();
        let count = followers.entry(followed).or_default();
        if *count >= limits::FOLLOWERS_PER_STREAM {
            return Err(OpsError::TooManyFollowers);
        }
        *count += 1;
        Ok(Place { followers: Arc::clone(&self.0), followed })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut followers = self.followers.lock();
        if let Some(count) = followers.get_mut(&self.followed) {
            *count -= 1;
            if *count == 0 {
                followers.remove(&self.followed);
            }
        }
    }
}

/// Tells followers of a feed that the server stops.
pub(super) type Stopping = Arc<tokio::sync::watch::Sender<bool>>;

fn read_types(fields: &mut Fields, name: &str) -> Option<Filter> {
    let patterns = fields.list::<String>(name, limits::EVENT_TYPES_MAX)?;
    if patterns.is_empty() {
        fields.invalid(name, "is empty; leave it out to get all types");
        return None;
    }
    Filter::new(patterns)
        .inspect_err(|_| fields.invalid(name, "must be types such as recharge.success or prefixes such as recharge.*, separated by commas"))
        .ok()
}
