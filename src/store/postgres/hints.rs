//! What nodes tell each other: notifications on a connection of its own, which both listens and tells, so that no commit waits
//! for one. What is said twice before it is sent is sent once; what could not be heard is told by [`Hint::Missed`].

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Error};

use super::address::{Address, settings};
use crate::domain::id::EndpointId;
use crate::limits;
use crate::store::cluster::{Hint, Hints as Waiting, To};

/// The channel of all nodes; that of one has its number behind it. Databases have channels in common that are but schemas.
pub(super) const CHANNEL: &str = "'ringback_' || to_hex(hashtext(current_schema()))";

/// How long the database may take to answer on this connection before another one is made.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// This node's ear and mouth.
pub(super) struct Hints {
    shared: Arc<Shared>,
    number: watch::Sender<Option<u8>>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    to_tell: Mutex<HashMap<To, Waiting>>,
    more: Notify,
    told: Notify,
    heard: Mutex<Waiting>,
    news: Notify,
}

impl Hints {
    pub fn start(address: Arc<Address>) -> Self {
        let (shared, number) = (Arc::new(Shared::default()), watch::Sender::new(None));
        let mut task = JoinSet::new();
        task.spawn(run(Arc::clone(&shared), number.subscribe(), address));
        Self { shared, number, _task: task }
    }

    /// From now on what is told to this node is heard.
    pub fn listen_as(&self, node: u8) {
        self.number.send_replace(Some(node));
    }

    pub fn tell(&self, to: To, hint: Hint) {
        self.shared.to_tell.lock().entry(to).or_default().add(hint);
        self.shared.more.notify_one();
    }

    pub async fn heard(&self) -> Vec<Hint> {
        loop {
            let news = self.shared.news.notified();
            let heard = self.shared.heard.lock().take();
            if !heard.is_empty() {
                return heard;
            }
            news.await;
        }
    }

    /// Waits until all is told, but not for long.
    pub async fn flush(&self) {
        let all_told = async {
            loop {
                let told = self.shared.told.notified();
                if self.shared.to_tell.lock().is_empty() {
                    return;
                }
                told.await;
            }
        };
        drop(tokio::time::timeout(ANSWER_TIMEOUT, all_told).await);
    }
}

impl Shared {
    fn hear(&self, hints: impl IntoIterator<Item = Hint>) {
        let mut heard = self.heard.lock();
        hints.into_iter().for_each(|hint| heard.add(hint));
        drop(heard);
        self.news.notify_one();
    }
}

async fn run(shared: Arc<Shared>, mut number: watch::Receiver<Option<u8>>, address: Arc<Address>) {
    let mut rests = limits::RECONNECT_MIN;
    loop {
        let mut heard_once = false;
        let Err(why) = talk(&shared, &mut number, &address, &mut heard_once).await else { return };
        tracing::debug!(%why, "other nodes cannot be heard for a moment");
        rests = if heard_once { limits::RECONNECT_MIN } else { (rests * 2).min(limits::RECONNECT_MAX) };
        tokio::time::sleep(rests).await;
    }
}

/// Why there has to be another connection.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Failed(#[from] Error),
    #[error("the database does not answer")]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error("the database's primary is elsewhere")]
    Left,
}

/// Listens and tells until the connection is lost, or nobody is left to listen for.
async fn talk(
    shared: &Arc<Shared>,
    number: &mut watch::Receiver<Option<u8>>,
    address: &Address,
    heard_once: &mut bool,
) -> Result<(), Lost> {
    let left = address.sessions_left();
    let (client, mut connection) = tokio::time::timeout(ANSWER_TIMEOUT * 3, address.connect()).await??;
    let mut listening = JoinSet::new();
    let ear = Arc::clone(shared);
    listening.spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                ear.hear(read(notification.payload()));
            }
        }
    });
    let channel: String = ask(client.query_one(&format!("SELECT {CHANNEL}"), &[])).await?.try_get(0)?;
    // What is told here can be told again: no log of the database has to be on the disk for it.
    ask(client.batch_execute(&format!("{}SET synchronous_commit = off; LISTEN {channel}", settings()))).await?;
    number.mark_changed();
    loop {
        if address.sessions_left() != left {
            return Err(Lost::Left);
        }
        if number.has_changed().unwrap_or(false) {
            // Until it has a number nothing is told to this node, and it has nothing that could be out of date.
            let node = *number.borrow_and_update();
            if let Some(node) = node {
                ask(client.batch_execute(&format!("LISTEN {channel}_{node}"))).await?;
                // What was told while nobody listened is lost.
                shared.hear([Hint::Missed]);
            }
            *heard_once = true;
        }
        tell(shared, &client, &channel).await?;
        tokio::select! {
            () = shared.more.notified() => {}
            changed = number.changed() => if changed.is_err() { return Ok(()) } else { number.mark_changed() },
            () = tokio::time::sleep(limits::HEARING_CHECKED) => ask(client.batch_execute("")).await?,
        }
    }
}

