//! Handshakes and test events: requests that are answered while the caller waits. They count in no lane, so that they have bounds
//! of their own: a few at once for each vendor and for the node, and a pace for each endpoint, whether or not it ever connected.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::allowances::Counted;
use super::{Ops, OpsError};
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::endpoint::{Endpoint, Profile, Settings};
use crate::domain::event::Event;
use crate::domain::recharge::Status;
use crate::store::turns::Turn as Slot;
use crate::transport::Target;
use crate::wire::{self, Message, Turn, Writer};

/// What was seen of an endpoint at a handshake.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What is wrong and what to do; empty where nothing is.
    pub problem: String,
    /// The address that was dialled.
    pub address: Option<IpAddr>,
    /// The answer's media type.
    pub content_type: Option<String>,
    /// The request that was made, and what came back.
    pub outcome: Outcome,
}

impl Ops {
    fn test_event(&self, endpoint: &Endpoint) -> Event {
        let now = self.environment.clock.now();
        Event::test(endpoint, self.environment.ids.next(now), now)
    }

    /// Room for one of an endpoint, among those that are under way.
    fn test_slot(&self, endpoint: &Endpoint) -> Result<(Slot, OwnedSemaphorePermit), OpsError> {
        let refused =
            |whose| OpsError::Busy(format!("too many tests and handshakes of {whose} are under way at once; wait until one has ended"));
        let own = self.tests.try_take(endpoint.stream).ok_or_else(|| refused("this vendor"))?;
        let of_node = Arc::clone(&self.node_tests).try_acquire_owned().map_err(|_| refused("this server"))?;
        if self.handoff.in_flight() >= self.rules.max_in_flight {
            return Err(refused("this server"));
        }
        self.spend(vec![Counted::TestsTo(endpoint.id), Counted::TestsOf(endpoint.stream)])?;
        Ok((own, of_node))
    }

    async fn send(&self, endpoint: &Endpoint, settings: &Settings, write: impl Fn() -> Message + Send + Sync) -> Result<Outcome, OpsError> {
        let _slot = self.test_slot(endpoint)?;
        let target = Target::new(&settings.url).map_err(|error| OpsError::IllegalState(format!("the endpoint's url {error}")))?;
        self.transport.send(&target, write).await.map_err(|fault| {
            self.meters.faults(fault.cause).increment(1);
            OpsError::Fault(fault.text)
        })
    }

    fn turn(&self, event: &Event) -> (Turn, [u8; 16]) {
        let mut iv = [0; 16];
        self.environment.entropy.fill(&mut iv);
        (Turn { number: 1, at: event.created_at }, iv)
    }

    /// Does the handshake with these settings, which may not be the endpoint's own yet.
    pub(super) async fn shake_hands(&self, endpoint: &Endpoint, settings: &Settings) -> Result<Seen, OpsError> {
        let (writer, event) = (Writer::new(settings), self.test_event(endpoint));
        let (turn, iv) = self.turn(&event);
        let outcome = self.send(endpoint, settings, || writer.handshake(&event, turn, iv)).await?;
        let content_type = wire::content_type(&outcome);
        if writer.connects(&outcome) {
            return Ok(Seen { problem: String::new(), address: outcome.address, content_type, outcome });
        }
        let problem = problem(settings.profile, &outcome, content_type.as_deref());
        Err(OpsError::ConnectFailed(Box::new(Seen { problem, address: outcome.address, content_type, outcome })))
    }

    /// Sends a test event to an endpoint, or a made-up one of another type; answers with the attempt and the headers it had,
    /// masked.
    pub(super) async fn try_out(&self, endpoint: &Endpoint, sample: Option<Status>) -> Result<(Attempt, Vec<(String, String)>), OpsError> {
        let (writer, test) = (Writer::new(&endpoint.settings), self.test_event(endpoint));
        let event = sample.map_or(test.clone(), |status| test.sample(status));
        let (turn, iv) = self.turn(&event);
        let outcome = self.send(endpoint, &endpoint.settings, || writer.event(&event, turn, iv)).await?;
        let headers = writer.displayed_headers(&event, turn);
        Ok((Attempt { number: 1, run: 1, started_at: turn.at, outcome }, headers))
    }
}

fn problem(profile: Profile, outcome: &Outcome, content_type: Option<&str>) -> String {
    let expected = match profile {
        Profile::Standard => "any 2xx to a signed POST of a webhook.test event",
        Profile::GlobalTopup => "exactly 200 with Content-Type: application/json to a signed GET without a body",
    };
    let came = match (outcome.status, &outcome.error, content_type) {
        (Some(200), _, Some(other)) => format!("200 with Content-Type: {other}"),
        (Some(200), _, None) => "200 without a Content-Type".to_owned(),
        (Some(status), _, _) => format!("{status}"),
        (None, Some(error), _) => format!("no answer: {error}"),
        (None, None, _) => "no answer".to_owned(),
    };
    format!("expected {expected}, got {came}")
}
