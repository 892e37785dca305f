//! Bounds on what people and vendors may try in a time, on each node by itself: logins that fail, mails, tests of endpoints.
//!
//! What is tried is taken from the allowances of all that it counts for, or from none. Where only failures count, what was taken
//! is given back after a success. So strangers spend allowances of their own: those of the address and network that they come
//! from, alone and together with the login that they try.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;

use super::{Ops, OpsError};
use crate::domain::id::{EndpointId, SessionId, StreamId, UserId, VendorId};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::limits::{self, Allowance};

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    /// Failed logins of one address of an e-mail from one address.
    Login(String, IpAddr),
    /// The same from its network.
    LoginNear(String, IpNet),
    /// Failed logins from one address.
    From(IpAddr),
    /// The same from its network.
    Near(IpNet),
    /// Failed logins in a browser that has logged in before.
    Device(TokenHash),
    /// Wrong codes of a login as long as it has this password hash: a new password begins anew.
    Codes(String),
    /// Wrong passwords in a session.
    Confirmation(SessionId),
    /// New passwords asked for from one address.
    Forgotten(IpAddr),
    /// The same from its network.
    ForgottenNear(IpNet),
    /// Invitations of a vendor's people.
    InvitationsOf(VendorId),
    /// Invitations of one of the operator's people.
    InvitationsBy(Option<UserId>),
    /// Invitations of one address, by whichever vendors' people.
    InvitationsTo(String),
    /// Invitations of one address by the operator's people, whom vendors' do not keep from it.
    OperatorsTo(String),
    /// Tests and handshakes of an endpoint.
    TestsTo(EndpointId),
    /// Tests and handshakes of a vendor in one mode.
    TestsOf(StreamId),
}

impl Counted {
    fn allowance(&self) -> Allowance {
        match self {
            Self::Login(..) => limits::LOGIN_FAILURES,
            Self::LoginNear(..) => limits::LOGIN_FAILURES_NEAR,
            Self::From(_) => limits::FAILURES_FROM_ADDRESS,
            Self::Near(_) => limits::FAILURES_FROM_NETWORK,
            Self::Device(_) | Self::Confirmation(_) => limits::FAILURES_OF_KNOWN,
            Self::Codes(_) => limits::CODE_FAILURES,
            Self::Forgotten(_) => limits::FORGOTTEN_FROM_ADDRESS,
            Self::ForgottenNear(_) => limits::FORGOTTEN_FROM_NETWORK,
            Self::InvitationsOf(_) => limits::INVITATIONS_OF_VENDOR,
            Self::InvitationsBy(_) => limits::INVITATIONS_OF_OPERATOR,
            Self::InvitationsTo(_) | Self::OperatorsTo(_) => limits::INVITATIONS_TO_ADDRESS,
            Self::TestsTo(_) => limits::TESTS_TO_ENDPOINT,
            Self::TestsOf(_) => limits::TESTS_OF_STREAM,
        }
    }
}

/// How much of an allowance is spent. It comes back evenly over the allowance's time.
#[derive(Debug, Clone, Copy)]
struct Spent {
    units: f64,
    at: Timestamp,
}

impl Spent {
    fn now(self, allowance: Allowance, now: Timestamp) -> f64 {
        // A clock that was set back has passed no time.
        let passed = now.since(self.at).as_secs_f64() / allowance.within.as_secs_f64();
        (self.units - passed * f64::from(allowance.most)).max(0.0)
    }
}

/// What is spent of all allowances.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<HashMap<Counted, Spent>>);

/// What was taken for something that is being tried.
#[derive(Debug)]
#[must_use = "what succeeded gives back"]
pub(super) struct Taken(Vec<Counted>);

