//! Alerts on their way into mails.
//!
//! An alert is written in the transaction of what it tells about. The first one to an address goes out at once, what
//! comes within the next quarter of an hour is gathered into one mail. A mail server that is down is tried again; a crash
//! between a mail and the note that it was sent repeats that mail, with the same `Message-ID`.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::domain::alert;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{Mailing, StoreError};
use crate::transport::mail::{Mail, Unsent};

impl Engine {
    pub(super) async fn run_mails(self: Arc<Self>) {
        loop {
            if self.runs_singletons()
                && let Err(error) = self.mail().await
            {
                super::failed("mails", &error);
            }
            self.environment.clock.sleep_until(self.now().plus(limits::MAIL_EVERY)).await;
        }
    }

    /// One look at what waits to be mailed.
    ///
    /// # Errors
    /// The store's.
    pub async fn mail(&self) -> Result<(), StoreError> {
        let Some(mailer) = &self.mailer else { return Ok(()) };
        let now = self.now();
        let mailed_before = Timestamp::from_millis(now.as_millis() - limits::MAIL_PAUSE.as_millis() as i64);
        for mailing in self.store.mailings(now, mailed_before, limits::MAIL_ADDRESSES).await? {
            let (subject, text) = match mailing.alerts.as_slice() {
                [letter] if mailing.is_letter => (letter.title.clone(), letter.text.clone()),
                alerts => alert::mail(alerts, mailing.waiting, self.public_url.as_deref()),
            };
            let mail = Mail { to: &mailing.address, subject: &subject, text: &text, number: mailing.up_to, at: now };
            match mailer.send(mail).await {
                Ok(()) => {
                    self.meters.mails_sent.increment(1);
                    self.store.mailed(mailing, self.now()).await?;
                }
                Err(error) => {
                    self.meters.mails_failed.increment(1);
                    tracing::warn!(%error, "a mail could not be sent; it will be tried again");
                    self.later(mailing, error.to_string()).await?;
                    if matches!(error, Unsent::NoServer(_)) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn later(&self, mailing: Mailing, error: String) -> Result<(), StoreError> {
        let step = (mailing.tries as usize).min(limits::MAIL_RETRIES.len() - 1);
        let again = self.now().plus(Duration::from_secs(limits::MAIL_RETRIES[step]));
        self.store.mail_failed(mailing, error, again).await
    }
}
