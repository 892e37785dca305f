//! People who log in.

use argon2::password_hash::PasswordHasher;
use argon2::{Argon2, Params};

use super::input::{email, finish};
use super::{Caller, Once, Ops, OpsError};
use crate::clock::{Entropy, Surroundings};
use crate::domain::id::{UserId, VendorId};
use crate::domain::user::{PasswordHash, User};
use crate::fields::Fields;
use crate::limits;
use crate::store::{Created, Deed, Done, Page};

impl Ops {
    /// Makes a login for a vendor's people: `{email, password}`.
    ///
    /// # Errors
    /// The input's problems; there is no such vendor.
    pub async fn create_user(&self, caller: Caller, vendor: VendorId, mut fields: Fields, once: Once<User>) -> Result<User, OpsError> {
        let found = self.found(vendor).await;
        let named = fields.gives("email");
        let email = email(&mut fields, "email").map(|email| email.to_lowercase());
        if !named {
            fields.invalid("email", "is required");
        }
        let password = read_password(&mut fields);
        let problems = fields.finish();
        let (vendor, Some(email), true) = (found?, email, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let now = self.surroundings.clock.now();
        let user = User { id: UserId::from(self.surroundings.ids.next(now)), email, vendor: Some(vendor.id), created_at: now };
        let hash = hash_password(password, &*self.surroundings.entropy).await;
        let note = caller.note("user.created", user.id, vendor.id.into());
        match self.change(Deed::CreateUser(user.clone(), hash), Some(note), once.known(&user)).await? {
            Done::Made(Created::Yes) => Ok(user),
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

    /// Removes a vendor's login.
    ///
    /// # Errors
    /// It has no such login.
    pub async fn remove_user(&self, caller: Caller, vendor: VendorId, id: UserId, fields: Fields) -> Result<(), OpsError> {
        finish(fields)?;
        let note = caller.note("user.removed", id, vendor.into());
        let done = self.change(Deed::RemoveUser { id, vendor: Some(vendor) }, Some(note), None).await?;
        if done.came_to_pass() { Ok(()) } else { Err(OpsError::NotFound("user")) }
    }
}

fn read_password(fields: &mut Fields) -> String {
    let password = fields.required_text("password", *limits::PASSWORD.end());
    if !password.is_empty() && password.chars().count() < *limits::PASSWORD.start() {
        fields.invalid("password", format!("must be at least {} characters long", limits::PASSWORD.start()));
    }
    password
}

/// A login for the operator's people.
///
/// # Errors
/// What is wrong with the address or the password.
pub async fn new_operator_user(email: &str, password: &str, surroundings: &Surroundings) -> Result<(User, PasswordHash), OpsError> {
    let mut fields = Fields::new([("email".into(), email.into()), ("password".into(), password.into())].into_iter().collect());
    let email = super::input::email(&mut fields, "email").unwrap_or_default().to_lowercase();
    let password = read_password(&mut fields);
    finish(fields)?;
    let now = surroundings.clock.now();
    let user = User { id: UserId::from(surroundings.ids.next(now)), email, vendor: None, created_at: now };
    Ok((user, hash_password(password, &*surroundings.entropy).await))
}

/// argon2id with the parameters that OWASP's password storage page recommends first: 19 MiB, two passes, one lane.
async fn hash_password(password: String, entropy: &dyn Entropy) -> PasswordHash {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    let work = move || {
        let params = Params::new(19 * 1024, 2, 1, None).expect("these parameters are within argon2's bounds");
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon2.hash_password_with_salt(password.as_bytes(), &salt).expect("a password of this length can be hashed").to_string()
    };
    // It takes tens of milliseconds of a core.
    PasswordHash(tokio::task::spawn_blocking(work).await.expect("hashing does not panic"))
}
