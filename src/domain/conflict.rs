//! Contradictions of a settled recharge: cases that wait for the operator, and what resolving them does (guarantee G2).

use std::str::FromStr;

use serde::Serialize;
use utoipa::ToSchema;

use super::id::{ConflictId, RechargeId};
use super::recharge::{Recharge, Status};
use super::time::Timestamp;

/// How the operator ends a case of contradiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    /// Not ended.
    Open,
    /// The recharge went through and was taken back: `success` becomes `reversed`.
    Reversed,
    /// It went through after all: `failed` becomes `success`.
    LateSuccess,
    /// The ledger is right.
    Dismissed,
}

impl CaseState {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 4] = [Self::Open, Self::Reversed, Self::LateSuccess, Self::Dismissed];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Reversed => "reversed",
            Self::LateSuccess => "late_success",
            Self::Dismissed => "dismissed",
        }
    }
}

impl FromStr for CaseState {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or("must be open, reversed, late_success or dismissed")
    }
}

/// A contradiction that waits for the operator, or was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its id.
    pub id: ConflictId,
    /// The recharge.
    pub recharge: RechargeId,
    /// Where the recharge stands now; none if it is no longer kept.
    pub status: Option<Status>,
    /// The status that the report claimed.
    pub claimed: Status,
    /// `status`, `amount`, `currency` or `connection_no`.
    pub field: String,
    /// What the recharge said.
    pub ours: String,
    /// What the report said.
    pub theirs: String,
    /// Who reported.
    pub source: String,
    /// When the first report of the case came.
    pub received_at: Timestamp,
    /// Whether it is open, or how it ended.
    pub state: CaseState,
    /// Why it ended so.
    pub reason: Option<String>,
    /// Who ended it.
    pub resolved_by: Option<String>,
    /// When.
    pub resolved_at: Option<Timestamp>,
}

/// A resolution that does not fit the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It has been resolved before.
    #[error("the conflict is resolved already")]
    Resolved,
    /// It is not about the status.
    #[error("a conflict that is not about the status can only be dismissed")]
    NotAboutStatus,
    /// The recharge is not where this resolution starts from.
    #[error("{0}")]
    WrongStatus(&'static str),
}

/// Resolves a case as the operator says, and moves the recharge where that moves it; this and a person's own settling
/// are the only ways out of a terminal status. Answers whether it moved.
///
/// # Errors
/// The resolution does not fit; nothing was changed.
pub fn resolve(recharge: &mut Recharge, case: &Conflict, to: CaseState, reason: &str) -> Result<bool, ResolveError> {
    if case.state != CaseState::Open {
        return Err(ResolveError::Resolved);
    }
    let (from, claimed, becomes) = match to {
        CaseState::Open | CaseState::Dismissed => return Ok(false),
        CaseState::Reversed => (Status::Success, Status::Failed, Status::Reversed),
        CaseState::LateSuccess => (Status::Failed, Status::Success, Status::Success),
    };
    if case.field != "status" {
        return Err(ResolveError::NotAboutStatus);
    }
    if recharge.status != from || case.claimed != claimed {
        return Err(ResolveError::WrongStatus(match to {
            CaseState::Reversed => "only a recharge that is success, and is claimed to have failed, can be resolved as reversed",
            _ => "only a recharge that is failed, and is claimed to have succeeded, can be resolved as late_success",
        }));
    }
    recharge.status = becomes;
    recharge.late |= becomes == Status::Success;
    recharge.details.reason = (becomes == Status::Reversed).then(|| reason.to_owned());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::StreamId;
    use crate::domain::recharge::Details;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn recharge(status: Status) -> Recharge {
        Recharge {
            id: RechargeId::new(1),
            transaction_id: 100_001,
            stream: StreamId::new(1),
            reference_no: "R-1".to_owned(),
            status,
            late: false,
            details: Details { reason: Some("the network refused".to_owned()), ..Details::default() },
            created_at: NOW,
            settled_at: Some(NOW),
            occurred_at: None,
            event: Some(1),
            reports: 2,
        }
    }

    fn case(claimed: Status, field: &str) -> Conflict {
        Conflict {
            id: ConflictId::new(1),
            recharge: RechargeId::new(1),
            status: None,
            claimed,
            field: field.to_owned(),
            ours: String::new(),
            theirs: String::new(),
            source: "report".to_owned(),
            received_at: NOW,
            state: CaseState::Open,
            reason: None,
            resolved_by: None,
            resolved_at: None,
        }
    }

    #[test]
    fn only_what_fits_the_case_moves_the_recharge() {
        use CaseState::{Dismissed, LateSuccess, Reversed};
        for (status, claimed, field, to, expected) in [
            (Status::Success, Status::Failed, "status", Reversed, Some((Status::Reversed, false))),
            (Status::Failed, Status::Success, "status", LateSuccess, Some((Status::Success, true))),
            (Status::Success, Status::Failed, "status", Dismissed, Some((Status::Success, false))),
            (Status::Success, Status::Success, "amount", Dismissed, Some((Status::Success, false))),
            (Status::Success, Status::Success, "amount", Reversed, None),
            (Status::Success, Status::Failed, "status", LateSuccess, None),
            (Status::Failed, Status::Success, "status", Reversed, None),
            (Status::Reversed, Status::Failed, "status", Reversed, None),
        ] {
            let mut moved = recharge(status);
            let resolved = resolve(&mut moved, &case(claimed, field), to, "the provider took it back");
            match expected {
                Some((becomes, late)) => {
                    assert_eq!(resolved, Ok(to != Dismissed), "{status:?} {claimed:?} {to:?}");
                    assert_eq!((moved.status, moved.late), (becomes, late));
                }
                None => {
                    assert!(resolved.is_err(), "{status:?} {claimed:?} {to:?}");
                    assert_eq!(moved, recharge(status), "nothing was changed");
                }
            }
        }
        let ended = Conflict { state: Dismissed, ..case(Status::Failed, "status") };
        assert_eq!(resolve(&mut recharge(Status::Success), &ended, Reversed, "x"), Err(ResolveError::Resolved));
    }
}