async fn ask<T>(question: impl Future<Output = Result<T, Error>>) -> Result<T, Lost> {
    Ok(tokio::time::timeout(ANSWER_TIMEOUT, question).await??)
}

async fn tell(shared: &Shared, client: &Client, channel: &str) -> Result<(), Lost> {
    let to_tell = std::mem::take(&mut *shared.to_tell.lock());
    for (to, mut hints) in to_tell {
        let channel = match to {
            To::Node(node) => format!("{channel}_{node}"),
            To::All => channel.to_owned(),
        };
        let hints: Vec<String> = hints.take().into_iter().map(written).collect();
        for part in hints.chunks(limits::HINTS_TOLD) {
            let text = part.join(" ");
            ask(client.query_typed("SELECT pg_notify($1, $2)", &[(&channel, Type::TEXT), (&text, Type::TEXT)])).await?;
        }
    }
    shared.told.notify_waiters();
    Ok(())
}

/// A hint as it is told: a letter, and the endpoint it is about.
pub(super) fn written(hint: Hint) -> String {
    match hint {
        Hint::Opened { endpoint, from } => format!("o{}:{from}", endpoint.get()),
        Hint::Due(endpoint) => format!("d{}", endpoint.get()),
        Hint::Dropped(endpoint) => format!("x{}", endpoint.get()),
        Hint::Changed(endpoint) => format!("c{}", endpoint.get()),
        Hint::Replaying => "r".to_owned(),
        Hint::Shards => "s".to_owned(),
        Hint::Missed => "m".to_owned(),
    }
}

/// What was told. What a newer version tells beside that means that something was missed.
fn read(text: &str) -> impl Iterator<Item = Hint> {
    text.split(' ').map(|word| {
        let (letter, number) = word.split_at_checked(1).unwrap_or_default();
        let endpoint = || number.parse().ok().map(EndpointId::new);
        let hint = match letter {
            "o" => number.split_once(':').and_then(|(endpoint, from)| {
                Some(Hint::Opened { endpoint: EndpointId::new(endpoint.parse().ok()?), from: from.parse().ok()? })
            }),
            "d" => endpoint().map(Hint::Due),
            "x" => endpoint().map(Hint::Dropped),
            "c" => endpoint().map(Hint::Changed),
            "r" => Some(Hint::Replaying),
            "s" => Some(Hint::Shards),
            _ => None,
        };
        hint.unwrap_or(Hint::Missed)
    })
}

#[cfg(test)]
mod tests {
    use super::{read, written};
    use crate::domain::id::EndpointId;
    use crate::store::cluster::Hint;

    #[test]
    fn what_is_told_is_heard() {
        let endpoint = EndpointId::new(7_123_456_789_012_345_678);
        let hints = [
            Hint::Opened { endpoint, from: 1_000_000 },
            Hint::Due(endpoint),
            Hint::Dropped(endpoint),
            Hint::Changed(endpoint),
            Hint::Replaying,
            Hint::Shards,
            Hint::Missed,
        ];
        let text = hints.map(written).join(" ");
        assert_eq!(read(&text).collect::<Vec<_>>(), hints);
    }

    #[test]
    fn what_is_not_understood_was_missed() {
        for text in ["", "o", "o1", "o1:x", "cnumber", "y", "ü"] {
            assert_eq!(read(text).collect::<Vec<_>>(), [Hint::Missed]);
        }
    }
}
