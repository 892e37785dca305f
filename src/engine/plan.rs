//! An endpoint made ready for sending: read once, used until it changes.

use std::time::Duration;

use crate::domain::endpoint::Endpoint;
use crate::transport::{NoTarget, Target};
use crate::wire::Writer;

/// Everything that requests to an endpoint share.
#[derive(Debug)]
pub(super) struct Plan {
    pub endpoint: Endpoint,
    pub writer: Writer,
    pub target: Target,
    /// Most attempts under way at once.
    pub cap: u32,
    /// How long a failing head holds a strict endpoint.
    pub strict_hold: Duration,
}

impl Plan {
    pub fn new(endpoint: Endpoint, ceiling: u32, strict_hold: Duration) -> Result<Self, NoTarget> {
        let settings = &endpoint.settings;
        Ok(Self {
            writer: Writer::new(settings),
            target: Target::new(&settings.url)?,
            cap: settings.max_in_flight.map_or(ceiling, |own| own.min(ceiling)).max(1),
            strict_hold: settings.strict_hold.unwrap_or(strict_hold),
            endpoint,
        })
    }
}
