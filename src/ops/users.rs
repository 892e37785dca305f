//! People who log in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::About;
use super::input::{email, finish};
use super::{Caller, IdempotentRequest, Ops, OpsError};
use crate::clock::{Entropy, Environment, Stopwatch};
use crate::domain::id::{UserId, VendorId};
use crate::domain::user::{PasswordHash, Role, User};
use crate::fields::Fields;
use crate::limits;
use crate::store::{Command, Created, LastOwner, Page, Reply};

impl Ops {
    /// Makes a login for a vendor's people: `{email, password, role?}`.
    ///
    /// # Errors
    /// The input's problems; there is no such vendor.
    pub async fn create_user(
        &self,
        caller: Caller,
        vendor: VendorId,
        mut fields: Fields,
        once: IdempotentRequest<User>,
    ) -> Result<User, OpsError> {
        let found = self.found(vendor).await;
        let named = fields.gives("email");
        let email = email(&mut fields, "email").map(|email| email.to_lowercase());
        if !named {
            fields.invalid("email", "is required");
        }
        let password = read_password(&mut fields, "password");
        let role = fields.parse("role").unwrap_or(Role::Owner);
        let problems = fields.finish();
        let (vendor, Some(email), true) = (found?, email, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let now = self.environment.clock.now();
        let id = UserId::from(self.environment.ids.next(now));
        let user = User { role, ..User::new(id, email, Some(vendor.id), now) };
        let hash = hash_password(password, &*self.environment.entropy).await;
        let note = caller.note("user.created", user.id, vendor.id.into());
        match self.change(Command::CreateUser(user.clone(), hash), Some(note), once.known(&user)).await? {
            Reply::Made(Created::Yes) => Ok(user),
            _ => Err(crate::fields::Problem::invalid("email", "is taken by another login").into()),
        }
    }

    /// A vendor's logins.
    ///
    /// # Errors
    /// There is no such vendor.
    pub async fn users(&self, vendor: VendorId, page: Page<UserId>) -> Result<Vec<User>, OpsError> {
        self.found(vendor).await?;
        Ok(self.store.users(Some(vendor), page).await?)
    }

    /// The operator's own logins.
    ///
    /// # Errors
    /// The store's.
    pub async fn operators(&self, page: Page<UserId>) -> Result<Vec<User>, OpsError> {
        Ok(self.store.users(None, page).await?)
    }

    /// Removes one of the operator's own logins.
    ///
    /// # Errors
    /// There is no such login; it is the last one.
    pub async fn remove_operator(&self, caller: Caller, id: UserId) -> Result<(), OpsError> {
        let note = caller.note("user.removed", id, About::default());
        found_user(&self.change(Command::RemoveUser { id, vendor: None, last: LastOwner::Stays }, Some(note), None).await?)
    }

    /// Removes a vendor's login.
    ///
    /// # Errors
    /// It has no such login; it is the last owner.
    pub async fn remove_user(&self, caller: Caller, vendor: VendorId, id: UserId, fields: Fields) -> Result<(), OpsError> {
        finish(fields)?;
        let note = caller.note("user.removed", id, vendor.into());
        found_user(&self.change(Command::RemoveUser { id, vendor: Some(vendor), last: caller.last_owner() }, Some(note), None).await?)
    }
}

impl Caller {
    /// Whether this caller may leave a vendor without an owner. The operator may: it can make another login.
    pub(super) fn last_owner(self) -> LastOwner {
        if self.operator().is_ok() { LastOwner::MayGo } else { LastOwner::Stays }
    }
}

/// What changing or removing a login came to.
pub(super) fn found_user(done: &Reply) -> Result<(), OpsError> {
    match done {
        Reply::LastOwner => Err(OpsError::IllegalState("this is the last owner; make another login an owner first".to_owned())),
        done if done.took_effect() => Ok(()),
        _ => Err(OpsError::NotFound("user")),
    }
}

/// A password that is to be set.
pub(super) fn read_password(fields: &mut Fields, name: &str) -> String {
    let password = fields.required_text(name, *limits::PASSWORD.end());
    if !password.is_empty() && password.chars().count() < *limits::PASSWORD.start() {
        fields.invalid(name, format!("must be at least {} characters long", limits::PASSWORD.start()));
    }
    password
}

/// A login for the operator's people.
///
/// # Errors
/// What is wrong with the address or the password.
pub async fn new_operator_user(email: &str, password: &str, environment: &Environment) -> Result<(User, PasswordHash), OpsError> {
    let mut fields = Fields::new([("email".into(), email.into()), ("password".into(), password.into())].into_iter().collect());
    let email = super::input::email(&mut fields, "email").unwrap_or_default().to_lowercase();
    let password = read_password(&mut fields, "password");
    finish(fields)?;
    let now = environment.clock.now();
    let user = User::new(UserId::from(environment.ids.next(now)), email, None, now);
    Ok((user, hash_password(password, &*environment.entropy).await))
}

/// argon2id with the parameters that OWASP's password storage page recommends first: 19 MiB, two passes, one lane.
pub(super) async fn hash_password(password: String, entropy: &dyn Entropy) -> PasswordHash {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    let work = move || {
        let params = Params::new(19 * 1024, 2, 1, None).expect("these parameters are within argon2's bounds");
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon2.hash_password_with_salt(password.as_bytes(), &salt).expect("a password of this length can be hashed").to_string()
    };
    PasswordHash(hashing(work).await)
}

/// Whether this is the password. Where there is no login the time goes to a password that nobody has, so that an address that
/// has a login cannot be told from one that has not. Only one core is spent on that: beyond it, a caller waits for as long as the
/// latest hash took, so that any number of made-up addresses leaves the logins of others alone.
pub(super) async fn is_password(password: String, hash: Option<&PasswordHash>) -> bool {
    const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdC4$6+vAUc3wpTMUoZDR0rqvw8ZDDpCwS5Tp4kV0mCUsYpY";
    static NOBODYS_ROOM: Semaphore = Semaphore::const_new(1);
    /// Microseconds.
    static LATEST: AtomicU64 = AtomicU64::new(0);
    let watch = Stopwatch::start();
    let verify = |hash: String| move || Argon2::default().verify_password(password.as_bytes(), hash.as_str()).is_ok();
    let is_right = if let Some(hash) = hash {
        let _turn = turn(hash).await;
        hashing(verify(hash.0.clone())).await
    } else if let Ok(_room) = NOBODYS_ROOM.try_acquire() {
        tokio::task::spawn_blocking(verify(NOBODYS.to_owned())).await.expect("hashing does not panic");
        false
    } else {
        match LATEST.load(Ordering::Relaxed) {
            // The first one is still under way.
            0 => drop(NOBODYS_ROOM.acquire().await.expect("it is never closed")),
            latest => tokio::time::sleep(Duration::from_micros(latest)).await,
        }
        return false;
    };
    LATEST.store(u64::from(watch.micros()), Ordering::Relaxed);
    is_right
}

/// The turn of a login: its passwords are checked one after another, so that tries at one login do not queue in front of others.
async fn turn(hash: &PasswordHash) -> OwnedSemaphorePermit {
    static TURNS: LazyLock<Mutex<HashMap<String, Weak<Semaphore>>>> = LazyLock::new(Mutex::default);
    let turns = {
        let mut known = TURNS.lock();
        known.retain(|_, turns| turns.strong_count() > 0);
        known.get(&hash.0).and_then(Weak::upgrade).unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(1));
            known.insert(hash.0.clone(), Arc::downgrade(&turns));
            turns
        })
    };
    turns.acquire_owned().await.expect("it is never closed")
}

/// It takes tens of milliseconds of a core and 19 MiB, so that only a few are under way at once.
async fn hashing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    static ROOM: Semaphore = Semaphore::const_new(4);
    let _room = ROOM.acquire().await.expect("it is never closed");
    tokio::task::spawn_blocking(work).await.expect("hashing does not panic")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::clock::SeededEntropy;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tries_at_one_login_do_not_queue_in_front_of_another() {
        let entropy = SeededEntropy::new(1);
        let (attacked, other) = (hash_password("one".into(), &entropy).await, hash_password("other".into(), &entropy).await);
        let done = Arc::new(AtomicUsize::new(0));
        let tries: Vec<_> = (0..24)
            .map(|_| {
                let (attacked, done) = (attacked.clone(), Arc::clone(&done));
                tokio::spawn(async move {
                    assert!(!is_password("wrong".into(), Some(&attacked)).await);
                    done.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        // Until the first of them is through, so that the others wait.
        while done.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(is_password("other".into(), Some(&other)).await);
        assert!(done.load(Ordering::SeqCst) < 12, "{} of 24 came first", done.load(Ordering::SeqCst));
        for one in tries {
            one.await.unwrap();
        }
    }
}
