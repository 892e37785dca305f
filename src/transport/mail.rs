//! Mails over SMTP, to the operator's own mail server.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use sha2::{Digest, Sha256};

use crate::domain::time::Timestamp;
use crate::limits;

/// Sends mails.
pub struct Mailer {
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// One mail.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// The address.
    pub to: &'a str,
    /// Its subject.
    pub subject: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What makes its `Message-ID`, with the address: the same mail again has the same.
    pub number: i64,
    /// When it is sent.
    pub at: Timestamp,
}

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// This one was not taken; others may be.
    #[error("{0}")]
    Refused(String),
    /// The server cannot be talked to, so that no other mail can be sent either.
    #[error("{0}")]
    NoServer(String),
}

impl Mailer {
    /// A mailer for `smtp://`, `smtps://`, or `smtp://…?tls=required` (STARTTLS), with user and password in the URL if the
    /// server wants them. `from` is an address, or a name with the address in `<>`.
    ///
    /// # Errors
    /// What is wrong with them: all of it, as (setting, problem).
    pub fn new(url: &str, from: &str) -> Result<Self, Vec<(&'static str, String)>> {
        let from =
            from.parse::<Mailbox>().map_err(|error| ("mail_from", format!("must be an address such as ringback@example.com ({error})")));
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|error| ("smtp_url", format!("must be smtp://host:port, smtps://host, or smtp://host:587?tls=required ({error})")));
        match (smtp, from) {
            (Ok(smtp), Ok(from)) => Ok(Self { smtp: smtp.timeout(Some(limits::MAIL_TIMEOUT)).build(), from }),
            (smtp, from) => Err(smtp.err().into_iter().chain(from.err()).collect()),
        }
    }

    /// Sends a mail.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn send(&self, mail: Mail<'_>) -> Result<(), Unsent> {
        let message = self.write(mail).map_err(Unsent::Refused)?;
        match tokio::time::timeout(limits::MAIL_TIMEOUT, self.smtp.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() || error.is_transient() => Err(Unsent::Refused(error.to_string())),
            Ok(Err(error)) => Err(Unsent::NoServer(error.to_string())),
            Err(_) => Err(Unsent::NoServer(format!("the mail server took longer than {} s", limits::MAIL_TIMEOUT.as_secs()))),
        }
    }

    /// Greets the mail server, and logs in if it wants that; no mail is sent.
    ///
    /// # Errors
    /// What it says, or that it says nothing.
    pub async fn greets(&self) -> Result<(), String> {
        match self.smtp.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it does not answer as a mail server does".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn write(&self, mail: Mail<'_>) -> Result<Message, String> {
        let to = mail.to.parse().map_err(|error| format!("the address cannot be used: {error}"))?;
        let date = std::time::UNIX_EPOCH + Duration::from_millis(mail.at.as_millis().unsigned_abs());
        let host = self.from.email.domain();
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject)
            .date(date)
            .message_id(Some(format!("<{}@{host}>", message_id(mail.number, mail.to))))
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.to_owned())
            .map_err(|error| error.to_string())
    }
}

fn message_id(number: i64, to: &str) -> String {
    let hash = Sha256::digest(format!("{number} {to}"));
    data_encoding::BASE32_NOPAD.encode(&hash[..15]).to_lowercase()
}
