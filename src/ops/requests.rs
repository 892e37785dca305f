//! Ids of requests, for logs.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Ops;
use crate::clock::Entropy;

/// Makes ids: what tells this process from others, and a number.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: String,
    count: AtomicU64,
}

impl RequestIds {
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        let process = bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("memory takes what is written");
            text
        });
        Self { process, count: AtomicU64::new(1) }
    }
}

impl Ops {
    /// A new id of a request: letters, digits and `-`.
    pub fn request_id(&self) -> String {
        format!("{}-{}", self.requests.process, self.requests.count.fetch_add(1, Ordering::Relaxed))
    }
}