impl Allowances {
    /// Takes one unit of each, or none of any.
    ///
    /// # Errors
    /// The longest wait until there is one.
    pub fn take(&self, all: Vec<Counted>, now: Timestamp) -> Result<Taken, Duration> {
        let mut known = self.0.lock();
        let wait = all.iter().filter_map(|counted| {
            let allowance = counted.allowance();
            let excess = known.get(counted)?.now(allowance, now) + 1.0 - f64::from(allowance.most);
            (excess > 1e-9).then(|| allowance.within.mul_f64(excess / f64::from(allowance.most)))
        });
        if let Some(wait) = wait.max() {
            return Err(wait);
        }
        if known.len() >= limits::ALLOWANCES_KNOWN {
            known.retain(|counted, spent| spent.now(counted.allowance(), now) > 0.0);
            // Whoever has so many networks is not held by counting them.
            if known.len() >= limits::ALLOWANCES_KNOWN {
                known.clear();
            }
        }
        for counted in &all {
            let spent = known.entry(counted.clone()).or_insert(Spent { units: 0.0, at: now });
            *spent = Spent { units: spent.now(counted.allowance(), now) + 1.0, at: now };
        }
        Ok(Taken(all))
    }

    /// Gives back what was taken.
    pub fn give_back(&self, taken: Taken) {
        let mut known = self.0.lock();
        for counted in taken.0 {
            if let Some(spent) = known.get_mut(&counted) {
                spent.units = (spent.units - 1.0).max(0.0);
            }
        }
    }
}

impl Ops {
    /// Takes from these allowances.
    pub(super) fn take(&self, all: Vec<Counted>) -> Result<Taken, OpsError> {
        self.allowances.take(all, self.now()).map_err(OpsError::TooManyTries)
    }

    /// The same for what counts however it ends.
    pub(super) fn spend(&self, all: Vec<Counted>) -> Result<(), OpsError> {
        self.take(all).map(drop)
    }
}

/// Addresses that one caller has for certain: a /64 of IPv6, or a single one of IPv4.
pub fn own_address(address: IpAddr) -> IpAddr {
    within(address, 32, 64).network()
}

/// Addresses that often belong to one network: a /48 of IPv6, or a /24 of IPv4.
pub(super) fn network(address: IpAddr) -> IpNet {
    within(address, 24, 48)
}

fn within(address: IpAddr, four: u8, six: u8) -> IpNet {
    let address = address.to_canonical();
    IpNet::new(address, if address.is_ipv4() { four } else { six }).map_or_else(|_| address.into(), |network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn an_allowance_is_spent_and_comes_back() {
        let (allowances, from) = (Allowances::default(), || vec![Counted::Login("a@b.example".to_owned(), IpAddr::from([203, 0, 113, 7]))]);
        let Allowance { most, within } = limits::LOGIN_FAILURES;
        for _ in 0..most {
            let _ = allowances.take(from(), at(0)).unwrap();
        }
        let wait = allowances.take(from(), at(0)).unwrap_err();
        assert_eq!(wait, within / most);
        assert!(allowances.take(from(), at(-3600)).is_err(), "a clock that was set back gives nothing");
        let _ = allowances.take(from(), at(wait.as_secs() as i64 + 1)).unwrap();
        assert!(allowances.take(from(), at(wait.as_secs() as i64 + 1)).is_err());
        for _ in 0..most {
            let _ = allowances.take(from(), at(3600)).unwrap();
        }
    }

    #[test]
    fn what_succeeds_costs_nothing_and_what_is_refused_is_taken_from_none() {
        let allowances = Allowances::default();
        let (one, other) = (Counted::From(IpAddr::from([203, 0, 113, 7])), Counted::Confirmation(SessionId::new(1)));
        for _ in 0..1000 {
            let taken = allowances.take(vec![one.clone(), other.clone()], at(0)).unwrap();
            allowances.give_back(taken);
        }
        while allowances.take(vec![other.clone()], at(0)).is_ok() {}
        for _ in 0..1000 {
            assert!(allowances.take(vec![one.clone(), other.clone()], at(0)).is_err());
        }
        assert!(allowances.take(vec![one], at(0)).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let allowances = Allowances::default();
        for number in 0..3 * limits::ALLOWANCES_KNOWN as u128 {
            let _ = allowances.take(vec![Counted::From(IpAddr::from((number << 64).to_be_bytes()))], at(0)).unwrap();
        }
        assert!(allowances.0.lock().len() <= limits::ALLOWANCES_KNOWN);
    }

    #[test]
    fn whoever_has_one_address_of_a_64_has_all_of_them() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        for (address, own, near) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
            ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::/48"),
        ] {
            assert_eq!(own_address(parse(address)), parse(own));
            assert_eq!(network(parse(address)).to_string(), near);
        }
    }
}
